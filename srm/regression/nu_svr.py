"""nu-SVR with random search and a constant leave-one-out sigma: the thesis's regressor, fitted and queried fast.

Baker 2017 (thesis), sections 4.1.2 and 4.2: linear and RBF kernels, chosen by random search over C ~ LogU(1e-5, 10),
nu ~ U(0, 1), gamma ~ LogU(1e-5, 10) in 3-fold cross-validation, sigma from leave-one-out residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_expansion import KERNELS, Expansion, Kernel, KernelMean, KernelName, LinearMean
from curvestop.srm.regression.nu_svr_solver import Engine, definite, engine, many_fits
from curvestop.srm.regression.standardize import Scaler

N_FOLDS = 3
MIN_ROWS = 2 * N_FOLDS
"""Fewest rows a regressor is fitted on: two in every fold."""


@dataclass(frozen=True)
class Candidate:
    """One draw of the thesis's search space: C > 0, nu in (0, 1], gamma > 0 (without effect on a linear kernel)."""

    C: float
    nu: float
    gamma: float


def draw_candidates(n_candidates: int, rng: np.random.Generator) -> list[Candidate]:
    return [Candidate(10 ** rng.uniform(-5, 1), 1.0 - rng.uniform(), 10 ** rng.uniform(-5, 1)) for _ in range(n_candidates)]


def draw_folds(n: int, rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    """Indices of the rows that each fold holds out."""
    return np.array_split(rng.permutation(n), N_FOLDS)


def order_by_value(features: Array, target: Array) -> npt.NDArray[np.intp]:
    """An order of the rows that depends on their values only: by target, then by the last feature, and so on."""
    return np.lexsort((*features.T, target))


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    train, test: `(l, l)` and `(t, l)` bases of the kernel. target: `(l,)`. held_out: `(t,)` targets to predict.
    total: sum of squared deviations of the held-out targets.
    """

    train: Array
    test: Array
    target: Array
    held_out: Array
    total: float

    @staticmethod
    def of(base: Array, target: Array, held_out: npt.NDArray[np.intp]) -> Fold:
        rest = np.setdiff1d(np.arange(len(target)), held_out)
        left = target[held_out]
        total = float(np.sum((left - left.mean()) ** 2))
        return Fold(base[np.ix_(rest, rest)], base[np.ix_(held_out, rest)], target[rest], left, total)

    def r2(self, candidate: Candidate, kernel: Kernel, solver: Engine) -> float:
        """1 - squared error / squared deviation of the held-out targets; 0 where they do not deviate."""
        if self.total <= 0:
            return 0.0
        gram = definite(kernel.value(self.train, candidate.gamma))
        dual, offset = solver.solve(gram, self.target, C=candidate.C, nu=candidate.nu)
        errors = self.held_out - kernel.value(self.test, candidate.gamma) @ dual - offset
        return 1.0 - float(errors @ errors) / self.total

    def best_r2(self, candidates: Sequence[Candidate], kernel: Kernel) -> Array:
        """`(len(candidates),)` upper bounds of `r2` that need no fit.

        The positive b add up to S = C nu l / 2 at most, and so do the negative ones; hence |f(x) - offset| <= S w(x), where
        w(x) is the kernel's range over the training rows. A prediction that deviates so little explains so much at most.
        """
        if self.total <= 0:
            return np.zeros(len(candidates))
        sides = np.array([c.C * c.nu for c in candidates]) * len(self.target) / 2
        gammas = np.array([[c.gamma] for c in candidates])
        widths = kernel.value(self.test.min(axis=1), gammas) - kernel.value(self.test.max(axis=1), gammas)  # (candidates, t)
        reach = sides * np.sqrt((widths**2).sum(axis=-1) / self.total)
        bounds: Array = 1.0 - np.maximum(0.0, 1.0 - reach) ** 2
        return bounds + 1e-9  # rounding


def search(candidates: Sequence[Candidate], folds: Sequence[Fold], kernel: Kernel, solver: Engine) -> Candidate:
    """The candidate of the highest mean R2 over folds, the first of equals: what fitting every candidate on every fold finds.

    A candidate is given up when its bounds say that it cannot win. Those with room to predict anything come first, so that a
    strong incumbent is found early; the fold on which the incumbent does worst is tried first.
    """
    bounds = np.column_stack([fold.best_r2(candidates, kernel) for fold in folds]).tolist()
    best, highest, hardest_first = -1, -np.inf, list(range(len(folds)))
    for k in sorted(range(len(candidates)), key=lambda k: -candidates[k].C * candidates[k].nu):
        scores = bounds[k]
        for fold in hardest_first:
            if not _beats(sum(scores), k, highest, best):
                break
            scores[fold] = folds[fold].r2(candidates[k], kernel, solver)
        else:
            if _beats(sum(scores), k, highest, best):
                best, highest, hardest_first = k, sum(scores), sorted(hardest_first, key=scores.__getitem__)
    return candidates[best]


def _beats(total: float, k: int, highest: float, best: int) -> bool:
    return best < 0 or total > highest or (total == highest and k < best)


class NuSVRRegressor:
    """nu-SVR with random search and constant leave-one-out sigma.

    n_candidates: draws of (C, nu, gamma); the thesis uses 1,000. seed: of those draws and of the folds.
    compiled: solve with numba or without; None: with it where it is installed. The solutions are the same.
    After `fit`: `best_` is the candidate found, `sigma_` the root mean square leave-one-out residual in the target's unit.
    The order of the rows changes nothing.
    """

    def __init__(
        self, *, kernel: KernelName = "rbf", n_candidates: int = 60, seed: int = 0, compiled: bool | None = None
    ) -> None:
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, but got {kernel=}")
        if n_candidates < 1:
            raise ValueError(f"n_candidates must be >= 1, but got {n_candidates=}")
        self.kernel, self.n_candidates, self.seed, self.compiled = kernel, n_candidates, seed, compiled

    def fit(self, features: Array, target: Array) -> Self:
        """Search and learn. features: `(n, p)`, n >= 6. target: `(n,)`. All finite."""
        return self._learn(features, target, self._search)

    def refit(self, features: Array, target: Array) -> Self:
        """A new regressor learnt from these rows with the settings found here, without a search."""
        new = type(self)(kernel=self.kernel, n_candidates=self.n_candidates, seed=self.seed, compiled=self.compiled)
        return new._learn(features, target, lambda base, goal: self.best_)

    def predict(self, features: Array) -> Array:
        """`(m, p)` finite features -> `(m,)` finite predictions."""
        return self.expansion_(features)

    def through(self, linear_map: Array, centre: Array) -> KernelMean | LinearMean:
        """`predict` of features v @ linear_map as a function of v, in some microseconds; see `Expansion.through`."""
        return self.expansion_.through(linear_map, centre)

    def _learn(self, features: Array, target: Array, choose: Callable[[Array, Array], Candidate]) -> Self:
        """choose: (base of the kernel, standardized targets) -> settings."""
        kernel, solver, order = KERNELS[self.kernel], engine(self.compiled), order_by_value(features, target)
        features, target = features[order], target[order]
        of_features, of_target = Scaler.of(features), Scaler.of(target)
        rows, goal = of_features(features), of_target(target)
        base = kernel.base(rows, rows)
        with many_fits():
            self.best_ = best = choose(base, goal)
            gram = definite(kernel.value(base, best.gamma))
            dual, offset = solver.solve(gram, goal, C=best.C, nu=best.nu)
            residuals = solver.leave_one_out(gram, goal, C=best.C, nu=best.nu)
        used = dual != 0
        self.expansion_ = Expansion(self.kernel, best.gamma, rows[used], dual[used], offset, of_features, of_target)
        self.sigma_ = float(np.sqrt(np.mean(residuals**2)) * of_target.spread)
        return self

    def _search(self, base: Array, goal: Array) -> Candidate:
        rng = np.random.default_rng(self.seed)
        candidates = draw_candidates(self.n_candidates, rng)
        folds = [Fold.of(base, goal, held_out) for held_out in draw_folds(len(goal), rng)]
        return search(candidates, folds, KERNELS[self.kernel], engine(self.compiled))
