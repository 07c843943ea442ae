"""Kernel ridge regression around a linear trend, with every leave-one-out residual in closed form.

The model is y = A beta + K alpha with A' alpha = 0 and (K + ridge) alpha + A beta = y (universal kriging; Rasmussen and Williams
2006, section 2.7). With B the inverse of [[K + ridge, A], [A', 0]], the leave-one-out residual of row i is alpha_i / B_ii
(Dubrule 1983): exact, and for all ridges at once after one eigendecomposition.

The equation numbers are those of docs/stacked.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curvestop.srm.regression.features import Array

RIDGES = np.logspace(-4, 2, 19)
"""Ridges tried, in units of the kernel's mean diagonal."""


@dataclass(frozen=True)
class RidgePath:
    """Leave-one-out residuals for many ridges.

    Attributes:
        ridges: `(r,)` absolute ridges, ascending.
        residuals: `(n, r)` target minus left-out prediction.
    """

    ridges: Array
    residuals: Array


@dataclass(frozen=True)
class KernelRidgeFit:
    """A solved model.

    Attributes:
        coefficients: `(n + q,)`, alpha then beta.
        inverse: `(n + q, n + q)`, the matrix B.
        residuals: `(n,)` leave-one-out residuals.
        variances: `(n,)` leave-one-out predictive variances in units of the noise scale.
    """

    coefficients: Array
    inverse: Array
    residuals: Array
    variances: Array


class KernelSpectrum:
    """A kernel's eigendecomposition, which gives leave-one-out residuals for any number of targets and trends.

    Args:
        kernel: `(n, n)`, symmetric, positive semi-definite.
    """

    def __init__(self, kernel: Array) -> None:
        eigenvalues, self._vectors = np.linalg.eigh(kernel)  # eq. (16)
        self.ridges = RIDGES * max(float(np.trace(kernel)) / len(kernel), 1e-300)
        self._shrink = 1.0 / (np.maximum(eigenvalues, 0.0)[:, None] + self.ridges)  # (n, r)
        self._diagonal = ((self._vectors**2) @ self._shrink).T  # (r, n), of (K + ridge)^-1

    def loo_path(self, trend: Array, target: Array) -> RidgePath:
        """Compute the leave-one-out residuals at every ridge at once.

        Args:
            trend: `(n, q)`, the matrix A.
            target: `(n,)`.
        """
        n, vectors, shrink = len(target), self._vectors, self._shrink
        # eq. (16): M^-1 = V diag(shrink) V' for each ridge, applied to the target and all columns of the trend together.
        known = vectors.T @ np.column_stack([target, trend])  # (n, 1 + q)
        scaled = (shrink[:, :, None] * known[:, None, :]).reshape(n, -1)
        solved = (vectors @ scaled).reshape(n, len(self.ridges), -1).swapaxes(0, 1)  # (r, n, 1 + q): M^-1 [y, A]
        m_y, m_a = solved[:, :, 0], solved[:, :, 1:]
        inner = np.linalg.pinv(np.einsum("iq,rip->rqp", trend, m_a), hermitian=True)  # (A' M^-1 A)^-1
        beta = np.einsum("rqp,rp->rq", inner, np.einsum("iq,ri->rq", trend, m_y))
        alpha = m_y - np.einsum("riq,rq->ri", m_a, beta)  # eq. (13)
        diagonal = self._diagonal - np.einsum("riq,riq->ri", m_a @ inner, m_a)  # B_ii, eq. (15)
        # A row that alone determines the trend has B_ii = 0 but for rounding; the floor keeps its residual finite.
        least = 1e-12 * shrink.max(axis=0)[:, None]
        return RidgePath(self.ridges, (alpha / np.maximum(diagonal, least)).T)  # eq. (14)


def loo_path(kernel: Array, trend: Array, target: Array) -> RidgePath:
    """Compute leave-one-out residuals at every ridge by one eigendecomposition.

    Args:
        kernel: `(n, n)`, symmetric, positive semi-definite.
        trend: `(n, q)`.
        target: `(n,)`.
    """
    return KernelSpectrum(kernel).loo_path(trend, target)


def solve(kernel: Array, trend: Array, target: Array, ridge: float) -> KernelRidgeFit:
    """Solve the model at one ridge.

    Args:
        kernel: `(n, n)`, symmetric, positive semi-definite.
        trend: `(n, q)`, the matrix A.
        target: `(n,)`.
        ridge: Absolute, > 0.
    """
    n, q = trend.shape
    # eq. (15): the inverse by blocks. pinv, as columns of the trend may coincide (a last value that is constant).
    m_inverse = np.linalg.inv(kernel + ridge * np.eye(n))
    m_a = m_inverse @ trend
    inner = np.linalg.pinv(trend.T @ m_a, hermitian=True)
    inverse = np.empty((n + q, n + q))
    inverse[:n, n:] = m_a @ inner
    inverse[:n, :n] = m_inverse - inverse[:n, n:] @ m_a.T
    inverse[n:, :n] = inverse[:n, n:].T
    inverse[n:, n:] = -inner
    coefficients = inverse[:, :n] @ target  # eq. (13)
    variances = 1.0 / np.maximum(np.diag(inverse)[:n], 1e-300)
    return KernelRidgeFit(coefficients, inverse, coefficients[:n] * variances, variances)  # eq. (14)
