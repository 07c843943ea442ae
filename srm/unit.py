"""Any metric as one that rises within about [0, 1]: what the parametric models of learning curves are made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import LearningCurve
from curvestop.srm.features import Array
from curvestop.srm.stopping import Direction

WORST, BEST = 0.1, 0.9
"""Where the ends of the training range go: a new curve may be worse or better than all of training."""
FENCE = 10
"""How many times farther than the best the worst value may lie from the median; diverged runs lie beyond it."""


@dataclass(frozen=True)
class UnitScale:
    """The affine map that takes `worst` to 0.1 and `best` to 0.9; both in the metric, all of it finite."""

    worst: float
    best: float

    @staticmethod
    def of(curves: Sequence[LearningCurve], direction: Direction | None = None) -> UnitScale:
        """Learn the map from complete curves (at least one); direction None: the way most of them went."""
        sign = 1.0 if (direction or usual_direction(curves)) == "maximise" else -1.0
        values = np.sort(np.concatenate([sign * np.asarray(c.values, dtype=float) for c in curves]))
        worst, median, best = (float(values[round(q * (len(values) - 1))]) for q in (0.02, 0.5, 1.0))
        with np.errstate(over="ignore"):  # a fence at minus infinity is no fence
            worst = max(worst, float(median - FENCE * (np.float64(best) - median)))
        return UnitScale(sign * (worst if worst < best else best - (abs(best) or 1.0) * np.sign(sign) * sign), sign * best)

    def to_unit(self, values: npt.ArrayLike) -> Array:
        """Metric -> unit, clipped to [-1, 2]."""
        halves = np.asarray(values, dtype=float) / 2  # the difference of two finite halves is finite
        fractions = (halves - self.worst / 2) / (self.best / 2 - self.worst / 2)
        return np.clip(WORST + (BEST - WORST) * fractions, -1.0, 2.0)

    def from_unit(self, values: Array) -> Array:
        """Unit -> metric, finite."""
        fractions = (values - WORST) / (BEST - WORST)
        largest = np.finfo(float).max
        with np.errstate(over="ignore"):
            return np.clip(self.worst * (1 - fractions) + self.best * fractions, -largest, largest)

    @property
    def spread(self) -> float:
        """One unit in the metric; > 0."""
        return min(abs(self.best / 2 - self.worst / 2) / (BEST - WORST), np.finfo(float).max / 2) * 2


def usual_direction(curves: Sequence[LearningCurve]) -> Direction:
    """The direction in which more of the curves went from their first value to their last."""
    rises = sum(int(np.sign(c.values[-1] / 2 - c.values[0] / 2)) for c in curves)
    return "maximise" if rises >= 0 else "minimise"
