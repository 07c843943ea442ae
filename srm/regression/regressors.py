"""Regressors of one target on one matrix of features, each with an honest error: the leave-one-out sigma.

Baker 2017 (thesis), sections 4.1.2 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, Self

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_expansion import Expansion, KernelMean, LinearMean, squared_distances
from curvestop.srm.regression.kernel_ridge import loo_path, solve
from curvestop.srm.regression.nu_svr import MIN_ROWS, NuSVRRegressor
from curvestop.srm.regression.standardize import Scaler

__all__ = ["MIN_ROWS", "REGRESSORS", "KernelRidge", "NuSVRRegressor", "OrdinaryLeastSquares", "Regressor", "Scaler"]

GAMMAS = np.logspace(-5, 1, 25)
"""Grid over the range of the thesis's search for the RBF kernel's gamma."""


class Regressor(Protocol):
    """A model that learns targets from rows of features.

    Attributes:
        sigma_: After `fit`: root mean square leave-one-out residual, in the target's unit.
    """

    sigma_: float

    def fit(self, features: Array, target: Array) -> Self:
        """Learn from `(n, p)` features and `(n,)` targets, all finite, n >= MIN_ROWS.

        Args:
            features: `(n, p)`, finite, of any scale.
            target: `(n,)`, finite.
        """
        ...

    def predict(self, features: Array) -> Array:
        """Predict `(m,)` finite targets from `(m, p)` finite features."""
        ...

    def refit(self, features: Array, target: Array) -> Self:
        """Return a new regressor learnt from these rows with the settings of this one, which stays as it is.

        Args:
            features: `(n, p)`, finite; n may differ from before, p must not.
            target: `(n,)`, finite.
        """
        ...

    def as_query(self, linear_map: Array, centre: Array) -> Callable[[Array], Array]:
        """Return `predict` of features v @ linear_map as a fast function of rows v.

        Args:
            linear_map: `(d, p)` matrix from v to features.
            centre: `(d,)` a typical v.

        Returns:
            A function of `(m, d)` rows; its result may be infinite or NaN where `predict` is finite.
        """
        ...


class OrdinaryLeastSquares:
    """Fit linear least squares of minimum norm, with closed-form leave-one-out residuals e_i / (1 - h_ii).

    Attributes:
        sigma_: After `fit`: root mean square leave-one-out residual, in the target's unit.

    Examples:
        >>> features = np.arange(8.0)[:, None]
        >>> model = OrdinaryLeastSquares().fit(features, 3 * features[:, 0] + 1)
        >>> round(float(model.predict(np.array([[10.0]]))[0]), 6)
        31.0
    """

    def fit(self, features: Array, target: Array) -> Self:
        """Learn from `(n, p)` features and `(n,)` targets, all finite.

        Args:
            features: p may exceed n; constant columns have no effect.
            target: In any unit; sigma is in the same.
        """
        self._scaler, self._unit = Scaler.of(features), Scaler.of(target)
        design, goal = self._design(features), self._unit(target)  # (n, p + 1), (n,)
        # Minimum norm: with more columns than rows there are many solutions.
        pseudo_inverse = np.linalg.pinv(design)
        self._weights = pseudo_inverse @ goal
        # h_ii, the diagonal of the hat matrix; below 1 by a margin, so that no residual is divided by 0.
        leverage = np.minimum(np.einsum("ij,ji->i", design, pseudo_inverse), 1.0 - 1e-9)
        residuals = (goal - design @ self._weights) / (1.0 - leverage)
        # With as many columns as rows every leverage is 1 and leave-one-out says nothing: the target's own spread is the error.
        error = float(np.sqrt(np.mean(residuals**2))) if design.shape[1] < len(goal) else 1.0
        self.sigma_ = min(error * float(self._unit.spread), float(np.finfo(float).max))
        return self

    def predict(self, features: Array) -> Array:
        """Predict `(m,)` finite targets from `(m, p)` finite features."""
        return self._unit.back(self._design(features) @ self._weights)

    def refit(self, features: Array, target: Array) -> Self:
        """Return a new regressor learnt from these rows; there are no settings to keep."""
        return type(self)().fit(features, target)

    def as_query(self, linear_map: Array, centre: Array) -> Callable[[Array], Array]:
        """Return `predict` of features v @ linear_map as a function of rows v; see `Regressor.as_query`."""
        # One weight for each column of v: the map itself, (d, p) for each observed length, would fill the memory.
        with np.errstate(over="ignore", invalid="ignore"):  # a query that is not finite is one that its caller must not use
            weights = float(self._unit.spread) * (linear_map @ (self._weights[1:] / self._scaler.scale))
        return LinearMean(centre, weights, float(self.predict((centre @ linear_map)[None])[0]))

    def _design(self, features: Array) -> Array:
        """Return `(n, p + 1)`: ones, then the standardized features."""
        return np.column_stack([np.ones(len(features)), self._scaler(features)])


class KernelRidge:
    """Fit kernel ridge regression with an RBF kernel; gamma and ridge minimize the leave-one-out error over a grid.

    Attributes:
        gamma_: After `fit`: the kernel's exponent, for standardized rows.
        ridge_: After `fit`: the ridge, for standardized rows and targets.
        sigma_: After `fit`: root mean square leave-one-out residual, in the target's unit.

    Examples:
        >>> features = np.linspace(0, 3, 12)[:, None]
        >>> model = KernelRidge().fit(features, np.sin(features[:, 0]))
        >>> round(float(model.predict(np.array([[1.5]]))[0]), 2)
        1.0
    """

    def fit(self, features: Array, target: Array) -> Self:
        """Search gamma and ridge, and learn from `(n, p)` features and `(n,)` targets, all finite.

        Args:
            features: In any units: columns are standardized.
            target: In any unit; sigma is in the same.
        """
        return self._learn(features, target, _least_left_out_error)

    def predict(self, features: Array) -> Array:
        """Predict `(m,)` finite targets from `(m, p)` finite features."""
        return self.expansion_(features)

    def refit(self, features: Array, target: Array) -> Self:
        """Return a new regressor learnt from these rows at this one's gamma and ridge.

        Args:
            features: `(n, p)`, finite.
            target: `(n,)`, finite.
        """
        return type(self)()._learn(features, target, lambda base, goal: (self.gamma_, self.ridge_))

    def as_query(self, linear_map: Array, centre: Array) -> KernelMean | LinearMean:
        """Return `predict` of features v @ linear_map as a function of rows v; see `Regressor.as_query`."""
        return self.expansion_.as_query(linear_map, centre)

    def _learn(self, features: Array, target: Array, choose: Callable[[Array, Array], tuple[float, float]]) -> Self:
        """Learn at the gamma and ridge that `choose` finds from `(n, n)` squared distances and standardized targets."""
        of_features, of_target = Scaler.of(features), Scaler.of(target)
        rows, goal = of_features(features), of_target(target)
        base = squared_distances(rows, rows)
        self.gamma_, self.ridge_ = choose(base, goal)
        # The trend is a constant, whose coefficient is the offset.
        fit = solve(np.exp(-self.gamma_ * base), np.ones((len(goal), 1)), goal, self.ridge_)
        dual, offset = fit.coefficients[:-1], float(fit.coefficients[-1])
        self.expansion_ = Expansion("rbf", self.gamma_, rows, dual, offset, of_features, of_target)
        self.sigma_ = float(np.sqrt(np.mean(fit.residuals**2)) * of_target.spread)
        return self


def _least_left_out_error(base: Array, goal: Array) -> tuple[float, float]:
    """Return the gamma and ridge of the least leave-one-out error; of equal ones the smoothest.

    Args:
        base: `(n, n)` squared distances.
        goal: `(n,)` standardized targets.
    """
    constant = np.ones((len(goal), 1))
    best, settings = np.inf, (float(GAMMAS[0]), 1.0)
    for gamma in GAMMAS.tolist():  # ascending, from smooth to wiggly
        pause()
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
"""Makers of a `SequentialRegression`'s regressors by name: `REGRESSORS[name](**settings)`."""
