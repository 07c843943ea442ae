"""Columns to zero mean and unit spread, whatever their size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curvestop.srm.regression.features import Array

FARTHEST = 1e100
"""Where a standardized number is cut off: its square is still finite."""


@dataclass(frozen=True)
class Scaler:
    """Column-wise standardisation, learnt once per fit; a constant column becomes zero.

    mean, scale: `(p,)` (or scalars for one column); scale is infinite for a constant column.
    """

    mean: Array
    scale: Array

    @staticmethod
    def of(rows: Array) -> Scaler:
        size = np.abs(rows).max(axis=0)
        size = np.where(size > 0, size, 1.0)
        unit = rows / size  # in [-1, 1], so that neither sums nor squares overflow
        mean, std = size * unit.mean(axis=0), size * unit.std(axis=0)
        # A column that differs only by rounding is constant: dividing by its spread would turn noise into signal.
        constant = std <= np.maximum(1e-12 * size, np.finfo(float).tiny)
        return Scaler(mean, np.where(constant, np.inf, std))

    def __call__(self, rows: Array) -> Array:
        with np.errstate(over="ignore"):
            # Halves, because the difference of two finite halves is finite.
            scaled: Array = np.clip((rows / 2 - self.mean / 2) / (self.scale / 2), -FARTHEST, FARTHEST)
        return scaled

    def back(self, scaled: Array) -> Array:
        """Standardised values as they were, cut off where they would be infinite."""
        with np.errstate(over="ignore"):
            return np.clip(scaled * self.spread + self.mean, -np.finfo(float).max, np.finfo(float).max)

    @property
    def spread(self) -> Array:
        """Scale with 0 for a constant column: what a standardized value is multiplied by to go back."""
        spread: Array = np.where(np.isfinite(self.scale), self.scale, 0.0)
        return spread
