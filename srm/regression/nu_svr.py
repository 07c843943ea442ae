"""The thesis's regressor: nu-SVR with random search and a constant leave-one-out sigma, fitted and queried fast.

Baker 2017 (thesis), sections 4.1.2 and 4.2: linear and RBF kernels, chosen by random search over C ~ LogU(1e-5, 10),
nu ~ U(0, 1), gamma ~ LogU(1e-5, 10) in 3-fold cross-validation, sigma from leave-one-out residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from curvestop.srm.cooperative import pause
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_expansion import KERNELS, Expansion, Kernel, KernelMean, KernelName, LinearMean
from curvestop.srm.regression.nu_svr_solver import Engine, definite, engine, many_fits
from curvestop.srm.regression.standardize import Scaler

N_FOLDS = 3
"""Folds of the cross-validation, as in the thesis."""
MOST_CANDIDATES = 10_000
"""Largest number of draws in a search of settings."""
MIN_ROWS = 2 * N_FOLDS
"""A regressor needs at least this many rows: two in every fold."""


@dataclass(frozen=True)
class Candidate:
    """One draw of the thesis's search space.

    Attributes:
        C: Bound of each |b_i|, > 0.
        nu: Share of rows outside the tube, in (0, 1].
        gamma: The RBF kernel's exponent, > 0; it has no effect on a linear kernel.
    """

    C: float
    nu: float
    gamma: float


def draw_candidates(n_candidates: int, rng: np.random.Generator) -> list[Candidate]:
    """Draw candidates: C and gamma log-uniform in [1e-5, 10], nu uniform in (0, 1].

    Args:
        n_candidates: Number of draws, >= 1.
        rng: Source of randomness; a candidate takes three numbers of it.
    """
    # 1 - uniform lies in (0, 1]: nu = 0 would be no model.
    return [Candidate(10 ** rng.uniform(-5, 1), 1.0 - rng.uniform(), 10 ** rng.uniform(-5, 1)) for _ in range(n_candidates)]


def draw_folds(n: int, rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    """Return the indices of the rows that each fold holds out.

    Args:
        n: Number of rows, >= MIN_ROWS.
        rng: Source of randomness.

    Returns:
        N_FOLDS arrays of indices, which differ in length by one at most.
    """
    return np.array_split(rng.permutation(n), N_FOLDS)


def canonical_order(features: Array, target: Array) -> npt.NDArray[np.intp]:
    """Return an order of `(n, p)` rows that depends on values only: by target, then by the last feature, and so on.

    Args:
        features: `(n, p)`.
        target: `(n,)`.

    Returns:
        `(n,)` indices; equal rows of equal target may come in any order.
    """
    # lexsort takes its last key for the first.
    return np.lexsort((*features.T, target))


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        train: `(l, l)` base of the kernel between training rows.
        test: `(t, l)` base of the kernel between held-out and training rows.
        target: `(l,)` training targets.
        held_out: `(t,)` targets to predict.
        total: Sum of squared deviations of the held-out targets from their mean.
    """

    train: Array
    test: Array
    target: Array
    held_out: Array
    total: float

    @staticmethod
    def of(base: Array, target: Array, held_out: npt.NDArray[np.intp]) -> Fold:
        """Cut one fold out of `(n, n)` bases and `(n,)` targets; `held_out` are the indices of its test rows.

        Args:
            base: `(n, n)` base of the kernel between all rows; see `Kernel`.
            target: `(n,)` standardized targets.
            held_out: `(t,)` indices of the test rows.
        """
        # The base is computed once for all folds and candidates; a fold is a part of it.
        rest = np.setdiff1d(np.arange(len(target)), held_out)
        left = target[held_out]
        total = float(np.sum((left - left.mean()) ** 2))
        return Fold(base[np.ix_(rest, rest)], base[np.ix_(held_out, rest)], target[rest], left, total)

    def r2(self, candidate: Candidate, kernel: Kernel, solver: Engine) -> float:
        """Fit the candidate and return 1 - squared error / squared deviation on the held-out rows; 0 if they do not deviate.

        Args:
            candidate: Settings to try.
            kernel: The kernel whose bases the fold holds.
            solver: How the dual is solved.
        """
        if self.total <= 0:
            return 0.0
        gram = definite(kernel.value(self.train, candidate.gamma))
        dual, offset = solver.solve(gram, self.target, C=candidate.C, nu=candidate.nu)
        errors = self.held_out - kernel.value(self.test, candidate.gamma) @ dual - offset
        return 1.0 - float(errors @ errors) / self.total

    def r2_bounds(self, candidates: Sequence[Candidate], kernel: Kernel) -> Array:
        """Return `(len(candidates),)` upper bounds of `r2`, without a fit.

        The positive b add up to S = C nu l / 2 at most, and so do the negative ones; hence |f(x) - offset| <= S w(x), where
        w(x) is the kernel's range over the training rows. Predictions that deviate that little explain at most
        1 - (1 - reach)^2 of the variance, where reach = S ||w|| / sqrt(total).

        Args:
            candidates: Settings, in any order.
            kernel: The kernel whose bases the fold holds.
        """
        if self.total <= 0:
            return np.zeros(len(candidates))
        sides = np.array([c.C * c.nu for c in candidates]) * len(self.target) / 2
        gammas = np.array([[c.gamma] for c in candidates])
        # The kernel is monotone in its base, so its range over the training rows is between the base's extremes.
        widths = kernel.value(self.test.min(axis=1), gammas) - kernel.value(self.test.max(axis=1), gammas)  # (candidates, t)
        with np.errstate(over="ignore"):  # where the targets hardly vary the reach is infinite, and the bound is 1
            reach = sides * np.sqrt((widths**2).sum(axis=-1) / self.total)
        bounds: Array = 1.0 - np.maximum(0.0, 1.0 - reach) ** 2
        return bounds + 1e-9  # a margin for rounding


def search(candidates: Sequence[Candidate], folds: Sequence[Fold], kernel: Kernel, solver: Engine) -> Candidate:
    """Return the candidate of the highest mean R2 over the folds, of equal ones the first drawn.

    The result is that of fitting every candidate on every fold. A candidate is dropped as soon as its bounds say that it
    cannot win. Candidates with a large C nu come first, so that a strong incumbent is found early; each candidate meets the
    fold on which the incumbent does worst first.

    Args:
        candidates: In the order of their draws, one or more.
        folds: Of the cross-validation.
        kernel: Of all candidates.
        solver: How duals are solved; see `nu_svr_solver.engine`.
    """
    bounds = np.column_stack([fold.r2_bounds(candidates, kernel) for fold in folds]).tolist()
    best, highest, hardest_first = -1, -np.inf, list(range(len(folds)))
    for k in sorted(range(len(candidates)), key=lambda k: -candidates[k].C * candidates[k].nu):
        pause()
        scores = bounds[k]  # bounds, replaced fold by fold by what a fit really reaches
        for fold in hardest_first:
            if not _beats(sum(scores), k, highest, best):
                break
            scores[fold] = folds[fold].r2(candidates[k], kernel, solver)
        else:
            if _beats(sum(scores), k, highest, best):
                best, highest, hardest_first = k, sum(scores), sorted(hardest_first, key=scores.__getitem__)
    return candidates[best]


def _beats(total: float, k: int, highest: float, best: int) -> bool:
    """Return whether candidate k, of this total R2, beats the incumbent `best`; of equal ones the first drawn wins."""
    return best < 0 or total > highest or (total == highest and k < best)


class NuSVRRegressor:
    """Fit nu-SVR with settings by random search and a constant leave-one-out sigma; the order of the rows changes nothing.

    Args:
        kernel: "rbf" (default) or "linear".
        n_candidates: Draws of (C, nu, gamma), in 1..MOST_CANDIDATES. Default: 1,000, as in the thesis.
        seed: Seed of those draws and of the folds.
        compiled: True solves with numba (ImportError at `fit` if it is not installed), False without; None (default) uses
            numba where it is installed. The solutions are the same.

    Attributes:
        best_: After `fit`: the candidate found.
        sigma_: After `fit`: root mean square leave-one-out residual, in the target's unit.

    Raises:
        ValueError: If the kernel is unknown or n_candidates out of range.

    Examples:
        >>> features = np.linspace(0, 3, 12)[:, None]
        >>> model = NuSVRRegressor(n_candidates=20, compiled=False).fit(features, np.sin(features[:, 0]))
        >>> bool(abs(model.predict(np.array([[1.5]]))[0] - 1) < 0.1)
        True
    """

    def __init__(
        self, *, kernel: KernelName = "rbf", n_candidates: int = 1000, seed: int = 0, compiled: bool | None = None
    ) -> None:
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, but got {kernel=}")
        if not 1 <= n_candidates <= MOST_CANDIDATES:
            raise ValueError(f"n_candidates must be in 1..{MOST_CANDIDATES}, but got {n_candidates=}")
        self.kernel, self.n_candidates, self.seed, self.compiled = kernel, n_candidates, seed, compiled

    def fit(self, features: Array, target: Array) -> Self:
        """Search settings and learn.

        Args:
            features: `(n, p)`, finite, n >= MIN_ROWS.
            target: `(n,)`, finite.
        """
        return self._learn(features, target, self._search)

    def refit(self, features: Array, target: Array) -> Self:
        """Return a new regressor learnt from these rows with the settings found here, without a search.

        Args:
            features: `(n, p)`, finite.
            target: `(n,)`, finite.
        """
        new = type(self)(kernel=self.kernel, n_candidates=self.n_candidates, seed=self.seed, compiled=self.compiled)
        return new._learn(features, target, lambda base, goal: self.best_)

    def predict(self, features: Array) -> Array:
        """Predict `(m,)` finite targets from `(m, p)` finite features."""
        return self.expansion_(features)

    def as_query(self, linear_map: Array, centre: Array) -> KernelMean | LinearMean:
        """Return `predict` of features v @ linear_map as a function of v that takes microseconds; see `Expansion.as_query`."""
        return self.expansion_.as_query(linear_map, centre)

    def _learn(self, features: Array, target: Array, choose: Callable[[Array, Array], Candidate]) -> Self:
        """Learn with the settings that `choose` finds from the kernel's base `(n, n)` and the standardized targets `(n,)`."""
        kernel, solver, order = KERNELS[self.kernel], engine(self.compiled), canonical_order(features, target)
        features, target = features[order], target[order]
        of_features, of_target = Scaler.of(features), Scaler.of(target)
        rows, goal = of_features(features), of_target(target)
        base = kernel.base(rows, rows)
        with many_fits():
            self.best_ = best = choose(base, goal)
            gram = definite(kernel.value(base, best.gamma))
            dual, offset = solver.solve(gram, goal, C=best.C, nu=best.nu)
            # Of the best candidate only: leave-one-out of each would take n more fits apiece.
            residuals = solver.leave_one_out(gram, goal, C=best.C, nu=best.nu)
        used = dual != 0  # the support vectors: other rows have no effect on a prediction
        self.expansion_ = Expansion(self.kernel, best.gamma, rows[used], dual[used], offset, of_features, of_target)
        self.sigma_ = float(np.sqrt(np.mean(residuals**2)) * of_target.spread)
        return self

    def _search(self, base: Array, goal: Array) -> Candidate:
        """Find settings by random search in cross-validation on these rows."""
        rng = np.random.default_rng(self.seed)
        candidates = draw_candidates(self.n_candidates, rng)
        folds = [Fold.of(base, goal, held_out) for held_out in draw_folds(len(goal), rng)]
        return search(candidates, folds, KERNELS[self.kernel], engine(self.compiled))
