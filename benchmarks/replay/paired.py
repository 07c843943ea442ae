"""Rules beside ours at equal saving, set by set.

Our curve over the risk is straight between its settings. It begins where nothing is saved and nothing is lost, and it ends where
everything is. What is lost grows faster than what is saved, so between two settings the line is above what a setting between them
would lose: the comparison is a little in favor of the other rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.benchmark_cli import mean_and_error
from benchmarks.replay.search_scores import Scores
from curvestop.clients.backtest.curve_set import Array

MEASURES = ("top_lost", "best_lost")
COMPARED_SAVINGS = (0.2, 0.7)
"""A rule that saves less or more is shown, but not counted as better or worse."""

Results = Mapping[str, Array]
"""Label of a rule -> `(sets, orders, measures)` of `Scores`."""


@dataclass(frozen=True)
class Pair:
    """A rule beside ours at the same saving.

    Attributes:
        label: Name of the rule.
        saved: What it saves, mean over the sets.
        theirs: Measure -> `(sets,)` what it loses.
        ours: Measure -> `(sets,)` what ours loses where it saves as much.
    """

    label: str
    saved: float
    theirs: Mapping[str, Array]
    ours: Mapping[str, Array]

    def advantage(self, measure: str) -> tuple[float, float]:
        """Return by how much less ours loses, mean over the sets, and the standard error."""
        return mean_and_error((self.theirs[measure] - self.ours[measure]).tolist())

    @property
    def is_compared(self) -> bool:
        """Whether the rule saves as much as people want."""
        return COMPARED_SAVINGS[0] <= self.saved <= COMPARED_SAVINGS[1]

    @property
    def is_above_ours(self) -> bool:
        """Whether the rule is compared and better by more than a standard error in either measure."""
        return self.is_compared and any(mean < -error for mean, error in map(self.advantage, MEASURES))


def paired(results: Results, ours: Sequence[str]) -> list[Pair]:
    """Return every other rule beside ours.

    Args:
        results: Those of all rules, ours included.
        ours: Labels of our settings, from careful to bold.
    """
    means = {label: scores.mean(axis=1) for label, scores in results.items()}  # (sets, measures)
    curve = np.stack([means[label] for label in ours])  # (settings, sets, measures)
    return [_pair(label, theirs, curve) for label, theirs in means.items() if label not in ours]


def _pair(label: str, theirs: Array, curve: Array) -> Pair:
    column = {name: k for k, name in enumerate(Scores._fields)}
    saved = theirs[:, column["saved"]]
    ours = {
        measure: np.array(
            [at_saving(saved[s], curve[:, s, column["saved"]], curve[:, s, column[measure]]) for s in range(len(saved))]
        )
        for measure in MEASURES
    }
    return Pair(label, float(saved.mean()), {measure: theirs[:, column[measure]] for measure in MEASURES}, ours)


def at_saving(wanted: float, saved: Array, lost: Array) -> float:
    """Return what a curve of settings loses at a saving.

    Args:
        wanted: The saving.
        saved: `(settings,)` what the settings save.
        lost: `(settings,)` what they lose.

    Examples:
        >>> at_saving(0.3, np.array([0.2, 0.4]), np.array([0.0, 0.1]))
        0.05
    """
    x, y = np.r_[0.0, saved, 1.0], np.r_[0.0, lost, 1.0]
    order = np.argsort(x, kind="stable")
    return round(float(np.interp(wanted, x[order], y[order])), 12)
