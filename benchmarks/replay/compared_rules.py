"""What is compared: our rule at several risks, the policies before it, what is published, and Optuna's pruners as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from optuna import pruners
from optuna.pruners import BasePruner

from benchmarks.replay import promoting
from benchmarks.replay.optuna_replay import OptunaReplay
from curvestop.clients.backtest.contenders import PRUNERS
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.srm.curve import Decision
from curvestop.srm.policies.evidence import DECISION_SHARES, Evidence, Rule, epochs_at
from curvestop.srm.policies.learned import Coefficients, LearnedPolicy
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.registry import POLICIES

OURS = "learned"
RISKS = (0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3)
DEFAULT_RISK = LearnedPolicy().risk


@dataclass(frozen=True)
class Entry:
    """A rule with settings.

    Attributes:
        family: Rules of one family differ in their settings only.
        label: Name of the rule in the tables.
        rule: The rule.
        uses_model: Whether it reads forecasts.
    """

    family: str
    label: str
    rule: Rule
    uses_model: bool = False

    def learned_with(self, coefficients: Coefficients | None) -> Rule:
        """Return the rule, with these coefficients if it is the learned policy; None for those of the package."""
        if coefficients is None or not isinstance(self.rule, LearnedPolicy):
            return self.rule
        return replace(self.rule, coefficients=coefficients)


class Run(Protocol):
    """A search that was replayed.

    Attributes:
        ended_at: `(n,)` epochs that each trial trained.
        time_saved: Share of the simulated time that was not needed.
    """

    @property
    def ended_at(self) -> Array: ...
    @property
    def time_saved(self) -> float: ...


class Replays(Protocol):
    """Replays a search on workers; see `SearchReplay`."""

    def __call__(self, search: CurveSet, *, workers: int, durations: Array | None) -> Run: ...


@dataclass(frozen=True)
class OtherEntry:
    """What is no stopping rule of ours: a scheduler that promotes, or a pruner of Optuna.

    Attributes:
        family: As of `Entry`.
        label: As of `Entry`.
        replays: Replays a search.
    """

    family: str
    label: str
    replays: Replays


@dataclass(frozen=True)
class AtDecisionPoints:
    """Another rule, asked only where the rank rules decide: forecasts at every epoch would take hours.

    Attributes:
        rule: The rule.
    """

    rule: Rule

    reads_neighbors = False

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs at `DECISION_SHARES`."""
        return epochs_at(DECISION_SHARES, max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return those of the rule."""
        return self.rule.ranked_epochs(tau, previous, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Decide as the rule does."""
        return self.rule.decide(evidence)


def ours() -> list[Entry]:
    """Return the learned policy at each of `RISKS`."""
    return [Entry(OURS, label_of(risk), LearnedPolicy(risk=risk), uses_model=True) for risk in RISKS]


def label_of(risk: float) -> str:
    """Return how the tables name the learned policy at a risk."""
    return f"learned, risk {risk:g}"


MODEL_FREE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "one look at 10 %, keep half": ("i-epoch", {"share": 0.1, "keep": 0.5}),
    "one look at 25 %, keep half": ("i-epoch", {"share": 0.25, "keep": 0.5}),
    "one look at 50 %, keep half": ("i-epoch", {"share": 0.5, "keep": 0.5}),
    "one look at 10 %, keep 70 %": ("i-epoch", {"share": 0.1, "keep": 0.7}),
    "one look at 25 %, keep 70 %": ("i-epoch", {"share": 0.25, "keep": 0.7}),
    "i-Epoch, 10 %, best fifth": ("i-epoch", {"share": 0.1, "keep": 0.2}),
    "i-Epoch, 20 %, best two fifths": ("i-epoch", {"share": 0.2, "keep": 0.4}),
    **{
        f"ASHA from {share:.0%}, eta {eta}": ("asha", {"first_share": share, "eta": eta})
        for share in (0.1, 0.25, 0.5)
        for eta in (2, 3, 4)
        # From 25 % with eta 4 and from 50 % with eta 3 and 4 there is one rung, as below; kept, since people use them.
    },
    **{
        f"median of complete, warm-up {warm_up:.0%}": ("median", {"over": "completed", "warm_up": warm_up})
        for warm_up in (0.0, 0.25, 0.5)
    },
    **{f"median of all, warm-up {warm_up:.0%}": ("median", {"over": "all", "warm_up": warm_up}) for warm_up in (0.25, 0.5)},
    **{f"rank, keep {a:g} / {b:g}": ("rank", {"keep": (a, b)}) for a, b in ((0.8, 0.9), (0.6, 0.8), (0.45, 0.6))},
    "patience 20 %": ("patience", {"share": 0.2}),
}
"""Published rules that need no model: label -> (policy, settings)."""


def peers() -> list[Entry | OtherEntry]:
    """Return all that ours is compared with."""
    with_model = [Entry("predictive-rank", f"predictive-rank, margin {m:g}", PredictiveRank(margin=m), True) for m in (2.5, 1.5)]
    thresholds = {threshold: AtDecisionPoints(POLICIES["threshold"](threshold=threshold)) for threshold in (0.95, 0.9999)}
    with_model += [Entry("threshold", f"the thesis's rule, {t:g}", rule, True) for t, rule in thresholds.items()]
    without = [Entry(policy, label, POLICIES[policy](**settings)) for label, (policy, settings) in MODEL_FREE.items()]
    return [*with_model, *without, *promoting_rules(), *optunas_pruners()]


def promoting_rules() -> list[OtherEntry]:
    """Return rules under which trials pause and are promoted."""
    schedulers: dict[str, dict[str, promoting.Make]] = {
        "promoting ASHA": {
            f"promoting ASHA from {share:.0%}, eta {eta}": partial(promoting.asha, share=share, eta=eta)
            for share in (0.1, 0.25)
            for eta in (2, 3, 4)
        },
        "PASHA": {
            f"PASHA from {share:.0%}, eta {eta}": partial(promoting.pasha, share=share, eta=eta)
            for share in (0.05, 0.1)
            for eta in (2, 3)
        },
        "Hyperband": {f"Hyperband, eta {eta}": partial(promoting.hyperband, eta=eta) for eta in (2, 3, 4)},
    }
    return [
        OtherEntry(family, label, partial(promoting.promoted, make=make))
        for family, settings in schedulers.items()
        for label, make in settings.items()
    ]


def optunas_pruners() -> list[OtherEntry]:
    """Return Optuna's pruners at their defaults; what has no default is as in the examples of Optuna's documentation."""
    made = {pruner.label: pruner.make for pruner in PRUNERS.values()}
    made |= {"Optuna percentile 25": _percentile, "Optuna patient median": _patient_median}
    return [OtherEntry("Optuna", label, partial(OptunaReplay, make=make)) for label, make in made.items()]


def _percentile(max_epochs: int) -> BasePruner:
    return pruners.PercentilePruner(25.0)


def _patient_median(max_epochs: int) -> BasePruner:
    return pruners.PatientPruner(pruners.MedianPruner(), patience=1)
