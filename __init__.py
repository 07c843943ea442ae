"""Learning-curve prediction and early stopping: tells a training job whether it is worth going on.

Names load on first use, so `import curvestop` imports no third-party package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curvestop.clients import plot as plot
    from curvestop.clients.optuna.fhyperband_pruner import FHyperbandPruner
    from curvestop.clients.optuna.srm_pruner import SRMPruner
    from curvestop.clients.remote.remote_study import connect
    from curvestop.clients.reports.report_page import write_report
    from curvestop.clients.training_loop import Epochs
    from curvestop.srm.curve import Decision, LearningCurve, Prediction
    from curvestop.srm.policies.stopping_rule import StoppingRule
    from curvestop.srm.settings import StudySettings
    from curvestop.srm.study import Study

__version__ = "0.1.0"

_MODULE_OF = {
    "Decision": "srm.curve",
    "Epochs": "clients.training_loop",
    "FHyperbandPruner": "clients.optuna.fhyperband_pruner",
    "LearningCurve": "srm.curve",
    "Prediction": "srm.curve",
    "SRMPruner": "clients.optuna.srm_pruner",
    "StoppingRule": "srm.policies.stopping_rule",
    "Study": "srm.study",
    "StudySettings": "srm.settings",
    "connect": "clients.remote.remote_study",
    "plot": "clients.plot",  # a module
    "write_report": "clients.reports.report_page",
}

# Not `plot`: it needs the extra [plots], and `from curvestop import *` does not.
__all__ = [
    "Decision",
    "Epochs",
    "FHyperbandPruner",
    "LearningCurve",
    "Prediction",
    "SRMPruner",
    "StoppingRule",
    "Study",
    "StudySettings",
    "__version__",
    "connect",
    "write_report",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module 'curvestop' has no attribute {name!r}")
        value = import_module(f"curvestop.{module}")
        if name != "plot":
            value = getattr(value, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
