"""Solve the dual of nu-SVR to machine precision: a rough start, then an active-set method that ends at the exact solution.

For `l` rows with kernel matrix K and targets y (Schoelkopf et al. 2000, eq. 27-30, scikit-learn's scale of C):

    min 1/2 b'Kb - y'b   subject to   sum b = 0,   |b_i| <= C,   sum |b| <= C nu l

The prediction is f(x) = sum_i b_i k(x_i, x) + offset. With r = y - Kb the solution has r_i = u where 0 < b_i < C, r_i = v where
-C < b_i < 0, v <= r_i <= u where b_i = 0, and r_i beyond u (below v) where b_i = C (-C); the offset is (u + v) / 2 and the tube's
half-width (u - v) / 2 >= 0. Where the last constraint is slack the tube is closed: u = v.

The start is libsvm's (scikit-learn) or, where numba is installed (the extra `fast`), our own SMO; both end at the same solution.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.regression.features import Array

RIDGE = 1e-10
"""Added to the kernel's diagonal (relative to it), so that duplicated rows leave one solution."""
TOLERANCE = 1e-9
"""Largest violation of the optimality conditions, in the target's unit; targets are standardized."""
START_ITERATIONS = 3_000
"""The rough start ends after this many iterations at the latest; the active-set method continues from there."""
START_TOLERANCE = 1e-3
"""The rough start ends at this violation of the optimality conditions."""


@dataclass(frozen=True)
class Engine:
    """A way to solve duals: without or with compiled code.

    Attributes:
        start: Maps (kernel, target, C, nu) to a feasible b `(l,)`.
        finish: Moves b to the solution in place and returns the offset; see `finish`.
    """

    start: Callable[[Array, Array, float, float], Array]
    finish: Callable[[Array, Array, float, float, Array, int], float]

    def solve(self, kernel: Array, target: Array, *, C: float, nu: float) -> tuple[Array, float]:
        """Solve one dual.

        Args:
            kernel: `(l, l)`, made definite by `definite`.
            target: `(l,)`, standardized.
            C: Bound of each |b_i|, > 0.
            nu: In (0, 1].

        Returns:
            b `(l,)` and the offset.
        """
        dual = self.start(kernel, target, C, nu)
        return dual, self.finish(kernel, target, C, C * nu * len(target) / 2, dual, -1)

    def leave_one_out(self, kernel: Array, target: Array, *, C: float, nu: float) -> Array:
        """Compute `(l,)` residuals y_i - f_{-i}(x_i), where f_{-i} is fitted on all rows but the i-th at the same C and nu.

        Without a row sum |b| may reach C nu (l - 1) only. One fit of all rows under that constraint is also the fit without
        any row that is no support vector in it; for the others it is where the active-set method starts from.

        Args:
            kernel: `(l, l)`, made definite by `definite`.
            target: `(l,)`, standardized.
            C: Bound of each |b_i|, > 0.
            nu: In (0, 1].
        """
        n = len(target)
        dual, offset = self.solve(kernel, target, C=C, nu=nu * (n - 1) / n)
        residuals: Array = target - kernel @ dual - offset
        started, side = residuals.copy(), C * nu * (n - 1) / 2
        for i in np.flatnonzero(dual).tolist():
            pause()
            without = dual_without(dual, i, started, C)
            offset = self.finish(kernel, target, C, side, without, i)
            residuals[i] = target[i] - kernel[i] @ without - offset
        return residuals


@cache
def engine(compiled: bool | None = None) -> Engine:
    """Return the engine, made once.

    Args:
        compiled: True uses numba, False does not; None (default) uses it where it is installed.

    Raises:
        ImportError: If numba is wanted and not installed.
    """
    if compiled is None:
        try:
            return engine(True)
        except ImportError:
            return engine(False)
    if not compiled:
        return Engine(libsvm_start, finish)
    compiled_smo = _compiled(smo)

    def start(kernel: Array, target: Array, C: float, nu: float) -> Array:
        dual: Array = compiled_smo(kernel, target, C, nu, START_TOLERANCE, START_ITERATIONS)
        return dual

    return Engine(start, _compiled(finish))


def definite(kernel: Array) -> Array:
    """Return a copy of an `(l, l)` kernel matrix with RIDGE added to its diagonal, which makes the solution unique.

    Args:
        kernel: Symmetric, positive semi-definite; it stays as it is.
    """
    kernel = kernel.copy()
    diagonal = kernel.ravel()[:: len(kernel) + 1]  # a view, as the copy is contiguous
    diagonal += RIDGE * (1 + diagonal.sum() / len(kernel))
    return kernel


@contextmanager
def many_fits() -> Iterator[None]:
    """Make many solutions cheaper: scikit-learn checks no arrays and does not warn when the rough start ends at its cap."""
    from sklearn import config_context  # here and below: importing scikit-learn takes a second, and few processes fit nu-SVR
    from sklearn.exceptions import ConvergenceWarning

    with config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def libsvm_start(kernel: Array, target: Array, C: float, nu: float) -> Array:
    """Return b `(l,)` by libsvm at a loose tolerance; call it within `many_fits`.

    Args:
        kernel: `(l, l)`, made definite by `definite`.
        target: `(l,)`, standardized.
        C: Bound of each |b_i|, > 0.
        nu: In (0, 1].
    """
    from sklearn.svm import NuSVR

    model = NuSVR(kernel="precomputed", C=C, nu=nu, tol=START_TOLERANCE, max_iter=START_ITERATIONS)
    model.fit(kernel, target)
    dual = np.zeros(len(target))
    dual[model.support_] = model.dual_coef_[0]
    return dual


def dual_without(dual: Array, i: int, residual: Array, C: float) -> Array:
    """Return a feasible copy of a dual with b_i = 0.

    The weight of row i goes to the others on its side, those between the bounds first; what they cannot take, the other side
    loses, so that sum b = 0 still holds.

    Args:
        dual: `(l,)` feasible b.
        i: Row to leave out; b_i must not be 0.
        residual: `(l,)` residuals of the fit, which say who enters first.
        C: Bound of each |b_j|.
    """
    side = 1.0 if dual[i] > 0 else -1.0
    size = side * dual  # >= 0 on this side
    slack = np.where((size > 0) & (size < C), C - size, 0.0)  # what each row between the bounds can take
    slack[i] = 0.0
    total = float(slack.sum())
    share = slack * min(1.0, size[i] / total) if total > 0 else slack
    rest = float(size[i]) - total
    if rest > 0:
        entering = np.flatnonzero(size == 0)
        for j in entering[np.argsort(-side * residual[entering])].tolist():  # nearest to entering this side first
            share[j] = min(C, rest)
            rest -= share[j]
    result: Array = dual + side * share
    result[i] = 0.0
    if rest > 0:  # nobody is left to take it: shrink the other side by as much
        result[size < 0] *= 1 - rest / -size[size < 0].sum()
    return result


def finish(kernel: Array, target: Array, C: float, side: float, dual: Array, held: int) -> float:
    """Move `dual` (in place) from any feasible point to the solution and return the offset; numba compiles this as it stands.

    This is a primal active-set method (Nocedal and Wright 2006, algorithm 16.3) on the faces of the feasible set: solve for
    the b between the bounds, go there or to the first bound on the way, free the row that violates optimality most, repeat.
    The number of steps is capped; the point is feasible after any of them.

    Args:
        kernel: `(l, l)`, made definite by `definite`.
        target: `(l,)`.
        C: Bound of each |b_i|.
        side: C nu l / 2, which the positive (and the negative) b add up to at most.
        dual: `(l,)` feasible b, overwritten with the solution.
        held: Index of a row left out, whose b is 0 and stays 0; -1 for none.
    """
    n = len(target)
    # Numbers that are at a bound but for rounding are put on it, so that comparing signs and bounds is safe from here on.
    dual[np.abs(dual) <= 1e-12 * min(C, side)] = 0.0
    sign = np.sign(dual)
    bounded = np.abs(dual) >= C * (1 - 1e-12)
    dual[bounded] = C * sign[bounded]
    free = ~bounded & (sign != 0)  # the active set's complement: rows whose b may move
    # The tube is open while sum |b| is at its bound, which then is one more equality.
    open_tube = np.abs(dual).sum() >= 2 * side * (1 - 1e-9)
    residual = target - kernel @ dual
    u = v = 0.0
    for _ in range(20 * n + 200):
        rows = np.flatnonzero(free)
        upper = np.maximum(sign[rows], 0.0)
        if open_tube and (upper.sum() == 0 or upper.sum() == len(rows)):  # a side without a b between its bounds
            s = 1.0 if upper.sum() == 0 else -1.0  # the row that would leave its bound first stands for it
            there = np.flatnonzero(sign == s)
            free[there[np.argmin(s * residual[there])]] = True
            continue
        if len(rows) == 0:  # a closed tube and nobody free: the row nearest to the mean residual begins
            there = np.flatnonzero(np.arange(n) != held)
            free[there[np.argmin(np.abs(residual[there] - residual[there].mean()))]] = True
            continue
        # The step p to the face's solution: K_ff p + (u or v) = r_f, with both sums kept (and rounding in them corrected).
        m, current, total = len(rows), dual[rows], np.abs(dual).sum()
        system = np.zeros((m + 1 + open_tube, m + 1 + open_tube))
        right = np.empty(m + 1 + open_tube)
        system[:m, :m] = kernel[rows][:, rows]
        right[:m] = residual[rows]
        if open_tube:
            system[:m, m] = system[m, :m] = upper
            system[:m, m + 1] = system[m + 1, :m] = 1.0 - upper
            right[m] = side - (dual.sum() + total) / 2
            right[m + 1] = (total - dual.sum()) / 2 - side
        else:
            system[:m, m] = system[m, :m] = 1.0
            right[m] = -dual.sum()
        solution = np.linalg.solve(system, right)
        step = solution[:m]
        # How far towards it: to the first bound ...
        bound = C * (upper - (step < 0)) if open_tube else C * np.sign(step)
        beyond = np.flatnonzero(np.abs(step) > np.abs(bound - current) + 1e-13 * C)
        first, share = -1, 1.0
        if len(beyond) > 0:
            ratio = (bound[beyond] - current[beyond]) / step[beyond]
            first = beyond[np.argmin(ratio)]
            share = max(ratio.min(), 0.0)
        moved = current + share * step
        if not open_tube:  # ... or to where the tube opens: Newton on the convex sum |b + t p|, from the right
            limit = 2 * side * (1 + 1e-12) - total + np.abs(current).sum()  # of the free rows' sum |b|
            if np.abs(moved).sum() > limit:
                for _ in range(2 * m):
                    slope = (np.sign(moved) * step).sum()
                    if np.abs(moved).sum() <= limit or slope <= 0:
                        break
                    share = max(share - (np.abs(moved).sum() - limit) / slope, 0.0)
                    moved = current + share * step
                first, share, open_tube = -1, 0.0, True
                dual[rows] = moved
                sign[rows] = np.sign(moved)
                free[rows] = moved != 0
        dual[rows] = moved
        if first >= 0:
            dual[rows[first]] = bound[first]
            sign[rows[first]] = np.sign(bound[first])
            free[rows[first]] = False
        residual = target - kernel @ dual
        if share < 1.0:  # a bound was met on the way: solve on the smaller face
            continue
        # The face is solved. That is the optimum if the multipliers are in order and no row outside violates its condition.
        u = solution[m]
        v = solution[m + 1] if open_tube else u
        if u < v - TOLERANCE:  # a tube of negative width: the sum of |b| is too large
            open_tube = False
            continue
        outside = residual - (u + v) / 2
        violation = (u - v) / 2 - sign * outside
        violation[sign == 0] = np.abs(outside[sign == 0]) - (u - v) / 2
        violation[rows] = 0.0
        if held >= 0:
            violation[held] = 0.0
        worst = np.argmax(violation)
        if violation[worst] <= TOLERANCE:
            break
        free[worst] = True  # and the next step moves it
        if sign[worst] == 0:
            sign[worst] = np.sign(outside[worst])
    if open_tube:
        # A side without b between its bounds fixes its multiplier only to an interval: its middle, as in libsvm.
        others = np.arange(n) != held
        between = np.abs(dual) < C * (1 - 1e-12)
        if not (between & (dual > 0)).any():
            u = (residual[(dual <= 0) & others].max() + residual[dual > 0].min()) / 2
        if not (between & (dual < 0)).any():
            v = (residual[dual < 0].max() + residual[(dual >= 0) & others].min()) / 2
    return (u + v) / 2


def smo(kernel: Array, target: Array, C: float, nu: float, tolerance: float, max_iterations: int) -> Array:
    """Return b `(l,)` by sequential minimal optimization with second-order working sets (Fan, Chen, Lin 2005).

    The method is written in loops, for numba, and in alpha, alpha* >= 0 with b = alpha - alpha*, each adding up to C nu l / 2.
    It starts from the highest targets at C and the lowest at -C.

    Args:
        kernel: `(l, l)`.
        target: `(l,)`.
        C: Bound of each alpha and alpha*.
        nu: In (0, 1].
        tolerance: Largest violation of the optimality conditions at which it ends.
        max_iterations: It ends after this many at the latest.
    """
    n = len(target)
    order = np.argsort(target)
    # Feasible and near the solution of a flat model: nu l / 2 rows at each end, the last of them with the remaining fraction.
    n_full = int(nu * n / 2)
    alpha, star = np.zeros(n), np.zeros(n)
    star[order[:n_full]] = C
    alpha[order[n - n_full :]] = C
    remainder = (nu * n / 2 - n_full) * C
    star[order[n_full]] += remainder
    alpha[order[n - 1 - n_full]] += remainder
    residual = target - kernel @ (alpha - star)
    for _ in range(max_iterations):
        top, bottom, high, low = 0, 0, -np.inf, np.inf  # where alpha, alpha* grow with most profit
        for i in range(n):
            if alpha[i] < C and residual[i] > high:
                top, high = i, residual[i]
            if star[i] < C and residual[i] < low:
                bottom, low = i, residual[i]
        # The partner shrinks as much as the first grows; take the one that lowers the objective most (second order).
        gain, violation, other, sign = 0.0, 0.0, -1, 1.0
        for i in range(n):
            if alpha[i] > 0 and residual[i] < high:
                difference = high - residual[i]
                violation = max(violation, difference)
                profit = difference**2 / max(kernel[top, top] + kernel[i, i] - 2 * kernel[top, i], 1e-12)
                if profit > gain:
                    gain, other, sign = profit, i, 1.0
            if star[i] > 0 and residual[i] > low:
                difference = residual[i] - low
                violation = max(violation, difference)
                profit = difference**2 / max(kernel[bottom, bottom] + kernel[i, i] - 2 * kernel[bottom, i], 1e-12)
                if profit > gain:
                    gain, other, sign = profit, i, -1.0
        if other < 0 or violation < tolerance:
            break
        grows = top if sign > 0 else bottom
        sizes = alpha if sign > 0 else star
        curvature = max(kernel[grows, grows] + kernel[other, other] - 2 * kernel[grows, other], 1e-12)
        wanted = abs(residual[grows] - residual[other]) / curvature
        step = min(wanted, C - sizes[grows], sizes[other])
        # Bounds are met exactly, so that comparing with them is safe.
        sizes[grows] = C if step == C - sizes[grows] else sizes[grows] + step
        sizes[other] = 0.0 if step == sizes[other] else sizes[other] - step
        for i in range(n):
            residual[i] -= sign * step * (kernel[grows, i] - kernel[other, i])
    return alpha - star


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile by numba, with the machine code kept on the disk if there is a folder for it."""
    import numba

    try:
        return cast(Callable[..., Any], numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder to keep the compiled code in
        return cast(Callable[..., Any], numba.njit(nogil=True)(function))
