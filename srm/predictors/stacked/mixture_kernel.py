"""The kernel between partial curves: a mixture over length scales of curve kernel times configuration kernel, plus a linear one.

Each factor is rational quadratic with exponent 1, 1 / (1 + d^2 / width^2) (Rasmussen and Williams 2006, equation 4.19): itself a
mixture over length scales, as accurate here as a Matern 3/2, and one division where that needs a root and an exponential.
Equation numbers are those of docs/stacked.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curvestop.srm.predictors.stacked.curve_summary import ValueScale, WeightedColumns, n_summary_features, summarize_curves
from curvestop.srm.regression.features import Array

CURVE_WIDTH, CONFIGURATION_WIDTH = 6.0, 3.0
"""Widest length scales, in standard deviations of the weighted columns; each is tried as it is, halved and quartered."""
N_WIDTHS = 3
"""Length scales tried for each factor; `MixtureKernel` evaluates a polynomial made for three."""
SHARPNESS = 8
"""The weight of a pair of length scales is its leave-one-out error to the power -SHARPNESS."""
LINEAR = 0.5
"""Share of the linear kernel, relative to the mixture's 1."""
_DENOMINATOR = tuple(map(np.array, (21 / 16, 21 / 64, 1 / 64)))  # of eq. (11), as arrays, which numpy takes faster than floats
_DIAGONAL = tuple(map(np.array, (LINEAR, 1.0 + LINEAR)))


@dataclass(frozen=True)
class Rows:
    """What is known of n curves after tau epochs.

    Attributes:
        values: `(n, tau)` in the metric.
        configurations: `(n, f)` numbers.
    """

    values: Array
    configurations: Array

    def __getitem__(self, index: npt.NDArray[np.intp]) -> Rows:
        """Return the rows of these indices."""
        return Rows(self.values[index], self.configurations[index])


@dataclass(frozen=True)
class RowTransform:
    """The map from rows to points, whose distances the kernel is a function of.

    Attributes:
        scale: Of the values.
        columns: The weighted columns, those of the curve first.
        n_curve_columns: How many of the kept columns are the curve's.
    """

    scale: ValueScale
    columns: WeightedColumns
    n_curve_columns: int

    @staticmethod
    def of(rows: Rows, scale: ValueScale, remainder: Array) -> RowTransform:
        """Learn the columns' weights.

        Args:
            rows: `n` training rows.
            scale: Of the values.
            remainder: `(n,)` what the calibrated last value leaves, which the columns should explain.
        """
        curve = WeightedColumns.of(summarize_curves(scale.squash(rows.values)), remainder)
        configuration = WeightedColumns.of(rows.configurations, remainder)
        columns = curve.beside(configuration, n_summary_features(rows.values.shape[1]))
        return RowTransform(scale, columns, len(curve.kept))

    def __call__(self, rows: Rows) -> Array:
        """Return `(n, p)` points."""
        columns = rows.configurations.shape[1]
        # One array for both halves: the configuration is written beside the curve's features, not concatenated to them.
        features = summarize_curves(self.scale.squash(rows.values), columns)
        features[:, features.shape[1] - columns :] = rows.configurations
        return self.columns(features)


class BaseKernel:
    """The parts that any mixture of length scales is made of: squared distances to n training points, and the linear kernel.

    Distances of curves and of configurations are computed side by side, as one `(m, 2 n)` array: curves left, configurations
    right.

    Args:
        points: `(n, p)` training points as a `RowTransform` returns them, the columns of the curve first.
        n_curve: How many of the columns are the curve's.
    """

    def __init__(self, points: Array, n_curve: int) -> None:
        n, p = points.shape
        self.n, self.n_columns, self.n_curve = n, p, n_curve
        self.linear_rows = LINEAR * points.T
        # (p, 2): squares of a row times this are its squared norms as a curve and as a configuration, in units of the widths.
        self.norm_weights = np.zeros((p, 2))
        self.norm_weights[:n_curve, 0], self.norm_weights[n_curve:, 1] = CURVE_WIDTH**-2, CONFIGURATION_WIDTH**-2
        # |x - z|^2 = |x|^2 - 2 x z + |z|^2: the training points' share of it, once for both factors.
        self.products = np.concatenate(
            list((-2.0 * points[:, None, :] * self.norm_weights.T).transpose(1, 2, 0)), axis=1
        )  # (p, 2 n)
        self.norms = np.concatenate(list(((points**2) @ self.norm_weights).T))

    def distances(self, points: Array) -> Array:
        """Compute `(m, 2 n)` squared distances of `(m, p)` points, in units of the widest length scales.

        Args:
            points: As a `RowTransform` returns them.
        """
        squares = (points * points) @ self.norm_weights  # (m, 2)
        distances: Array = points @ self.products
        distances += self.norms
        distances[:, : self.n] += squares[:, :1]
        distances[:, self.n :] += squares[:, 1:]
        return np.maximum(distances, 0.0, out=distances)

    def linear(self, points: Array) -> Array:
        """Compute the `(m, n)` linear kernel LINEAR (1 + x'z) of `(m, p)` points."""
        products: Array = points @ self.linear_rows
        products += LINEAR
        return products

    @staticmethod
    def diagonal(points: Array) -> Array:
        """Compute `(m,)` kernel values of each point with itself, whatever the mixture: its factors are 1 at distance 0.

        Args:
            points: `(m, p)` as a `RowTransform` returns them.
        """
        slope, level = _DIAGONAL
        diagonal: Array = np.vecdot(points, points)
        diagonal *= slope
        diagonal += level
        return diagonal


class MixtureKernel:
    """The weighted kernel: (sum_i w_i / (1 + 4^i q)) of curves times the same of configurations, plus the linear one, eq. (9).

    Each sum is evaluated as a polynomial of degree two over (q + 1) (q + 1/4) (q + 1/16), eq. (11). All squared distances q
    come from matrix products, of rows that have their squared norms and a one between the curve's columns and the
    configuration's.

    Args:
        base: Of the training points.
        weights: `(2, 3)` of the length scales, widest first; curves, then configurations; each row sums to 1.
    """

    def __init__(self, base: BaseKernel, weights: Array) -> None:
        n, p, c = base.n, base.n_columns, base.n_curve
        w1, w2, w3 = weights.T[:, :, None, None]  # (2, 1, 1) each
        leading = 64 * w1 + 16 * w2 + 4 * w3  # of the numerator over (1 + q)(1 + 4 q)(1 + 16 q)
        self._scale = np.array(float(leading.prod()) / 64**2)
        self._slopes, self._levels = (20 * w1 + 17 * w2 + 5 * w3) / leading, 1 / leading
        self._norm_weights, self._n, self._p, self._c = base.norm_weights, n, p, c
        products, (curve_norms, norms) = base.products, base.norms.reshape(2, n)
        # Rows of a query are [curve, |curve|^2, 1, |configuration|^2, configuration]; these are what they are multiplied by.
        self._of_curve = np.vstack([products[:c, :n], np.ones(n), curve_norms])  # (c + 2, n)
        self._of_configuration = np.vstack([norms, np.ones(n), products[c:, n:]])  # (p - c + 2, n)
        between = np.array([[0.0], [LINEAR], [0.0]]) + np.zeros(n)
        self._linear = np.vstack([base.linear_rows[:c], between, base.linear_rows[c:]])  # (p + 3, n)

    def __call__(self, points: Array) -> Array:
        """Compute the `(m, n)` kernel between `(m, p)` points and the training points."""
        m, c = len(points), self._c
        rows = np.empty((m, self._p + 3))  # the curve, its squared norm, 1, the configuration's squared norm, the configuration
        rows[:, :c], rows[:, c + 1], rows[:, c + 3 :] = points[:, :c], 1.0, points[:, c:]
        rows[:, c : c + 3 : 2] = (points * points) @ self._norm_weights
        q = np.empty((2, m, self._n))
        # The two products share the 1: it takes the curve's training norms in one and the configuration's in the other.
        np.matmul(rows[:, : c + 2], self._of_curve, out=q[0])
        np.matmul(rows[:, c + 1 :], self._of_configuration, out=q[1])
        # eq. (11) by Horner's rule: q^2 + slopes q + levels over q^3 + 21/16 q^2 + 21/64 q + 1/64.
        numerators = q + self._slopes
        numerators *= q
        numerators += self._levels
        denominators = q + _DENOMINATOR[0]
        for coefficient in _DENOMINATOR[1:]:
            denominators *= q
            denominators += coefficient
        # One division for both factors, in memory that is already in the cache.
        kernel: Array = np.multiply(numerators[0], numerators[1], out=q[0])
        kernel /= np.multiply(denominators[0], denominators[1], out=q[1])
        kernel *= self._scale
        kernel += rows @ self._linear
        return kernel


def rational_quadratics(q: Array) -> list[Array]:
    """Return the factors of squared distances at each length scale alone, widest first, eq. (10).

    Args:
        q: Squared distances in units of the widest length scale, of any shape.

    Returns:
        N_WIDTHS arrays of that shape, in (0, 1].
    """
    return [1.0 / (1.0 + 4.0**i * q) for i in range(N_WIDTHS)]


def width_weights(errors: Array) -> Array:
    """Compute the weights of the length scales from their leave-one-out errors, eq. (12).

    The result is the marginals of every pair's weight: their product mixes all nine pairs as well as the nine weights do.

    Args:
        errors: `(3, 3)` mean squared errors (curve width, configuration width).

    Returns:
        `(2, 3)`, curves first; each row sums to 1.
    """
    weights = (max(float(errors.min()), 1e-300) / np.maximum(errors, 1e-300)) ** SHARPNESS
    weights /= weights.sum()
    return np.array([weights.sum(axis=1), weights.sum(axis=0)])
