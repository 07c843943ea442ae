"""The rules that are replayed: several settings of each, and which of them are shipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner

from curvestop.srm.curve import Decision
from curvestop.srm.policies.evidence import DECISION_SHARES, Evidence, Rule, epochs_at
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.registry import POLICIES


@dataclass(frozen=True)
class Entry:
    """A rule with settings. family: what may be compared by choosing settings. together: all trials advance in step."""

    family: str
    label: str
    rule: Rule
    uses_model: bool = False
    together: bool = False


OURS = "predictive-rank"
WITHOUT_MODEL = "predictive-rank, no model"
PLAIN_RANK = "rank"

SETTINGS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "rank": [{"keep": keep} for keep in ((0.9, 0.95), (0.8, 0.9), (0.7, 0.85), (0.6, 0.8), (0.55, 0.7), (0.45, 0.6), (0.3, 0.5))],
    "median": [{"over": over, "warm_up": warm_up} for over in ("completed", "all") for warm_up in (0.0, 0.25, 0.5)],
    "asha": [{"first_share": share, "eta": eta} for share, eta in ((0.05, 3), (0.1, 2), (0.1, 3), (0.1, 4), (0.2, 3))],
    "i-epoch": [{"share": share, "keep": keep} for share, keep in ((0.05, 0.2), (0.1, 0.1), (0.1, 0.2), (0.2, 0.2), (0.2, 0.4))],
    "patience": [{"share": share} for share in (0.1, 0.2, 0.3)],
}
"""Model-free rules: family -> settings."""
MARGINS = (1.25, 1.5, 1.75, 2.0, 2.5)
THRESHOLDS = (0.95, 0.9999)

PRUNERS: Mapping[str, Callable[[int], BasePruner]] = {
    "optuna median": lambda horizon: optuna.pruners.MedianPruner(),
    "optuna median, warm-up 25 %": lambda horizon: optuna.pruners.MedianPruner(n_warmup_steps=horizon // 4),
    "optuna percentile 25": lambda horizon: optuna.pruners.PercentilePruner(25.0),
    "optuna percentile 25, warm-up 25 %": lambda horizon: optuna.pruners.PercentilePruner(25.0, n_warmup_steps=horizon // 4),
    "optuna successive halving": lambda horizon: optuna.pruners.SuccessiveHalvingPruner(),
    "optuna successive halving, from 10 %, eta 3": lambda horizon: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, round(0.1 * horizon)), reduction_factor=3
    ),
    "optuna hyperband": lambda horizon: optuna.pruners.HyperbandPruner(max_resource=horizon),
    "optuna patient median": lambda horizon: optuna.pruners.PatientPruner(
        optuna.pruners.MedianPruner(), patience=max(1, horizon // 5)
    ),
}
"""Pruners by name, for a horizon. Not WilcoxonPruner: it compares scores of the same folds, not epochs of a curve."""


def model_free() -> list[Entry]:
    """The published rules that need no model: the floor."""
    entries = [
        Entry(family, f"{family} {_words(settings)}", POLICIES[family](**settings))
        for family, choices in SETTINGS.items()
        for settings in choices
    ]
    for first_share, eta in ((0.1, 3), (0.1, 4), (0.2, 3)):
        settings = {"first_share": first_share, "eta": eta}
        rule = POLICIES["asha"](**settings)
        entries.append(Entry("successive-halving", f"successive-halving {_words(settings)}", rule, together=True))
    return entries


def ours(*, frozen: bool) -> list[Entry]:
    """The default rule at several margins (frozen: the shipped one only), with and without its model, and the thesis's rule."""
    margins = (PredictiveRank().margin,) if frozen else MARGINS
    entries = [Entry(OURS, f"{OURS} margin={m:g}", PredictiveRank(margin=m), uses_model=True) for m in margins]
    entries += [Entry(WITHOUT_MODEL, f"{WITHOUT_MODEL} margin={m:g}", PredictiveRank(margin=m, combine="raw")) for m in margins]
    return entries


def in_parallel() -> list[Entry]:
    """The few that are replayed with several workers too."""
    plain = [e for e in model_free() if e.family == PLAIN_RANK or e.label == "asha first_share=0.1 eta=3"]
    return [*ours(frozen=True), *plain[3:]]


def thresholds() -> list[Entry]:
    """The thesis's rule on the default predictor, at the same decision points as the others."""
    rules = {delta: AtDecisionPoints(POLICIES["threshold"](threshold=delta)) for delta in THRESHOLDS}
    return [Entry("threshold", f"threshold {delta:g}", rule, uses_model=True) for delta, rule in rules.items()]


@dataclass(frozen=True)
class AtDecisionPoints:
    """Another rule, asked only where the rank rules decide."""

    rule: Rule

    def decision_points(self, horizon: int) -> Sequence[int]:
        return epochs_at(DECISION_SHARES, horizon)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        return self.rule.ranked_epochs(tau, previous, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        return self.rule.decide(evidence)


def _words(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())
