"""Regressors of one target on one matrix of features, each with an honest error: the leave-one-out sigma.

Baker 2017 (thesis), sections 4.1.2 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, Self

import numpy as np

from curvestop.srm.features import Array
from curvestop.srm.nu_svr import MIN_ROWS, NuSVRRegressor
from curvestop.srm.scaling import Scaler

__all__ = ["MIN_ROWS", "REGRESSORS", "NuSVRRegressor", "OrdinaryLeastSquares", "Regressor", "Scaler"]


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
        self._scaler = Scaler.of(features)
        design = self._design(features)  # (n, p + 1)
        pseudo_inverse = np.linalg.pinv(design)
        self._weights = pseudo_inverse @ target
        leverage = np.minimum(np.einsum("ij,ji->i", design, pseudo_inverse), 1.0 - 1e-9)
        residuals = (target - design @ self._weights) / (1.0 - leverage)
        # With as many columns as rows every leverage is 1 and leave-one-out says nothing: the target's own spread is the error.
        self.sigma_ = float(np.sqrt(np.mean(residuals**2))) if design.shape[1] < len(target) else float(target.std())
        return self

    def predict(self, features: Array) -> Array:
        predicted: Array = self._design(features) @ self._weights
        return predicted

    def refit(self, features: Array, target: Array) -> Self:
        return type(self)().fit(features, target)

    def through(self, linear_map: Array, centre: Array) -> Callable[[Array], Array]:
        return lambda rows: self.predict(rows @ linear_map)

    def _design(self, features: Array) -> Array:
        return np.column_stack([np.ones(len(features)), self._scaler(features)])


REGRESSORS: Mapping[str, Callable[..., Regressor]] = {
    "nu-svr": partial(NuSVRRegressor, kernel="rbf"),
    "nu-svr-linear": partial(NuSVRRegressor, kernel="linear"),
    "ols": OrdinaryLeastSquares,
}
