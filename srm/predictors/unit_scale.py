"""An affine map of any metric to a rising one in about [0, 1], as parametric models of learning curves expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import LearningCurve
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.regression.features import Array

UNIT_WORST, UNIT_BEST = 0.1, 0.9
"""The ends of the training range on the unit scale: a new curve may be worse or better than all of training."""
LARGEST_FLOAT = float(np.finfo(float).max)
OUTLIER_DISTANCE = 10
"""A value farther from the median than this many times the best one is an outlier, as diverged runs are."""


@dataclass(frozen=True)
class UnitScale:
    """The affine map that takes the best training value to 0.9 and the worst that is no outlier to 0.1.

    Attributes:
        best: Best training value, in the metric.
        unit: Difference in the metric that makes 1; > 0 when higher is better, < 0 when lower is.
    """

    best: float
    unit: float

    @staticmethod
    def of(curves: Sequence[LearningCurve], direction: Direction | None = None) -> UnitScale:
        """Learn the map from complete curves.

        Args:
            curves: One or more complete curves.
            direction: Which values are the good ones; None (default) takes the direction in which most curves went.
        """
        sign = 1.0 if (direction or usual_direction(curves)) == "maximize" else -1.0
        # Halves, because the difference of two finite halves is finite.
        halves = np.sort(np.concatenate([sign * np.asarray(c.values, dtype=float) for c in curves])) / 2
        worst, median, best = (float(halves[round(q * (len(halves) - 1))]) for q in (0.02, 0.5, 1.0))
        spread = best - max(worst, median - OUTLIER_DISTANCE * (best - median))
        smallest = np.finfo(float).tiny
        if spread <= max(1e-12 * abs(best), smallest):  # equal but for rounding: any unit will do
            spread = max(abs(best), 1.0 if abs(best) <= smallest else 0.0)
        return UnitScale(sign * best * 2, sign * min(spread / (UNIT_BEST - UNIT_WORST), LARGEST_FLOAT / 2) * 2)

    def to_unit(self, values: npt.ArrayLike) -> Array:
        """Convert the metric to the unit scale, cut off at -1 and 2.

        Args:
            values: In the metric, of any shape and any finite size.

        Returns:
            The same shape; best training values at UNIT_BEST, higher is better.
        """
        with np.errstate(over="ignore"):
            # Halves again: numbers near the largest float have no finite difference.
            distance = (self.best / 2 - np.asarray(values, dtype=float) / 2) / (self.unit / 2)
            return np.clip(UNIT_BEST - distance, -1.0, 2.0)

    def from_unit(self, values: npt.ArrayLike) -> Array:
        """Convert the unit scale to finite values in the metric.

        Args:
            values: On the unit scale, of any shape.
        """
        with np.errstate(over="ignore"):
            return np.clip(self.best - (UNIT_BEST - np.asarray(values)) * self.unit, -LARGEST_FLOAT, LARGEST_FLOAT)

    def sigma_from_unit(self, sigma: float) -> float:
        """Convert a standard deviation on the unit scale to a finite one in the metric."""
        return min(sigma * abs(self.unit), LARGEST_FLOAT)


def usual_direction(curves: Sequence[LearningCurve]) -> Direction:
    """Return the direction in which more of the curves went from their first value to their last.

    Args:
        curves: Complete curves, each with a value; without any, "maximize".
    """
    # A curve that ends as it began counts for neither side; a tie is taken for a rise.
    rises, falls = (sum(bool(sign * c.values[-1] > sign * c.values[0]) for c in curves) for sign in (1, -1))
    return "maximize" if rises >= falls else "minimize"
