"""A kernel expansion y(x) = offset + sum_i b_i k(x_i, x) of standardized rows: what a fitted nu-SVR is, and its fast queries."""

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
    """A kernel in two steps, the first of which all settings share.

    base: `(m, p)` and `(n, p)` rows -> `(m, n)`. value: (base, gamma) -> kernel; monotone in the base.
    """

    base: Callable[[Array, Array], Array]
    value: Callable[[Array, float | Array], Array]


def squared_distances(left: Array, right: Array) -> Array:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    distances: Array = np.maximum(squares, 0.0)
    return distances


KERNELS: Mapping[str, Kernel] = {
    "rbf": Kernel(squared_distances, lambda base, gamma: np.exp(-gamma * base)),
    "linear": Kernel(lambda left, right: left @ right.T, lambda base, gamma: base),
}


@dataclass(frozen=True)
class Expansion:
    """kernel, gamma: of standardized rows.

    support: `(m, p)` standardized rows x_i. dual: `(m,)` weights b_i. offset: in the standardized target's unit.
    features, target: how rows and targets were standardized.
    """

    kernel: KernelName
    gamma: float
    support: Array
    dual: Array
    offset: float
    features: Scaler
    target: Scaler

    def __call__(self, features: Array) -> Array:
        """`(m, p)` finite features -> `(m,)` finite predictions in the target's unit."""
        kernel = KERNELS[self.kernel]
        values = kernel.value(kernel.base(self.features(features), self.support), self.gamma)
        return self.target.back(values @ self.dual + self.offset)

    def through(self, linear_map: Array, centre: Array) -> KernelMean | LinearMean:
        """The predictions from features v @ linear_map as a function of v.

        linear_map: `(d, p)`. centre: `(d,)`, somewhere among the training rows' v: differences from it are computed with.
        """
        unit, middle = float(self.target.spread), float(self.target.mean)
        shift = self.features((centre @ linear_map)[None])  # (1, p)
        reduced = linear_map / self.features.scale  # (d, p)
        offset = unit * self.offset + middle
        if self.kernel == "linear":
            slope = self.dual @ self.support
            return LinearMean(centre, unit * (reduced @ slope), offset + unit * float(shift[0] @ slope))
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
    """A fitted RBF nu-SVR as a function of numbers v that its features are linear in: what a query evaluates.

    With z = (v - centre) @ whiten, distances between z are those between standardized features, so
    y(v) = offset + sum_i weights_i exp(z @ slopes_i + levels_i - gamma z'z).

    centre `(d,)`, whiten `(d, k)`, slopes `(k, m)`, levels and weights `(m,)`, gammas `(k, 1)`, all equal to gamma.
    """

    centre: Array
    whiten: Array
    slopes: Array
    levels: Array
    weights: Array
    gammas: Array
    offset: float

    def __call__(self, rows: Array) -> Array:
        """`(m, d)` rows v -> `(m,)` predictions in the target's unit; not finite where the sums overflow."""
        z = (rows - self.centre).dot(self.whiten)
        exponents = z.dot(self.slopes)
        exponents += self.levels
        exponents -= (z * z).dot(self.gammas)
        mean: Array = np.exp(exponents, out=exponents).dot(self.weights)
        mean += self.offset
        return mean


@dataclass(frozen=True)
class LinearMean:
    """The same for a linear kernel: y(v) = offset + (v - centre) @ weights."""

    centre: Array
    weights: Array
    offset: float

    def __call__(self, rows: Array) -> Array:
        """`(m, d)` rows v -> `(m,)` predictions in the target's unit; not finite where the sums overflow."""
        mean: Array = (rows - self.centre).dot(self.weights) + self.offset
        return mean
