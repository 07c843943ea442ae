"""Bounds that hold over all decision points at a curve at once, from the leave-one-out scores of the training curves.

Split-conformal reasoning (Vovk et al. 2005; Lei et al. 2018) on the largest score a curve has at any observed length: under
exchangeability a new curve's largest score is at most the k-th smallest of n with probability k / (n + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curvestop.srm.regression.features import Array


@dataclass(frozen=True)
class Interval:
    """lower <= upper, in the metric."""

    lower: float
    upper: float


SEARCH_COST = 30.0
"""Leave-one-out scores are too small, because the settings were chosen on the same curves. The quantile needed on curves not
trained on was 1.3, 1.6 and about 2.4 times theirs for 100, 50 and 25 training curves, mean over 14 sets: 1 + SEARCH_COST / n."""


PROMISING = 0.6
GOOD_SIDE = 1.3
"""The best curves lie above what is predicted for them far more often than below (.055 against .006 of the true top 2 %),
because a mean is drawn to the middle: a curve predicted to be better than this share of those learnt from has the good side of
its bound stretched by GOOD_SIDE."""


def around(mean: float, width: float, *, toward: int) -> Interval:
    """mean +- width; toward +1 (-1): the upper (lower) side GOOD_SIDE times as far."""
    lower, upper = (width * (GOOD_SIDE if toward == side else 1.0) for side in (-1, 1))
    return Interval(mean - lower, mean + upper)


def simultaneous_factor(standardized: Array, level: float) -> float:
    """How many sigmas hold all decision points of a curve with probability `level`.

    standardized: `(n, decision points)` leave-one-out residuals over their sigmas, NaN where a curve was not used at a look.
    With fewer curves than the level needs, the largest score is stretched as a Gaussian tail would be.
    """
    largest = np.sort(np.nanmax(np.abs(standardized), axis=1))
    return conformal_quantile(largest, level) * (1 + SEARCH_COST / len(largest))


def conformal_quantile(ascending: Array, level: float) -> float:
    """The ceil(level (n + 1))-th smallest of `(n,)` sorted scores; past the last, sqrt(log) growth beyond the largest."""
    n = len(ascending)
    k = math.ceil(level * (n + 1) - 1e-9)
    if k <= n:
        return float(ascending[k - 1])
    return float(ascending[-1]) * math.sqrt(math.log(1 / (1 - level)) / math.log(n + 1)) if level < 1 else math.inf
