"""Regressors of one target on one matrix of features, each with an honest error: the leave-one-out sigma.

Baker 2017 (thesis), sections 4.1.2 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, Self

import numpy as np

from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_expansion import Expansion, KernelMean, LinearMean, squared_distances
from curvestop.srm.regression.kernel_ridge import loo_path, solve
from curvestop.srm.regression.nu_svr import MIN_ROWS, NuSVRRegressor
from curvestop.srm.regression.standardize import Scaler

__all__ = ["MIN_ROWS", "REGRESSORS", "KernelRidge", "NuSVRRegressor", "OrdinaryLeastSquares", "Regressor", "Scaler"]

GAMMAS = np.logspace(-5, 1, 25)
"""The range of the thesis's search over the RBF kernel's gamma, on a grid."""


class Regressor(Protocol):
    """Fits rows to targets. After `fit`, `sigma_` is the root mean square leave-one-out residual, in the target's unit."""

    sigma_: float

    def fit(self, features: Array, target: Array) -> Self: ...

    def predict(self, features: Array) -> Array: ...

    def refit(self, features: Array, target: Array) -> Self:
        """A new regressor with the settings found by this one, which stays as it is."""
        ...

    def through(self, linear_map: Array, centre: Array) -> Callable[[Array], Array]:
        """`predict` of features v @ linear_map as a function of rows v `(m, d)`, made for speed.

        linear_map: `(d, p)`. centre: `(d,)`, a typical v. The result may be infinite or NaN where `predict` is finite.
        """
        ...


class OrdinaryLeastSquares:
    """Linear least squares of minimum norm, with closed-form leave-one-out residuals e_i / (1 - h_ii)."""

    def fit(self, features: Array, target: Array) -> Self:
        self._scaler, self._unit = Scaler.of(features), Scaler.of(target)
        design, goal = self._design(features), self._unit(target)  # (n, p + 1), (n,)
        pseudo_inverse = np.linalg.pinv(design)
        self._weights = pseudo_inverse @ goal
        leverage = np.minimum(np.einsum("ij,ji->i", design, pseudo_inverse), 1.0 - 1e-9)
        residuals = (goal - design @ self._weights) / (1.0 - leverage)
        # With as many columns as rows every leverage is 1 and leave-one-out says nothing: the target's own spread is the error.
        error = float(np.sqrt(np.mean(residuals**2))) if design.shape[1] < len(goal) else 1.0
        self.sigma_ = min(error * float(self._unit.spread), float(np.finfo(float).max))
        return self

    def predict(self, features: Array) -> Array:
        return self._unit.back(self._design(features) @ self._weights)

    def refit(self, features: Array, target: Array) -> Self:
        return type(self)().fit(features, target)

    def through(self, linear_map: Array, centre: Array) -> Callable[[Array], Array]:
        return lambda rows: self.predict(rows @ linear_map)

    def _design(self, features: Array) -> Array:
        return np.column_stack([np.ones(len(features)), self._scaler(features)])


class KernelRidge:
    """Kernel ridge regression with an RBF kernel; gamma and ridge by leave-one-out in closed form over a grid of both.

    After `fit`: `gamma_`, `ridge_` (of standardized rows and targets), and `sigma_` in the target's unit.
    """

    def fit(self, features: Array, target: Array) -> Self:
        return self._learn(features, target, _least_left_out_error)

    def predict(self, features: Array) -> Array:
        return self.expansion_(features)

    def refit(self, features: Array, target: Array) -> Self:
        return type(self)()._learn(features, target, lambda base, goal: (self.gamma_, self.ridge_))

    def through(self, linear_map: Array, centre: Array) -> KernelMean | LinearMean:
        return self.expansion_.through(linear_map, centre)

    def _learn(self, features: Array, target: Array, choose: Callable[[Array, Array], tuple[float, float]]) -> Self:
        of_features, of_target = Scaler.of(features), Scaler.of(target)
        rows, goal = of_features(features), of_target(target)
        base = squared_distances(rows, rows)
        self.gamma_, self.ridge_ = choose(base, goal)
        fit = solve(np.exp(-self.gamma_ * base), np.ones((len(goal), 1)), goal, self.ridge_)
        dual, offset = fit.coefficients[:-1], float(fit.coefficients[-1])
        self.expansion_ = Expansion("rbf", self.gamma_, rows, dual, offset, of_features, of_target)
        self.sigma_ = float(np.sqrt(np.mean(fit.residuals**2)) * of_target.spread)
        return self


def _least_left_out_error(base: Array, goal: Array) -> tuple[float, float]:
    """`(n, n)` squared distances, `(n,)` targets -> gamma and ridge; the smoothest of equals."""
    constant = np.ones((len(goal), 1))
    best, settings = np.inf, (float(GAMMAS[0]), 1.0)
    for gamma in GAMMAS.tolist():
        path = loo_path(np.exp(-gamma * base), constant, goal)
        errors = np.mean(path.residuals**2, axis=0)
        if (least := float(errors.min())) < best:
            best, settings = least, (gamma, float(path.ridges[errors.argmin()]))
    return settings


REGRESSORS: Mapping[str, Callable[..., Regressor]] = {
    "nu-svr": partial(NuSVRRegressor, kernel="rbf"),
    "nu-svr-linear": partial(NuSVRRegressor, kernel="linear"),
    "ols": OrdinaryLeastSquares,
    "kernel-ridge": KernelRidge,
}
"""The regressors of a `SequentialRegression` by name: `REGRESSORS[name](**settings)`."""
