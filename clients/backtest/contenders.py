"""What is replayed on a user's curves: our policies at several settings, and Optuna's pruners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna import pruners
from optuna.pruners import BasePruner

from curvestop.clients.backtest.options import DELTAS, MARGINS
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.study import StudySettings


@dataclass(frozen=True)
class Setting:
    """A policy of ours. policy, policy_settings, threshold: as `StudySettings` and its `StoppingRule` take them."""

    label: str
    policy: str = "predictive-rank"
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = StoppingRule.threshold

    def study(self, n_epochs: int, direction: Direction, *, name: str = "backtest") -> StudySettings:
        rule = StoppingRule(threshold=self.threshold)
        return StudySettings(
            name, n_epochs, direction=direction, rule=rule, policy=self.policy, policy_settings=self.policy_settings
        )

    @property
    def code(self) -> str:
        """What to add to a study's settings for this policy."""
        if self == DEFAULT:
            return "the default: nothing to set"
        if self.policy == "threshold":
            return f'policy="threshold", rule=StoppingRule(threshold={self.threshold:g})'
        settings = ", ".join(f'"{name}": {value:g}' for name, value in self.policy_settings.items())
        return f'policy="{self.policy}", policy_settings={{{settings}}}'


@dataclass(frozen=True)
class Pruner:
    """A pruner of Optuna. make: of the number of epochs, which are steps 1..T."""

    label: str
    make: Callable[[int], BasePruner]


Entry = Setting | Pruner
DEFAULT = Setting("predictive-rank (the default)")


def settings_to_try(
    *, deltas: Sequence[float] = DELTAS, margins: Sequence[float] = MARGINS, risk: float = 0.05
) -> tuple[tuple[Setting, ...], ...]:
    """Those that may share fits together: the default policy with its neighbours, and the others. Raises ValueError."""
    usual = PredictiveRank().margin
    others = [Setting(f"predictive-rank, margin {m:g}", policy_settings={"margin": m}) for m in margins if m != usual]
    early = Setting("i-epoch, best 40 % after 20 %", "i-epoch", {"share": 0.2, "keep": 0.4})
    by_threshold = [Setting(f"threshold, Delta {d:g}", "threshold", threshold=d) for d in deltas]
    found = ((DEFAULT, *others), (*by_threshold, early, Setting(f"risk {risk:g}", "risk", {"risk": risk})))
    for group in found:
        for setting in group:
            setting.study(2, "maximize")  # a wrong value is an error before anything is replayed
    return found


def _median(n_epochs: int) -> BasePruner:
    return pruners.MedianPruner()


def _median_later(n_epochs: int) -> BasePruner:
    return pruners.MedianPruner(n_warmup_steps=n_epochs // 4)


def _halving(n_epochs: int) -> BasePruner:
    return pruners.SuccessiveHalvingPruner()


def _hyperband(n_epochs: int) -> BasePruner:
    return pruners.HyperbandPruner(max_resource=n_epochs)


PRUNERS: Mapping[str, Pruner] = {
    "optuna_median": Pruner("Optuna median", _median),
    "optuna_median_warm_up": Pruner("Optuna median, warm-up 25 %", _median_later),
    "optuna_successive_halving": Pruner("Optuna successive halving", _halving),
    "optuna_hyperband": Pruner("Optuna Hyperband", _hyperband),
}
"""By their names in the JSON: as they come, and the one setting that the median needs to keep good runs."""
