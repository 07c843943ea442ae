"""A partial learning curve as a dozen numbers, and columns of numbers as distances that mean something.

Hundreds of raw values drown a few hyper-parameters, so a curve is summed up by its last value, its best and worst so far,
slopes over log t, recent levels, recent noise and the level at fixed shares of what was seen. All of it is on a squashed
scale, so that a run that diverged to 1e18 is far away, but not infinitely far.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.scalar_or_array import Numbers, larger, smaller
from curvestop.srm.regression.features import Array

WINDOWS = (0.25, 0.5, 1.0)
"""Latest shares of the observed curve whose slope and mean level are features."""
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Shares of the observed curve at which its level is a feature."""
FENCE, OUTLIER_BOUND = 40.0, 15.0
"""How many times farther from the median than the best a value counts in full, and from where it is a broken run's."""
LARGEST = 1e150
SMALLEST = 1e-150


@dataclass(frozen=True)
class ValueScale:
    """Location, unit and fences of the training curves' final values; everything is reckoned in it.

    middle, unit: `u = (y - middle) / unit`, unit > 0. outlier_bound: in units; beyond it all values are the same kind of broken.
    outlier_scale: in units; beyond it a value is broken, and how much so is a matter apart.
    """

    middle: float
    unit: float
    outlier_bound: float
    outlier_scale: float

    @staticmethod
    def of(finals: Array, direction: Direction) -> ValueScale:
        """`(n,)` final values, n >= 1. How far the best is from the median says what is typical, however many runs broke."""
        middle, least, most = float(np.median(finals)), float(finals.min()), float(finals.max())
        if most - least <= 1e-12 * max(abs(most), abs(least)):  # equal but for rounding
            return ValueScale(middle, max(abs(middle), SMALLEST), 0.0, 0.0)
        low, high = np.quantile(finals, (0.1, 0.9))
        best = (most - middle if direction == "maximize" else middle - least) or most - least
        span = min(max(best, float(high - low)), 10 * best)  # few curves, whose best is no better than their median, say little
        kept = np.clip(finals, middle - FENCE * span, middle + FENCE * span)
        low, high = np.quantile(kept, (0.1, 0.9))
        deviation = 1.4826 * float(np.median(np.abs(kept - middle)))
        unit = max(deviation, min(float(high - low) / 2.563, 3 * best), 1e-3 * float(np.ptp(kept)), SMALLEST)
        return ValueScale(middle, unit, FENCE * span / unit, OUTLIER_BOUND * best / unit)

    def units(self, values: Numbers) -> Numbers:
        """Metric -> units, within the outlier_bound."""
        return larger(smaller((values - self.middle) / self.unit, self.outlier_bound), -self.outlier_bound)

    def healthy(self, units: Numbers) -> Numbers:
        """The part of a value within the outlier_scale."""
        return larger(smaller(units, self.outlier_scale), -self.outlier_scale)

    def squashed(self, values: Array) -> Array:
        """Metric, within +-LARGEST -> asinh of units: linear near the middle, logarithmic far out."""
        shifted: Array = values - self.middle
        shifted /= self.unit
        squashed: Array = np.arcsinh(shifted, out=shifted)
        return squashed


@lru_cache(maxsize=512)
def _projection(tau: int) -> Array:
    """`(tau, p)`: every feature of a curve of length tau that is linear in it."""
    time = np.log(np.arange(1, tau + 1) + 1.0)
    last = np.eye(tau)[tau - 1]
    columns = [last]
    for share in WINDOWS if tau >= 2 else ():
        seen = min(tau, max(2, round(share * tau)))
        window = np.zeros(tau)
        window[-seen:] = 1.0 / seen
        centred = np.where(window > 0, time - time[-seen:].mean(), 0.0)
        columns += [window, centred / np.sqrt(centred @ centred)]
    columns += [np.eye(tau)[position] for position in sorted({int(q * tau) for q in LEVELS}) if position < tau - 1]
    return np.stack(columns, axis=1)


def n_shapes(tau: int) -> int:
    """How many features `curve_shape` makes of a curve of length tau."""
    return int(_projection(tau).shape[1]) + (3 if tau >= 2 else 0)


def curve_shape(squashed: Array, more: int = 0) -> Array:
    """`(n, tau)` squashed values -> `(n, n_shapes(tau) + more)` features, the last `more` of them not yet set."""
    tau = squashed.shape[1]
    projection = _projection(tau)
    p = projection.shape[1]
    shape = np.empty((len(squashed), n_shapes(tau) + more))
    np.matmul(squashed, projection, out=shape[:, :p])
    if tau < 2:
        return shape
    by_epoch = np.ascontiguousarray(squashed.T)  # reduced over many short rows in half the time
    np.maximum.reduce(by_epoch, axis=0, out=shape[:, p])
    np.minimum.reduce(by_epoch, axis=0, out=shape[:, p + 1])
    recent = by_epoch[-max(2, tau // 2) :]
    steps = recent[1:] - recent[:-1]
    np.abs(steps, out=steps)
    np.add.reduce(steps, axis=0, out=shape[:, p + 2])
    return shape


@dataclass(frozen=True)
class Columns:
    """Columns of numbers made comparable: winsorised to the training range, standardized, weighted by relevance.

    kept: `(p,)` indices of the columns that vary. lowest, highest, mean, weight: `(p,)`; a weight holds 1 / spread too.
    """

    kept: npt.NDArray[np.intp]
    lowest: Array
    highest: Array
    mean: Array
    weight: Array

    @staticmethod
    def of(rows: Array, target: Array) -> Columns:
        """`(n, p)` rows and what they should explain `(n,)`; squared weights of standardized columns sum to 1."""
        lowest, highest = rows.min(axis=0), rows.max(axis=0)
        kept = np.flatnonzero(highest - lowest > np.maximum(1e-12 * np.maximum(np.abs(lowest), np.abs(highest)), SMALLEST))
        rows, lowest, highest = rows[:, kept], lowest[kept], highest[kept]
        mean = rows.mean(axis=0)
        spread = rows.std(axis=0)
        relevance = np.sqrt(_dependence((rows - mean) / spread, target)) if len(kept) else np.ones(0)
        return Columns(kept, lowest, highest, mean, relevance / spread / max(float(np.sqrt(relevance @ relevance)), SMALLEST))

    def beside(self, other: Columns, width: int) -> Columns:
        """These columns and another set to the right of `width` columns, as one."""
        return Columns(
            np.concatenate([self.kept, other.kept + width]),
            np.concatenate([self.lowest, other.lowest]),
            np.concatenate([self.highest, other.highest]),
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.weight, other.weight]),
        )

    def __call__(self, rows: Array) -> Array:
        """`(n, kept)` weighted columns; the rows may be overwritten."""
        weighted: Array = rows.take(self.kept, axis=1) if len(self.kept) < rows.shape[1] else rows
        np.maximum(weighted, self.lowest, out=weighted)
        np.minimum(weighted, self.highest, out=weighted)
        weighted -= self.mean
        weighted *= self.weight
        return weighted


def _dependence(rows: Array, target: Array) -> Array:
    """`(p,)` in (0, 1]: rank correlation of each column, or of its squared rank, with the target, whichever is stronger."""
    goal = _centred_ranks(target[:, None])[:, 0]
    ranks = _centred_ranks(rows)
    squares = ranks**2 - (ranks**2).mean(axis=0)
    floor = 0.3 / np.sqrt(len(target))  # what is left of a column by chance alone
    strongest: Array = np.maximum(np.maximum(_correlation(ranks, goal), _correlation(squares, goal)), floor)
    return strongest


def _centred_ranks(rows: Array) -> Array:
    from scipy.stats import rankdata  # slow to load, and only fits need it

    ranks = rankdata(rows, axis=0) / len(rows)
    centred: Array = ranks - ranks.mean(axis=0)
    return centred


def _correlation(columns: Array, goal: Array) -> Array:
    norm = np.sqrt((columns**2).sum(axis=0) * (goal @ goal))
    correlation: Array = np.abs(columns.T @ goal) / np.maximum(norm, SMALLEST)
    return correlation
