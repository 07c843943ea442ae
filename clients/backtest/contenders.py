"""The contenders of a backtest: our policies at several settings, Optuna's pruners, and the user's own rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optuna import pruners
from optuna.pruners import BasePruner

from curvestop.clients.backtest.options import DELTAS, MARGINS, RISKS
from curvestop.clients.backtest.own_rule import OwnRule
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.settings import StudySettings, default_rule


@dataclass(frozen=True)
class PolicySetting:
    """One of our policies with its settings.

    Attributes:
        label: Name in tables and figures.
        policy: Name of the policy, as in `StudySettings`.
        policy_settings: Arguments of the policy, as in `StudySettings`.
        threshold: Threshold Delta of the `StoppingRule`.

    Examples:
        >>> PolicySetting("cautious", policy_settings={"risk": 0.01}).code
        'policy="learned", policy_settings={"risk": 0.01}'
    """

    label: str
    policy: str = "learned"
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = StoppingRule.threshold

    def study_settings(self, max_epochs: int, direction: Direction, *, name: str = "backtest") -> StudySettings:
        """Return the settings of a study with this policy.

        Args:
            max_epochs: Number of epochs of a complete run.
            direction: Whether higher or lower values are better.
            name: Name of the study; replays need no other one than the default.

        Raises:
            ValueError: If the policy or one of its settings does not exist.
        """
        rule = replace(default_rule(self.policy), threshold=self.threshold)
        return StudySettings(
            name, max_epochs, direction=direction, rule=rule, policy=self.policy, policy_settings=self.policy_settings
        )

    @property
    def code(self) -> str:
        """The arguments of `StudySettings` that choose this policy, as Python code."""
        if self == DEFAULT:
            return "the default: nothing to set"
        if self.policy == "threshold":
            return f'policy="threshold", rule=StoppingRule(threshold={self.threshold:g})'
        settings = ", ".join(f'"{name}": {value:g}' for name, value in self.policy_settings.items())
        return f'policy="{self.policy}", policy_settings={{{settings}}}'


@dataclass(frozen=True)
class OptunaPruner:
    """One of Optuna's pruners.

    Attributes:
        label: Name in tables and figures.
        make: Makes the pruner for a number of epochs T; trials report steps 1..T.
    """

    label: str
    make: Callable[[int], BasePruner]


Contender = PolicySetting | OptunaPruner | OwnRule
DEFAULT = PolicySetting("learned, risk 0.03 (the default)")
"""The policy of a study that sets none."""


def settings_to_try(
    *,
    deltas: Sequence[float] = DELTAS,
    margins: Sequence[float] = MARGINS,
    risks: Sequence[float] = RISKS,
    risk: float = 0.05,
) -> tuple[tuple[PolicySetting, ...], ...]:
    """Return our policies in two groups: the default policy at all risks with the rank policy, and the others.

    A group is replayed in one process, so its members share their fits.

    Args:
        deltas: Thresholds for policy "threshold".
        margins: Margins for policy "predictive-rank".
        risks: Risks for policy "learned".
        risk: Risk for policy "risk".

    Raises:
        ValueError: If one of them is out of the policy's range.
    """
    # The default stands first, and not a second time among the risks.
    others = [at for at in risks if at != LearnedPolicy().risk]
    learned = [PolicySetting(f"learned, risk {at:g}", policy_settings={"risk": at}) for at in others]
    by_margin = [PolicySetting(f"predictive-rank, margin {m:g}", "predictive-rank", {"margin": m}) for m in margins]
    early = PolicySetting("i-epoch, best 40 % after 20 %", "i-epoch", {"share": 0.2, "keep": 0.4})
    by_threshold = [PolicySetting(f"threshold, Delta {d:g}", "threshold", threshold=d) for d in deltas]
    by_risk = PolicySetting(f"risk {risk:g}", "risk", {"risk": risk})
    groups = ((DEFAULT, *learned, *by_margin), (*by_threshold, early, by_risk))
    for group in groups:
        for setting in group:
            setting.study_settings(2, "maximize")  # so that a wrong value is an error before anything is replayed
    return groups


def _median(max_epochs: int) -> BasePruner:
    return pruners.MedianPruner()


def _median_later(max_epochs: int) -> BasePruner:
    # The one setting without which the median loses many good runs.
    return pruners.MedianPruner(n_warmup_steps=max_epochs // 4)


def _halving(max_epochs: int) -> BasePruner:
    return pruners.SuccessiveHalvingPruner()


def _hyperband(max_epochs: int) -> BasePruner:
    return pruners.HyperbandPruner(max_resource=max_epochs)


# As people use them: no setting was tuned on these curves.
PRUNERS: Mapping[str, OptunaPruner] = {
    "optuna_median": OptunaPruner("Optuna median", _median),
    "optuna_median_warm_up": OptunaPruner("Optuna median, warm-up 25 %", _median_later),
    "optuna_successive_halving": OptunaPruner("Optuna successive halving", _halving),
    "optuna_hyperband": OptunaPruner("Optuna Hyperband", _hyperband),
}
"""Optuna's pruners at their defaults, and the median with a warm-up, by their names in the JSON."""
