"""Normal scores of last values, the trend of the ranking head (docs/stacked.md, eq. 28)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from curvestop.srm.predictors.stacked.curve_summary import SMALLEST_DIVISOR
from curvestop.srm.predictors.stacked.scalar_or_array import FloatOrArray, interpolate, maximum
from curvestop.srm.regression.features import Array


@dataclass(frozen=True)
class NormalScale:
    """The scale on which a sample is normally distributed, continued to all other values.

    Two different values have different scores: between two values of the sample a score is interpolated, and beyond the sample it
    goes on by less than 1. The best trial of a study is often better than all that its model learnt from.

    Attributes:
        values: `(m,)` distinct values of the sample, ascending.
        scores: `(m,)` standard normal quantiles of their positions.
        below: Distance from the median to the least value (if that is 0, the range of the sample), > 0.
        above: Distance from the median to the largest value (if that is 0, the range of the sample), > 0.

    Examples:
        >>> scale = NormalScale.of(np.array([0.1, 0.2, 0.4]))
        >>> [round(float(scale(x)), 3) for x in (0.1, 0.2, 0.3, 0.4)]
        [-0.967, 0.0, 0.484, 0.967]
        >>> round(float(scale(0.6)), 3)  # 0.5 more, as 0.6 is twice as far from the median as 0.4
        1.467
    """

    values: Array
    scores: Array
    below: float
    above: float

    @staticmethod
    def of(sample: Array) -> NormalScale:
        """Learn the scale.

        Args:
            sample: `(n,)` finite values, n >= 1; equal ones share their position.
        """
        values, counts = np.unique(sample, return_counts=True)
        positions = (np.cumsum(counts) - counts / 2) / len(sample)
        middle, least, most = float(np.median(sample)), float(values[0]), float(values[-1])
        below, above = (max(distance or most - least, SMALLEST_DIVISOR) for distance in (middle - least, most - middle))
        return NormalScale(values, ndtri(positions), below, above)

    def __call__(self, values: FloatOrArray) -> FloatOrArray:
        """Return the normal scores of values; what is beyond the sample gets up to 1 more than its end.

        Args:
            values: Finite, a float or an array.
        """
        # Both are 0 within the sample.
        lower, higher = maximum(self.values.item(0) - values, 0.0), maximum(values - self.values.item(-1), 0.0)
        ends = higher / (higher + self.above) - lower / (lower + self.below)
        return interpolate(values, self.values, self.scores) + ends
