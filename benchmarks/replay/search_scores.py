"""What stopping saved in one search, and what it lost."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from curvestop.clients.backtest.curve_set import Array, CurveSet


class Scores(NamedTuple):
    """Figures of one search, or their means.

    Attributes:
        saved: Share of all epochs that was not trained.
        top_lost: Share of the best tenth of the trials that was stopped.
        best_lost: 1 if the best complete trial is strictly worse than the best of all, else 0.
        regret: By how much it is worse, in standard deviations of the better half of the final values.
        time_saved: Share of the simulated time that was not needed; with one worker, that of the epochs.
        best_lost_beyond_noise: 1 if the best complete trial is worse by more than the seed noise, else 0; NaN if that is not
            known.
        regret_in_noise: By how much it is worse, in seed noises; NaN if that is not known.
    """

    saved: float
    top_lost: float
    best_lost: float
    regret: float
    time_saved: float
    best_lost_beyond_noise: float
    regret_in_noise: float

    @staticmethod
    def of(search: CurveSet, ended_at: Array, time_saved: float | None = None, *, noise: float | None = None) -> Scores:
        """Return the figures of a search.

        Args:
            search: The search.
            ended_at: `(n,)` epochs that each trial trained.
            time_saved: Share of the simulated time that was saved. Default: that of the epochs.
            noise: Seed noise of the final values, in the metric; None if it is not known.

        Examples:
            >>> search = CurveSet("demo", 0, np.repeat(np.arange(10.0)[:, None], 4, axis=1), np.zeros((10, 1)), "maximize")
            >>> scores = Scores.of(search, np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 1]), noise=2.0)
            >>> scores.saved, scores.top_lost, scores.best_lost
            (0.075, 1.0, 1.0)
            >>> scores.regret_in_noise, scores.best_lost_beyond_noise  # the best left, 8, is as good as 9 by the noise
            (0.5, 0.0)
        """
        finals, complete = search.finals, ended_at == search.max_epochs
        found = finals[complete].max() if complete.any() else finals.min()
        spread = float(np.std(finals[finals >= np.median(finals)])) or 1.0
        top = finals >= np.quantile(finals, 0.9)
        saved = float(1 - ended_at.sum() / search.curves.size)
        shortfall = float(finals.max() - found)
        return Scores(
            saved=saved,
            top_lost=float((~complete)[top].mean()),
            best_lost=float(found < finals.max()),
            regret=shortfall / spread,
            time_saved=saved if time_saved is None else time_saved,
            best_lost_beyond_noise=math.nan if noise is None else float(shortfall > noise),
            regret_in_noise=math.nan if noise is None else shortfall / noise,
        )


def with_known_noise(scores: Array) -> Array:
    """Return those of the sets, `(sets, orders, measures)` of `Scores`, whose seed noise is known."""
    known: Array = scores[~np.isnan(scores[..., Scores._fields.index("regret_in_noise")]).any(axis=1)]
    return known


def is_best(search: CurveSet) -> Array:
    """Return `(n,)` 1 for the trial that ends as the best of a search (several, if they tie), else 0: the label of the policy."""
    label: Array = (search.finals >= search.finals.max()).astype(float)
    return label
