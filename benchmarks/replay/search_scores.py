"""What stopping saved in one search, and what it lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curvestop.clients.backtest.curve_set import Array, CurveSet

BEST_SHARE = 0.04
"""Share of a search that counts as its best, as in `srm.policies.trial_features`."""


class Scores(NamedTuple):
    """Figures of one search, or their means.

    Attributes:
        saved: Share of all epochs that was not trained.
        top_lost: Share of the best tenth of the trials that was stopped.
        best_lost: 1 if the best complete trial is strictly worse than the best of all, else 0.
        regret: By how much it is worse, in standard deviations of the better half of the final values.
        time_saved: Share of the simulated time that was not needed; with one worker, that of the epochs.
    """

    saved: float
    top_lost: float
    best_lost: float
    regret: float
    time_saved: float

    @staticmethod
    def of(search: CurveSet, ended_at: Array, time_saved: float | None = None) -> Scores:
        """Return the figures of a search.

        Args:
            search: The search.
            ended_at: `(n,)` epochs that each trial trained.
            time_saved: Share of the simulated time that was saved. Default: that of the epochs.

        Examples:
            >>> search = CurveSet("demo", 0, np.repeat(np.arange(10.0)[:, None], 4, axis=1), np.zeros((10, 1)), "maximize")
            >>> scores = Scores.of(search, np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 1]))
            >>> scores.saved, scores.top_lost, scores.best_lost
            (0.075, 1.0, 1.0)
        """
        finals, complete = search.finals, ended_at == search.max_epochs
        found = finals[complete].max() if complete.any() else finals.min()
        spread = float(np.std(finals[finals >= np.median(finals)])) or 1.0
        top = finals >= np.quantile(finals, 0.9)
        saved = float(1 - ended_at.sum() / search.curves.size)
        return Scores(
            saved=saved,
            top_lost=float((~complete)[top].mean()),
            best_lost=float(found < finals.max()),
            regret=float((finals.max() - found) / spread),
            time_saved=saved if time_saved is None else time_saved,
        )


def among_best(search: CurveSet) -> Array:
    """Return `(n,)` 1 for the trials that end among the best 4 % of a search, one at least, else 0: the label of the policy."""
    finals = search.finals
    label: Array = (finals >= np.sort(finals)[-max(1, round(BEST_SHARE * len(finals)))]).astype(float)
    return label
