"""Any metric as one that rises within about [0, 1]: what the parametric models of learning curves are made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import LearningCurve
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.regression.features import Array

WORST, BEST = 0.1, 0.9
"""Where the ends of the training range go: a new curve may be worse or better than all of training."""
LARGEST = float(np.finfo(float).max)
FENCE = 10
"""How many times farther than the best the worst value may lie from the median; diverged runs lie beyond it."""


@dataclass(frozen=True)
class UnitScale:
    """The affine map that takes the best training value to 0.9 and the worst that is no outlier to 0.1.

    best: in the metric. unit: the difference in the metric that makes 1; > 0 when higher is better, < 0 when lower is.
    """

    best: float
    unit: float

    @staticmethod
    def of(curves: Sequence[LearningCurve], direction: Direction | None = None) -> UnitScale:
        """Learn the map from complete curves (at least one); direction None: the way most of them went."""
        sign = 1.0 if (direction or usual_direction(curves)) == "maximize" else -1.0
        # Halves, because the difference of two finite halves is finite.
        halves = np.sort(np.concatenate([sign * np.asarray(c.values, dtype=float) for c in curves])) / 2
        worst, median, best = (float(halves[round(q * (len(halves) - 1))]) for q in (0.02, 0.5, 1.0))
        spread = best - max(worst, median - FENCE * (best - median))
        smallest = np.finfo(float).tiny
        if spread <= max(1e-12 * abs(best), smallest):  # equal but for rounding: any unit will do
            spread = max(abs(best), 1.0 if abs(best) <= smallest else 0.0)
        return UnitScale(sign * best * 2, sign * min(spread / (BEST - WORST), LARGEST / 2) * 2)

    def to_unit(self, values: npt.ArrayLike) -> Array:
        """Metric -> unit, clipped to [-1, 2]."""
        with np.errstate(over="ignore"):
            distance = (self.best / 2 - np.asarray(values, dtype=float) / 2) / (self.unit / 2)
            return np.clip(BEST - distance, -1.0, 2.0)

    def from_unit(self, values: npt.ArrayLike) -> Array:
        """Unit -> metric, finite."""
        with np.errstate(over="ignore"):
            return np.clip(self.best - (BEST - np.asarray(values)) * self.unit, -LARGEST, LARGEST)

    def width(self, sigma: float) -> float:
        """A standard deviation in the metric, finite."""
        return min(sigma * abs(self.unit), LARGEST)


def usual_direction(curves: Sequence[LearningCurve]) -> Direction:
    """The direction in which more of the curves went from their first value to their last."""
    rises, falls = (sum(bool(sign * c.values[-1] > sign * c.values[0]) for c in curves) for sign in (1, -1))
    return "maximize" if rises >= falls else "minimize"
