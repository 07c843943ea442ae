"""The dual of nu-SVR solved to machine precision: a rough start, then an active-set method that ends at the exact solution.

For `l` rows with kernel matrix K and targets y (Schoelkopf et al. 2000, eq. 27-30, scikit-learn's scale of C):

    min 1/2 b'Kb - y'b   subject to   sum b = 0,   |b_i| <= C,   sum |b| <= C nu l

The prediction is f(x) = sum_i b_i k(x_i, x) + offset. With r = y - Kb the solution has r_i = u where 0 < b_i < C, r_i = v where
-C < b_i < 0, v <= r_i <= u where b_i = 0, and r_i beyond u (below v) where b_i = C (-C); the offset is (u + v) / 2 and the tube's
half-width (u - v) / 2 >= 0. Where the last constraint has room the tube is closed: u = v.

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

from curvestop.srm.regression.features import Array

RIDGE = 1e-10
"""Added to the kernel's diagonal (relative to it), so that duplicated rows leave one solution."""
TOLERANCE = 1e-9
"""Largest violation of the optimality conditions, in the target's unit; targets are standardized."""
START_ITERATIONS = 3_000
"""Cap on the rough start's iterations; the active-set method goes on from whatever it reached."""
START_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Engine:
    """How duals are solved.

    start: (kernel, target, C, nu) -> feasible b. finish: see `finish`.
    """

    start: Callable[[Array, Array, float, float], Array]
    finish: Callable[[Array, Array, float, float, Array, int], float]

    def solve(self, kernel: Array, target: Array, *, C: float, nu: float) -> tuple[Array, float]:
        """b `(l,)` and the offset. kernel: `(l, l)`, made definite by `definite`. C > 0. nu in (0, 1]."""
        dual = self.start(kernel, target, C, nu)
        return dual, self.finish(kernel, target, C, C * nu * len(target) / 2, dual, -1)

    def leave_one_out(self, kernel: Array, target: Array, *, C: float, nu: float) -> Array:
        """`(l,)` residuals y_i - f_{-i}(x_i), where f_{-i} is fitted on all rows but the i-th at the same C and nu.

        Without a row sum |b| may reach C nu (l - 1) only. One fit of all rows under that constraint is also the fit without
        any row that is no support vector in it; for the others it is where the active-set method starts from.
        """
        n = len(target)
        dual, offset = self.solve(kernel, target, C=C, nu=nu * (n - 1) / n)
        residuals: Array = target - kernel @ dual - offset
        started, side = residuals.copy(), C * nu * (n - 1) / 2
        for i in np.flatnonzero(dual).tolist():
            without = dual_without(dual, i, started, C)
            offset = self.finish(kernel, target, C, side, without, i)
            residuals[i] = target[i] - kernel[i] @ without - offset
        return residuals


@cache
def engine(compiled: bool | None = None) -> Engine:
    """compiled: with numba (ImportError where it is not installed) or without; None: with it where it is installed."""
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
    """A copy of a kernel matrix with a little added to its diagonal."""
    kernel = kernel.copy()
    diagonal = kernel.ravel()[:: len(kernel) + 1]  # a view, as the copy is contiguous
    diagonal += RIDGE * (1 + diagonal.sum() / len(kernel))
    return kernel


@contextmanager
def many_fits() -> Iterator[None]:
    """Around many solutions: scikit-learn checks our arrays less, and says nothing where the rough start ends at its cap."""
    from sklearn import config_context  # here and below: a server that starts has no time for it
    from sklearn.exceptions import ConvergenceWarning

    with config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def libsvm_start(kernel: Array, target: Array, C: float, nu: float) -> Array:
    """b by libsvm at a loose tolerance; to be called within `many_fits`."""
    from sklearn.svm import NuSVR

    model = NuSVR(kernel="precomputed", C=C, nu=nu, tol=START_TOLERANCE, max_iter=START_ITERATIONS)
    model.fit(kernel, target)
    dual = np.zeros(len(target))
    dual[model.support_] = model.dual_coef_[0]
    return dual


def dual_without(dual: Array, i: int, residual: Array, C: float) -> Array:
    """A feasible copy of a dual with b_i = 0.

    Its share goes to the others on its side, those between the bounds first; what they cannot take, the other side loses.
    """
    side = 1.0 if dual[i] > 0 else -1.0
    size = side * dual  # >= 0 on this side
    room = np.where((size > 0) & (size < C), C - size, 0.0)
    room[i] = 0.0
    total = float(room.sum())
    share = room * min(1.0, size[i] / total) if total > 0 else room
    rest = float(size[i]) - total
    if rest > 0:
        entering = np.flatnonzero(size == 0)
        for j in entering[np.argsort(-side * residual[entering])].tolist():  # nearest to entering this side first
            share[j] = min(C, rest)
            rest -= share[j]
    result: Array = dual + side * share
    result[i] = 0.0
    if rest > 0:
        result[size < 0] *= 1 - rest / -size[size < 0].sum()
    return result


def finish(kernel: Array, target: Array, C: float, side: float, dual: Array, held: int) -> float:
    """Move `dual` (in place) from any feasible point to the solution and return the offset; numba compiles this as it stands.

    side: C nu l / 2, what the positive (and the negative) b add up to at most.
    held: index of a row left out, whose b is 0 and stays 0; -1: none.
    A primal active-set method (Nocedal and Wright 2006, algorithm 16.3) on the faces of the feasible set: solve for the b
    between the bounds, go there or to the first bound on the way, free the row that violates optimality most, repeat.
    The number of steps is capped; the point is feasible after any of them.
    """
    n = len(target)
    dual[np.abs(dual) <= 1e-12 * min(C, side)] = 0.0
    sign = np.sign(dual)
    bounded = np.abs(dual) >= C * (1 - 1e-12)
    dual[bounded] = C * sign[bounded]
    free = ~bounded & (sign != 0)
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
        if len(rows) == 0:
            there = np.flatnonzero(np.arange(n) != held)
            free[there[np.argmin(np.abs(residual[there] - residual[there].mean()))]] = True
            continue
        # The face's solution: K_ff p + (u, v) = r_f, with the sums kept (and rounding in them mended).
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
            room = 2 * side * (1 + 1e-12) - total + np.abs(current).sum()
            if np.abs(moved).sum() > room:
                for _ in range(2 * m):
                    slope = (np.sign(moved) * step).sum()
                    if np.abs(moved).sum() <= room or slope <= 0:
                        break
                    share = max(share - (np.abs(moved).sum() - room) / slope, 0.0)
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
        if share < 1.0:
            continue
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
        free[worst] = True
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
    """b by sequential minimal optimization with second-order working sets (Fan, Chen, Lin 2005); loops, for numba.

    Written in alpha, alpha* >= 0 with b = alpha - alpha*, each adding up to C nu l / 2. Starts from the highest targets at C
    and the lowest at -C.
    """
    n = len(target)
    order = np.argsort(target)
    whole = int(nu * n / 2)
    alpha, star = np.zeros(n), np.zeros(n)
    star[order[:whole]] = C
    alpha[order[n - whole :]] = C
    part = (nu * n / 2 - whole) * C
    star[order[whole]] += part
    alpha[order[n - 1 - whole]] += part
    residual = target - kernel @ (alpha - star)
    for _ in range(max_iterations):
        top, bottom, high, low = 0, 0, -np.inf, np.inf  # where alpha, alpha* grow with most profit
        for i in range(n):
            if alpha[i] < C and residual[i] > high:
                top, high = i, residual[i]
            if star[i] < C and residual[i] < low:
                bottom, low = i, residual[i]
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
    import numba

    try:
        return cast(Callable[..., Any], numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder to keep the compiled code in
        return cast(Callable[..., Any], numba.njit(nogil=True)(function))
