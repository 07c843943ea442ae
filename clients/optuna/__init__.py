"""The pruners for Optuna; `from curvestop import FHyperbandPruner, SRMPruner` gives the same classes."""

from curvestop.clients.optuna.fhyperband_pruner import FHyperbandPruner
from curvestop.clients.optuna.second_chances import second_chances
from curvestop.clients.optuna.srm_pruner import SRMPruner

__all__ = ["FHyperbandPruner", "SRMPruner", "second_chances"]
