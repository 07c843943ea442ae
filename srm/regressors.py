"""Regressors of one target on one matrix of features, each with an honest error: the leave-one-out sigma.

Baker 2017 (thesis), sections 4.1.2 and 4.2: nu-SVR with linear and RBF kernels, chosen by random search over
C ~ LogU(1e-5, 10), nu ~ U(0, 1), gamma ~ LogU(1e-5, 10) in 3-fold cross-validation, sigma from leave-one-out residuals.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import NuSVR

from curvestop.srm.features import Array

N_FOLDS = 3
MIN_ROWS = 2 * N_FOLDS
"""Fewest rows a regressor is fitted on: two in every fold."""


class Regressor(Protocol):
    """Fits rows to targets. After `fit`, `sigma_` is the root mean square leave-one-out residual, in the target's unit."""

    sigma_: float

    def fit(self, features: Array, target: Array) -> Self: ...

    def predict(self, features: Array) -> Array: ...


@dataclass(frozen=True)
class Scaler:
    """Column-wise standardisation, learnt once per fit; a constant column becomes zero."""

    mean: Array
    scale: Array

    @staticmethod
    def of(rows: Array) -> Scaler:
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        # A column that differs only by rounding is constant: dividing by its spread would turn noise into signal.
        constant = std <= 1e-12 * np.maximum(np.abs(rows).max(axis=0), np.finfo(float).tiny)
        return Scaler(mean, np.where(constant, np.inf, std))

    def __call__(self, rows: Array) -> Array:
        return (rows - self.mean) / self.scale


@dataclass(frozen=True)
class Candidate:
    """One draw of the thesis's search space."""

    C: float
    nu: float
    gamma: float


class NuSVRRegressor:
    """nu-SVR with random search and constant leave-one-out sigma: the thesis's reference.

    n_candidates: draws of (C, nu, gamma); the thesis uses 1,000. seed: of those draws and of the folds.
    max_iter: cap of libsvm's iterations, so that a fit always ends.
    """

    def __init__(
        self,
        *,
        kernel: Literal["linear", "rbf"] = "rbf",
        n_candidates: int = 60,
        seed: int = 0,
        max_iter: int = 20_000,
    ) -> None:
        if n_candidates < 1:
            raise ValueError(f"n_candidates must be >= 1, but got {n_candidates=}")
        self.kernel, self.n_candidates, self.seed, self.max_iter = kernel, n_candidates, seed, max_iter

    def fit(self, features: Array, target: Array) -> Self:
        self._features_scaler, self._target_scaler = Scaler.of(features), Scaler.of(target)
        rows, goal = self._features_scaler(features), self._target_scaler(target)
        rng = np.random.default_rng(self.seed)
        candidates = [
            Candidate(10 ** rng.uniform(-5, 1), 1.0 - rng.uniform(), 10 ** rng.uniform(-5, 1))
            for _ in range(self.n_candidates)
        ]
        folds = np.array_split(rng.permutation(len(rows)), N_FOLDS)
        self.best_ = max(candidates, key=lambda candidate: self._cross_validated_r2(candidate, rows, goal, folds))
        self._model = self._fit_one(self.best_, rows, goal)
        residuals = [goal[i] - self._fit_one(self.best_, x, y).predict(rows[[i]])[0] for i, x, y in _left_out(rows, goal)]
        self.sigma_ = float(np.sqrt(np.mean(np.square(residuals)))) * self._target_unit
        return self

    def predict(self, features: Array) -> Array:
        standardised: Array = self._model.predict(self._features_scaler(features))
        return standardised * self._target_unit + self._target_scaler.mean

    @property
    def _target_unit(self) -> float:
        scale = float(self._target_scaler.scale)
        return scale if np.isfinite(scale) else 0.0

    def _cross_validated_r2(self, candidate: Candidate, rows: Array, goal: Array, folds: Sequence[npt.NDArray[np.intp]]) -> float:
        scores = []
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(rows)), fold)
            errors = goal[fold] - self._fit_one(candidate, rows[rest], goal[rest]).predict(rows[fold])
            spread = np.sum((goal[fold] - goal[fold].mean()) ** 2)
            scores.append(1.0 - np.sum(errors**2) / spread if spread > 0 else 0.0)
        return float(np.mean(scores))

    def _fit_one(self, candidate: Candidate, rows: Array, goal: Array) -> NuSVR:
        model = NuSVR(
            kernel=self.kernel, C=candidate.C, nu=candidate.nu, gamma=candidate.gamma, max_iter=self.max_iter
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(rows, goal)


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

    def _design(self, features: Array) -> Array:
        return np.column_stack([np.ones(len(features)), self._scaler(features)])


def _left_out(rows: Array, goal: Array) -> Iterator[tuple[int, Array, Array]]:
    for i in range(len(rows)):
        keep = np.arange(len(rows)) != i
        yield i, rows[keep], goal[keep]


REGRESSORS: Mapping[str, Callable[..., Regressor]] = {
    "nu-svr": partial(NuSVRRegressor, kernel="rbf"),
    "nu-svr-linear": partial(NuSVRRegressor, kernel="linear"),
    "ols": OrdinaryLeastSquares,
}
