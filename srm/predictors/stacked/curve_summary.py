"""A partial learning curve as a dozen numbers, and columns of numbers as distances that mean something.

Hundreds of raw values drown a few hyper-parameters, so a curve is summed up by its last value, its highest and lowest so far,
slopes over log t, recent levels, recent noise and the level at fixed shares of what was seen. All of it is on an asinh scale,
so that a run that diverged to 1e18 is far away, but not infinitely far. Equation numbers are those of docs/stacked.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.scalar_or_array import FloatOrArray, maximum, minimum
from curvestop.srm.regression.features import Array

WINDOWS = (0.25, 0.5, 1.0)
"""Latest shares of the observed curve whose mean level and slope are features."""
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Shares of the observed curve at which its level is a feature."""
CLIP_DISTANCE = 40.0
"""A value counts in full up to this many times farther from the median than the best one; beyond, all are equally bad."""
OUTLIER_DISTANCE = 15.0
"""From this many times farther from the median than the best one on, a value is that of a diverged run."""
LARGEST_SQUARABLE = 1e150
"""Larger inputs count as this one: squares and differences of numbers up to it are finite."""
SMALLEST_DIVISOR = 1e-150
"""Spreads and norms are at least this, so that a quotient of any two numbers here is finite."""


@dataclass(frozen=True)
class ValueScale:
    """Location, unit and bounds of the training curves' final values; every model computes in this scale.

    Attributes:
        middle: Median of the final values, in the metric.
        unit: `u = (y - middle) / unit`, in the metric, > 0.
        clip_bound: In units: values are cut off at +-clip_bound; beyond it all runs are equally bad.
        outlier_bound: In units: the part of a value beyond +-outlier_bound is its diverged part.
    """

    middle: float
    unit: float
    clip_bound: float
    outlier_bound: float

    @staticmethod
    def of(finals: Array, direction: Direction) -> ValueScale:
        """Learn the scale; the distance from the median to the best says what is typical, however many runs diverged.

        Args:
            finals: `(n,)` final values in the metric, n >= 1.
            direction: Which values are the good ones; diverged ones are on the other side.
        """
        middle, least, most = float(np.median(finals)), float(finals.min()), float(finals.max())
        if most - least <= 1e-12 * max(abs(most), abs(least)):  # equal but for rounding
            return ValueScale(middle, max(abs(middle), SMALLEST_DIVISOR), 0.0, 0.0)
        low, high = np.quantile(finals, (0.1, 0.9))
        best = (most - middle if direction == "maximize" else middle - least) or most - least
        span = min(max(best, float(high - low)), 10 * best)  # few curves, whose best is no better than their median, say little
        kept = np.clip(finals, middle - CLIP_DISTANCE * span, middle + CLIP_DISTANCE * span)
        low, high = np.quantile(kept, (0.1, 0.9))
        # Both estimate the standard deviation of normal values: 1.4826 is 1 / 0.6745, and 2.563 is twice the 90 % quantile.
        deviation = 1.4826 * float(np.median(np.abs(kept - middle)))
        unit = max(deviation, min(float(high - low) / 2.563, 3 * best), 1e-3 * float(np.ptp(kept)), SMALLEST_DIVISOR)
        return ValueScale(middle, unit, CLIP_DISTANCE * span / unit, OUTLIER_DISTANCE * best / unit)  # eq. (2)

    def to_units(self, values: FloatOrArray) -> FloatOrArray:
        """Convert the metric to units within +-clip_bound.

        Args:
            values: In the metric, finite, of any shape.
        """
        return maximum(minimum((values - self.middle) / self.unit, self.clip_bound), -self.clip_bound)  # eq. (2)

    def healthy_part(self, units: FloatOrArray) -> FloatOrArray:
        """Return the part of values (in units) within +-outlier_bound; the rest is the diverged part.

        Args:
            units: What `to_units` returned.
        """
        return maximum(minimum(units, self.outlier_bound), -self.outlier_bound)  # eq. (3)

    def squash(self, values: Array) -> Array:
        """Convert the metric, within +-LARGEST_SQUARABLE, to asinh of units: linear near the middle, logarithmic far out.

        Args:
            values: `(n, tau)` in the metric.

        Returns:
            A new array of the same shape; values beyond clip_bound are not cut off here.
        """
        shifted: Array = values - self.middle
        shifted /= self.unit
        squashed: Array = np.arcsinh(shifted, out=shifted)  # eq. (4)
        return squashed


@lru_cache(maxsize=512)
def _linear_features(tau: int) -> Array:
    """Return the `(tau, p)` matrix of all features that are linear in a curve of length tau, eq. (5)."""
    time = np.log(np.arange(1, tau + 1) + 1.0)
    columns = [_unit_vector(tau, tau - 1)]
    for share in WINDOWS if tau >= 2 else ():
        seen = min(tau, max(2, round(share * tau)))
        window = np.zeros(tau)
        window[-seen:] = 1.0 / seen  # the mean of the window
        # The slope over log time, times the length of the time vector: its noise is then that of one value at every tau.
        centred = np.where(window > 0, time - time[-seen:].mean(), 0.0)
        columns += [window, centred / np.sqrt(centred @ centred)]
    columns += [_unit_vector(tau, position) for position in sorted({int(q * tau) for q in LEVELS}) if position < tau - 1]
    return np.stack(columns, axis=1)


def _unit_vector(tau: int, position: int) -> Array:
    # Not a row of np.eye, which would keep the whole (tau, tau) matrix.
    unit = np.zeros(tau)
    unit[position] = 1.0
    return unit


def n_summary_features(tau: int) -> int:
    """Return how many features `summarize_curves` makes of a curve of length tau.

    Args:
        tau: Observed length, >= 1.
    """
    return int(_linear_features(tau).shape[1]) + (3 if tau >= 2 else 0)


def summarize_curves(squashed: Array, extra_columns: int = 0) -> Array:
    """Compute the features of partial curves.

    Args:
        squashed: `(n, tau)` values as `ValueScale.squash` returns them.
        extra_columns: Columns to leave unset at the right, for the caller to fill.

    Returns:
        `(n, n_summary_features(tau) + extra_columns)`: linear features, then highest, lowest and recent total variation.
    """
    tau = squashed.shape[1]
    linear = _linear_features(tau)
    p = linear.shape[1]
    summary = np.empty((len(squashed), n_summary_features(tau) + extra_columns))
    np.matmul(squashed, linear, out=summary[:, :p])
    if tau < 2:
        return summary
    by_epoch = np.ascontiguousarray(squashed.T)  # (tau, n): many short rows are reduced in half the time
    np.maximum.reduce(by_epoch, axis=0, out=summary[:, p])
    np.minimum.reduce(by_epoch, axis=0, out=summary[:, p + 1])
    # Total variation over the latter half: how noisy the curve is now.
    recent = by_epoch[-max(2, tau // 2) :]
    steps = recent[1:] - recent[:-1]
    np.abs(steps, out=steps)
    np.add.reduce(steps, axis=0, out=summary[:, p + 2])
    return summary


@dataclass(frozen=True)
class WeightedColumns:
    """Columns made comparable: winsorized to the training range, standardized, weighted by relevance, eq. (6).

    Attributes:
        kept: `(p,)` indices of the columns that vary in training.
        lowest: `(p,)` training minima.
        highest: `(p,)` training maxima.
        mean: `(p,)` training means.
        weight: `(p,)` relevance over standard deviation.
    """

    kept: npt.NDArray[np.intp]
    lowest: Array
    highest: Array
    mean: Array
    weight: Array

    @staticmethod
    def of(rows: Array, target: Array) -> WeightedColumns:
        """Learn ranges, means and weights; the squared weights of the standardized columns sum to 1.

        Args:
            rows: `(n, p)` training rows.
            target: `(n,)` what the columns should explain.
        """
        lowest, highest = rows.min(axis=0), rows.max(axis=0)
        rounding = 1e-12 * np.maximum(np.abs(lowest), np.abs(highest))
        kept = np.flatnonzero(highest - lowest > np.maximum(rounding, SMALLEST_DIVISOR))
        rows, lowest, highest = rows[:, kept], lowest[kept], highest[kept]
        mean = rows.mean(axis=0)
        spread = rows.std(axis=0)
        relevance = np.sqrt(_dependence((rows - mean) / spread, target)) if len(kept) else np.ones(0)
        norm = max(float(np.sqrt(relevance @ relevance)), SMALLEST_DIVISOR)
        return WeightedColumns(kept, lowest, highest, mean, relevance / spread / norm)

    def beside(self, other: WeightedColumns, width: int) -> WeightedColumns:
        """Return these columns with another set to the right of them, as one.

        Args:
            other: The other columns.
            width: Columns of the rows on the left, those that are not kept included.
        """
        return WeightedColumns(
            np.concatenate([self.kept, other.kept + width]),
            np.concatenate([self.lowest, other.lowest]),
            np.concatenate([self.highest, other.highest]),
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.weight, other.weight]),
        )

    def __call__(self, rows: Array) -> Array:
        """Return `(n, kept)` weighted columns of the rows, which may be overwritten."""
        weighted: Array = rows.take(self.kept, axis=1) if len(self.kept) < rows.shape[1] else rows
        np.maximum(weighted, self.lowest, out=weighted)
        np.minimum(weighted, self.highest, out=weighted)
        weighted -= self.mean
        weighted *= self.weight  # eq. (6)
        return weighted


def _dependence(rows: Array, target: Array) -> Array:
    """Return `(p,)` in (0, 1]: the stronger rank correlation with the target, of each column or of its squared ranks."""
    goal = _centred_ranks(target[:, None])[:, 0]
    ranks = _centred_ranks(rows)
    squares = ranks**2 - (ranks**2).mean(axis=0)  # a column whose middle is best has no rank correlation, but its square has
    floor = 0.3 / np.sqrt(len(target))  # what is left of a column by chance alone
    strongest: Array = np.maximum(np.maximum(_correlation(ranks, goal), _correlation(squares, goal)), floor)
    return strongest


def _centred_ranks(rows: Array) -> Array:
    """Return the ranks of `(n, p)` numbers within their columns, in (0, 1] minus their mean; ties share theirs."""
    from scipy.stats import rankdata  # slow to load, and only fits need it

    ranks = rankdata(rows, axis=0) / len(rows)
    centred: Array = ranks - ranks.mean(axis=0)
    return centred


def _correlation(columns: Array, goal: Array) -> Array:
    """Return `(p,)` absolute correlations of centred `(n, p)` columns with a centred `(n,)` goal."""
    norm = np.sqrt((columns**2).sum(axis=0) * (goal @ goal))
    correlation: Array = np.abs(columns.T @ goal) / np.maximum(norm, SMALLEST_DIVISOR)
    return correlation
