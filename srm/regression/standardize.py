"""Column-wise standardization that neither overflows nor turns rounding noise into signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curvestop.srm.regression.features import Array

LARGEST_STANDARDIZED = 1e100
"""Standardized numbers are cut off here, so that their squares are finite."""


@dataclass(frozen=True)
class Scaler:
    """Map columns to zero mean and unit standard deviation; a constant column becomes zero.

    Attributes:
        mean: `(p,)` column means (or a scalar for a single target).
        scale: `(p,)` (or a scalar) standard deviations, infinite for a constant column.
    """

    mean: Array
    scale: Array

    @staticmethod
    def of(rows: Array) -> Scaler:
        """Learn the map.

        Args:
            rows: `(n, p)` features, or an `(n,)` target; all finite, of any size.
        """
        size = np.abs(rows).max(axis=0)
        size = np.where(size > 0, size, 1.0)
        unit = rows / size  # in [-1, 1], so that neither sums nor squares overflow
        mean, std = size * unit.mean(axis=0), size * unit.std(axis=0)
        # A column that differs only by rounding is constant: dividing by its spread would turn noise into signal.
        constant = std <= np.maximum(1e-12 * size, np.finfo(float).tiny)
        return Scaler(mean, np.where(constant, np.inf, std))

    def __call__(self, rows: Array) -> Array:
        """Return the rows standardized, within +-LARGEST_STANDARDIZED."""
        with np.errstate(over="ignore"):
            # Halves, because the difference of two finite halves is finite.
            scaled: Array = np.clip((rows / 2 - self.mean / 2) / (self.scale / 2), -LARGEST_STANDARDIZED, LARGEST_STANDARDIZED)
        return scaled

    def back(self, scaled: Array) -> Array:
        """Return standardized values in their original unit, cut off where they would be infinite.

        Args:
            scaled: Standardized numbers, `(n, p)` or `(n,)` as `of` was given.
        """
        with np.errstate(over="ignore"):
            return np.clip(scaled * self.spread + self.mean, -np.finfo(float).max, np.finfo(float).max)

    @property
    def spread(self) -> Array:
        """`(p,)` factors back to the original unit: the scale, but 0 for a constant column."""
        spread: Array = np.where(np.isfinite(self.scale), self.scale, 0.0)
        return spread
