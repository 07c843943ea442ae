"""A fitted kernel machine y(x) = offset + sum_i b_i k(x_i, x) of standardized rows, and its fast queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curvestop.srm.regression.features import Array
from curvestop.srm.regression.standardize import Scaler

KernelName = Literal["linear", "rbf"]


@dataclass(frozen=True)
class Kernel:
    """A kernel in two steps, so that a search over gamma computes the expensive first step once.

    Attributes:
        base: Maps `(m, p)` and `(n, p)` rows to `(m, n)` numbers that do not depend on gamma.
        value: Maps (base, gamma) to kernel values; monotone in the base.
    """

    base: Callable[[Array, Array], Array]
    value: Callable[[Array, float | Array], Array]


def squared_distances(left: Array, right: Array) -> Array:
    """Compute `(m, n)` squared Euclidean distances between `(m, p)` and `(n, p)` rows.

    Args:
        left: `(m, p)` standardized rows.
        right: `(n, p)` standardized rows.
    """
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    distances: Array = np.maximum(squares, 0.0)  # rounding may leave small negative numbers
    return distances


KERNELS: Mapping[str, Kernel] = {
    "rbf": Kernel(squared_distances, lambda base, gamma: np.exp(-gamma * base)),
    "linear": Kernel(lambda left, right: left @ right.T, lambda base, gamma: base),
}
"""The kernels by name; gamma has no effect on the linear one."""


@dataclass(frozen=True)
class Expansion:
    """A fitted kernel machine with the standardization of its inputs and its target.

    Attributes:
        kernel: A key of `KERNELS`, applied to standardized rows.
        gamma: The RBF kernel's exponent, > 0.
        support: `(m, p)` standardized support rows x_i.
        dual: `(m,)` weights b_i.
        offset: In the unit of the standardized target.
        features: How rows are standardized.
        target: How targets were standardized.
    """

    kernel: KernelName
    gamma: float
    support: Array
    dual: Array
    offset: float
    features: Scaler
    target: Scaler

    def __call__(self, features: Array) -> Array:
        """Predict `(m,)` finite values in the target's unit from `(m, p)` finite features."""
        kernel = KERNELS[self.kernel]
        values = kernel.value(kernel.base(self.features(features), self.support), self.gamma)
        return self.target.back(values @ self.dual + self.offset)

    def as_query(self, linear_map: Array, centre: Array) -> KernelMean | LinearMean:
        """Return the predictions from features v @ linear_map as a fast function of v.

        Args:
            linear_map: `(d, p)` matrix from v to features.
            centre: `(d,)` a v amid the training rows; the query computes with differences from it, which keeps digits.
        """
        unit, middle = float(self.target.spread), float(self.target.mean)
        shift = self.features((centre @ linear_map)[None])  # (1, p)
        reduced = linear_map / self.features.scale  # (d, p)
        offset = unit * self.offset + middle
        if self.kernel == "linear":
            slope = self.dual @ self.support
            with np.errstate(over="ignore"):  # a query that is not finite is one that its caller must not use
                weights = unit * (reduced @ slope)
            return LinearMean(centre, weights, offset + unit * float(shift[0] @ slope))
        # Queries and training rows lie in the row space of the map, at most d-dimensional, so distances between coordinates in
        # an orthonormal basis of it are those between the p features.
        basis, triangle = np.linalg.qr(reduced.T)  # (p, k), (k, d)
        support = (self.support - shift) @ basis  # (m, k)
        return KernelMean(
            centre,
            whiten=triangle.T.copy(),
            slopes=2 * self.gamma * support.T.copy(),
            levels=-self.gamma * (support**2).sum(axis=1),
            weights=unit * self.dual,
            gammas=np.full((len(triangle), 1), self.gamma),
            offset=offset,
        )


@dataclass(frozen=True)
class KernelMean:
    """An RBF kernel machine as a function of numbers v that its features are linear in.

    With z = (v - centre) @ whiten, distances between z are those between standardized features, so
    y(v) = offset + sum_i weights_i exp(z @ slopes_i + levels_i - gamma z'z).

    Attributes:
        centre: `(d,)`.
        whiten: `(d, k)`.
        slopes: `(k, m)`.
        levels: `(m,)`.
        weights: `(m,)` in the target's unit.
        gammas: `(k, 1)`, all equal to gamma, so that gamma z'z is one matrix product.
        offset: In the target's unit.
    """

    centre: Array
    whiten: Array
    slopes: Array
    levels: Array
    weights: Array
    gammas: Array
    offset: float

    def __call__(self, rows: Array) -> Array:
        """Predict `(m,)` values in the target's unit from `(m, d)` rows v; not finite where the sums overflow."""
        z = (rows - self.centre).dot(self.whiten)  # (m, k)
        exponents = z.dot(self.slopes)
        exponents += self.levels
        exponents -= (z * z).dot(self.gammas)
        mean: Array = np.exp(exponents, out=exponents).dot(self.weights)
        mean += self.offset
        return mean


@dataclass(frozen=True)
class LinearMean:
    """A linear kernel machine as a function of v: y(v) = offset + (v - centre) @ weights.

    Attributes:
        centre: `(d,)`.
        weights: `(d,)` in the target's unit.
        offset: In the target's unit.
    """

    centre: Array
    weights: Array
    offset: float

    def __call__(self, rows: Array) -> Array:
        """Predict `(m,)` values in the target's unit from `(m, d)` rows v; not finite where the sums overflow."""
        mean: Array = (rows - self.centre).dot(self.weights) + self.offset
        return mean
