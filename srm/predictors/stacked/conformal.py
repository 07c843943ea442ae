"""Bounds that hold at all decision points of a curve at once, from the leave-one-out scores of the training curves.

Split-conformal reasoning (Vovk et al. 2005; Lei et al. 2018) on the largest score a curve has at any observed length: under
exchangeability a new curve's largest score is at most the k-th smallest of n with probability k / (n + 1). Equation numbers
are those of docs/stacked.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curvestop.srm.regression.features import Array


@dataclass(frozen=True)
class Interval:
    """An interval of final values.

    Attributes:
        lower: In the metric.
        upper: In the metric, >= lower.
    """

    lower: float
    upper: float


SELECTION_INFLATION = 30.0
"""Leave-one-out scores are too small, because the settings were chosen on the same curves. The quantile needed on curves not
trained on was 1.3, 1.6 and about 2.4 times theirs for 100, 50 and 25 training curves, mean over 14 sets: the factor is
1 + SELECTION_INFLATION / n."""


PROMISING_QUANTILE = 0.6
"""A curve predicted to end better than this share of the training curves is promising."""
GOOD_SIDE_STRETCH = 1.3
"""Factor of the good side of a promising curve's bound: the best curves lie above what is predicted for them far more often than
below (.055 against .006 of the true top 2 %), because a mean is drawn to the middle."""


def stretched_interval(mean: float, width: float, *, toward: int) -> Interval:
    """Return mean +- width with one side stretched, eq. (32).

    Args:
        mean: In the metric.
        width: In the metric, >= 0.
        toward: +1 (-1) stretches the upper (lower) side by GOOD_SIDE_STRETCH; 0 neither.
    """
    lower, upper = (width * (GOOD_SIDE_STRETCH if toward == side else 1.0) for side in (-1, 1))
    return Interval(mean - lower, mean + upper)


def simultaneous_factor(standardized: Array, level: float) -> float:
    """Return how many sigmas hold all decision points of a curve with probability `level`, eq. (31).

    Args:
        standardized: `(n, decision points)` leave-one-out residuals over their sigmas; NaN where a curve was too short.
        level: In (0, 1).
    """
    largest = np.sort(np.nanmax(np.abs(standardized), axis=1))  # eq. (29)
    return conformal_quantile(largest, level) * (1 + SELECTION_INFLATION / len(largest))


def conformal_quantile(ascending: Array, level: float) -> float:
    """Return the ceil(level (n + 1))-th smallest score, eq. (30).

    With fewer curves than the level needs, the largest score is stretched as a Gaussian tail would be, by sqrt(log).

    Args:
        ascending: `(n,)` sorted scores, n >= 1.
        level: In (0, 1]; 1 returns infinity.
    """
    n = len(ascending)
    k = math.ceil(level * (n + 1) - 1e-9)  # the margin keeps .95 * 100 at 95
    if k <= n:
        return float(ascending[k - 1])
    return float(ascending[-1]) * math.sqrt(math.log(1 / (1 - level)) / math.log(n + 1)) if level < 1 else math.inf
