"""The kernel between partial curves: a mixture over length scales of curve kernel times configuration kernel, plus a linear one.

Each factor is rational quadratic with exponent 1, 1 / (1 + d^2 / width^2) (Rasmussen and Williams 2006, equation 4.19): itself a
mixture over length scales, as accurate here as a Matern 3/2, and one division where that needs a root and an exponential.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curvestop.srm.predictors.stacked.curve_summary import Columns, ValueScale, curve_shape, n_shapes
from curvestop.srm.regression.features import Array

CURVE_WIDTH, CONFIGURATION_WIDTH = 6.0, 3.0
"""Widest length scales, in standard deviations of the weighted columns; each is tried whole, halved and quartered."""
N_WIDTHS = 3
SHARPNESS = 8
"""Weight of a pair of length scales is its leave-one-out error to the power -SHARPNESS."""
LINEAR = 0.5
"""Share of the linear kernel, relative to the mixture's 1."""


@dataclass(frozen=True)
class Rows:
    """What is known of n curves after tau epochs.

    values: `(n, tau)` in the metric. configurations: `(n, f)` numbers.
    """

    values: Array
    configurations: Array

    def __getitem__(self, index: npt.NDArray[np.intp]) -> Rows:
        return Rows(self.values[index], self.configurations[index])


@dataclass(frozen=True)
class RowTransform:
    """How a model sees rows: the values' scale, and the weighted columns, those of the curve first.

    n_curve: how many columns are the curve's.
    """

    scale: ValueScale
    columns: Columns
    n_curve: int

    @staticmethod
    def of(rows: Rows, scale: ValueScale, surprise: Array) -> RowTransform:
        """surprise: `(n,)` what the columns should explain."""
        curve = Columns.of(curve_shape(scale.squashed(rows.values)), surprise)
        configuration = Columns.of(rows.configurations, surprise)
        return RowTransform(scale, curve.beside(configuration, n_shapes(rows.values.shape[1])), len(curve.kept))

    def __call__(self, rows: Rows) -> Array:
        """`(n, p)`."""
        columns = rows.configurations.shape[1]
        shape = curve_shape(self.scale.squashed(rows.values), columns)
        shape[:, shape.shape[1] - columns :] = rows.configurations
        return self.columns(shape)


class Kernel:
    """Kernel of anything with n training rows.

    points: `(n, p)` as a `RowTransform` gives them, the first n_curve columns being the curve's.
    Both factors are computed side by side, as one `(m, 2 n)` array: curves left, configurations right.
    """

    def __init__(self, points: Array, n_curve: int) -> None:
        n, p = points.shape
        self.n, self.n_points, self.n_curve = n, p, n_curve
        self.linear_rows = LINEAR * points.T
        self.part = np.zeros((p, 2))  # squares of a row -> its squared norms as a curve and as a configuration
        self.part[:n_curve, 0], self.part[n_curve:, 1] = CURVE_WIDTH**-2, CONFIGURATION_WIDTH**-2
        self.products = np.concatenate(list((-2.0 * points[:, None, :] * self.part.T).transpose(1, 2, 0)), axis=1)  # (p, 2 n)
        self.norms = np.concatenate(list(((points**2) @ self.part).T))

    def distances(self, points: Array) -> Array:
        """`(m, 2 n)` squared distances in units of the widest length scales."""
        squares = (points * points) @ self.part  # (m, 2)
        distances: Array = points @ self.products
        distances += self.norms
        distances[:, : self.n] += squares[:, :1]
        distances[:, self.n :] += squares[:, 1:]
        return np.maximum(distances, 0.0, out=distances)

    def linear(self, points: Array) -> Array:
        """`(m, n)`."""
        products: Array = points @ self.linear_rows
        products += LINEAR
        return products

    @staticmethod
    def diagonal(points: Array) -> Array:
        """`(m,)` kernel of every row with itself."""
        diagonal: Array = np.vecdot(points, points) * LINEAR + (1.0 + LINEAR)
        return diagonal


class Mixture:
    """The weighted kernel: (sum_i w_i / (1 + 4^i x)) of curves times the same of configurations, plus the linear one.

    weights: `(2, 3)` of the length scales, curves first; each row sums to 1.
    A factor is a polynomial of degree two over (x + 1) (x + 1/4) (x + 1/16). All x come from matrix products, of rows that have
    their squared norms and a one between the curve's columns and the configuration's.
    """

    def __init__(self, kernel: Kernel, weights: Array) -> None:
        n, p, c = kernel.n, kernel.n_points, kernel.n_curve
        w1, w2, w3 = weights.T[:, :, None, None]
        leading = 64 * w1 + 16 * w2 + 4 * w3  # of the sum over (1 + x)(1 + 4 x)(1 + 16 x)
        self._scale = float(leading.prod()) / 64**2
        self._slopes, self._levels = (20 * w1 + 17 * w2 + 5 * w3) / leading, 1 / leading
        self._part, self._n, self._p, self._c = kernel.part, n, p, c
        products, (curve_norms, norms) = kernel.products, kernel.norms.reshape(2, n)
        self._of_curve = np.vstack([products[:c, :n], np.ones(n), curve_norms])
        self._of_configuration = np.vstack([norms, np.ones(n), products[c:, n:]])
        between = np.array([[0.0], [LINEAR], [0.0]]) + np.zeros(n)
        self._linear = np.vstack([kernel.linear_rows[:c], between, kernel.linear_rows[c:]])

    def __call__(self, points: Array) -> Array:
        """`(m, p)` points -> `(m, n)`."""
        m, c = len(points), self._c
        rows = np.empty((m, self._p + 3))  # the curve, its squared norm, 1, the configuration's squared norm, the configuration
        rows[:, :c], rows[:, c + 1], rows[:, c + 3 :] = points[:, :c], 1.0, points[:, c:]
        rows[:, c : c + 3 : 2] = (points * points) @ self._part
        x = np.empty((2, m, self._n))
        np.matmul(rows[:, : c + 2], self._of_curve, out=x[0])
        np.matmul(rows[:, c + 1 :], self._of_configuration, out=x[1])
        numerators = x + self._slopes
        numerators *= x
        numerators += self._levels
        denominators = x + 1.3125
        for coefficient in (0.328125, 0.015625):
            denominators *= x
            denominators += coefficient
        kernel: Array = np.multiply(numerators[0], numerators[1], out=x[0])
        kernel /= np.multiply(denominators[0], denominators[1], out=x[1])
        kernel *= self._scale
        kernel += rows @ self._linear
        return kernel


def single_widths(x: Array) -> list[Array]:
    """The factors of `distances` at each length scale alone, widest first."""
    return [1.0 / (1.0 + 4.0**i * x) for i in range(N_WIDTHS)]


def width_weights(errors: Array) -> Array:
    """`(3, 3)` leave-one-out mean squared errors (curve width, configuration width) -> `(2, 3)` weights, each row summing to 1.

    The marginals of every pair's weight: their product mixes all nine as well as the nine weights do.
    """
    weights = (max(float(errors.min()), 1e-300) / np.maximum(errors, 1e-300)) ** SHARPNESS
    weights /= weights.sum()
    return np.array([weights.sum(axis=1), weights.sum(axis=0)])
