"""One additive component of the final value (healthy or diverged), predicted as calibrated last value plus kernel correction.

A run that diverged ends tens or millions of times farther from the median than the best one. One regression of both kinds
follows the diverged runs and loses the differences between healthy ones, so a value is split at the `outlier_bound` of its
scale: the part within is one target, the excess beyond, which is 0 for nearly all runs, another. Equation numbers are those of
docs/stacked.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curvestop.srm.predictors.stacked.scalar_or_array import FloatOrArray, maximum, minimum
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_ridge import KernelSpectrum, solve

PERSISTENCE = 2.0
"""The prior that a curve ends as far from the mean as it is now counts as much as this many curves."""
NOISE_FLOOR = 0.05
"""Errors below this share of the typical one count as equally small when their size is learnt."""


@dataclass(frozen=True)
class ComponentSettings:
    """What a search finds for one component, and a refit keeps.

    Attributes:
        ridge: Of the kernel ridge regression, absolute, > 0.
        share: Weight of the kernel model against the calibrated last value alone, in [0, 1].
    """

    ridge: float
    share: float


class Component:
    """A model of one component of the final value.

    Args:
        kernel: `(n, n)` kernel between the training curves.
        last: `(n,)` the same component of the last values, in units.
        target: `(n,)` the component of the final values, in units.
        settings: Ridge and share.

    Attributes:
        alpha: `(n,)` weights of the training rows, the share included.
        correction: The kernel ridge fit of what the calibrated last value leaves.
        left_out: `(n,)` prediction of each training curve by the model without it.
    """

    def __init__(self, kernel: Array, last: Array, target: Array, settings: ComponentSettings) -> None:
        coefficients, remainder, plain_residuals = calibrate_last_value(last, target)
        self.correction = solve(kernel, np.ones((len(target), 1)), remainder, settings.ridge)  # eq. (13)
        self.alpha = settings.share * self.correction.coefficients[:-1]
        self._slope = float(coefficients[1])
        self._level = float(coefficients[0] + settings.share * self.correction.coefficients[-1])
        self._least, self._most = float(target.min()), float(target.max())
        residuals = settings.share * self.correction.residuals + (1 - settings.share) * plain_residuals
        self.left_out = np.clip(target - residuals, np.minimum(self._least, last), np.maximum(self._most, last))

    def __call__(self, kernel_sum: FloatOrArray, last: FloatOrArray) -> FloatOrArray:
        """Predict the component, in units, eq. (18).

        Args:
            kernel_sum: Products of the queries' kernel with `alpha`.
            last: The component of the queries' last values, in units.
        """
        mean = last * self._slope + kernel_sum + self._level
        # Within the training range, or as far out as the curve already is: a run worse than all in training may stay so.
        return minimum(maximum(mean, minimum(last, self._least)), maximum(last, self._most))


def choose_component_settings(kernel: Array, spectrum: KernelSpectrum, last: Array, target: Array) -> ComponentSettings:
    """Choose ridge and share by closed-form leave-one-out.

    Args:
        kernel: `(n, n)` kernel between the training curves.
        spectrum: Of that kernel.
        last: `(n,)` the component of the last values.
        target: `(n,)` the component of the final values.
    """
    ones = np.ones((len(target), 1))
    _, remainder, plain_residuals = calibrate_last_value(last, target)
    ridge, _ = best_ridge(spectrum, ones, remainder)
    return ComponentSettings(ridge, _best_share(target, solve(kernel, ones, remainder, ridge).residuals, plain_residuals))


def soft_threshold(diverged: FloatOrArray, gate: float) -> FloatOrArray:
    """Move values toward 0 by `gate` (>= 0), and to 0 if they are nearer: a small diverged part is not believed, eq. (20).

    Args:
        diverged: Diverged part in units, a float or an array.
        gate: In units; 0 changes nothing.
    """
    return maximum(diverged - gate, 0.0) + minimum(diverged + gate, 0.0)


def left_out_errors(target: Array, healthy: Component, diverged: Component | None, gate: float) -> Array:
    """Return `(n,)` target minus its left-out prediction.

    Args:
        target: `(n,)` final values in units, both parts together.
        healthy: Model of the healthy part.
        diverged: Model of the diverged part; None if no training run diverged.
        gate: Of the diverged part, in units.
    """
    predicted = healthy.left_out if diverged is None else healthy.left_out + soft_threshold(diverged.left_out, gate)
    return target - predicted


def best_ridge(spectrum: KernelSpectrum, trend: Array, target: Array) -> tuple[float, float]:
    """Return the ridge of the least left-out error and that mean squared error, eq. (17).

    Left-out predictions are cut off at the training range first, as those of a query are.

    Args:
        spectrum: Of the `(n, n)` kernel.
        trend: `(n, q)`.
        target: `(n,)`.
    """
    path = spectrum.loo_path(trend, target)
    predicted = np.clip(target[:, None] - path.residuals, target.min(), target.max())  # (n, r)
    errors = ((target[:, None] - predicted) ** 2).mean(axis=0)
    best = int(np.argmin(errors))
    return float(path.ridges[best]), float(errors[best])


def calibrate_last_value(last: Array, target: Array) -> tuple[Array, Array, Array]:
    """Fit target ~ 1 + last by least squares, with the slope drawn to 1, eq. (7).

    The prior, a value that persists, counts as PERSISTENCE more curves; it stays when a row is left out.

    Args:
        last: `(n,)` last values.
        target: `(n,)` final values.

    Returns:
        Coefficients `(2,)` of 1 and the last value, residuals `(n,)` and left-out residuals `(n,)`.
    """
    n, centre, change = len(last), float(last.mean()), target - last
    varies = float(np.ptp(last)) > 1e-9 * float(np.abs(last).max())
    # Of equal values nothing is known, least of all that others would persist: at epoch 1 all runs may be at chance.
    centred = last - centre if varies else np.zeros(n)
    squares = max(float(centred @ centred) * (1 + PERSISTENCE / n), 1e-300)
    # The change is regressed on the last value, so drawing its slope to 0 draws that of the final value to 1.
    slope, share = float(centred @ change) / squares if varies else -1.0, centred**2 / squares
    residuals = change - change.mean() - slope * centred
    leverage = np.minimum(1 / n + share, 1.0 - 1e-6)
    return np.array([change.mean() - slope * centre, 1 + slope]), residuals, residuals / (1.0 - leverage)  # eq. (8)


def noise_target(errors: Array, variances: Array) -> tuple[Array, float]:
    """Compute what the noise model learns: the log size of each error relative to what the kernel expects, eq. (23).

    Args:
        errors: `(n,)` left-out errors of the final value, in units.
        variances: `(n,)` leave-one-out variances of the kernel model.

    Returns:
        `(n,)` half the logarithm of the relative squared error, and its mean.
    """
    relative = errors**2 / variances
    typical = max(float(relative.mean()), 1e-300)
    target: Array = 0.5 * np.log(relative / typical + NOISE_FLOOR**2)
    return target, float(target.mean())


def _best_share(target: Array, kernel_residuals: Array, plain_residuals: Array) -> float:
    """Return the weight of the kernel model against the plain one by least squares on left-out residuals `(n,)`, eq. (19)."""
    # Residuals of predictions that are cut off at the training range.
    kernel_residuals, plain_residuals = (
        np.clip(r, target - target.max(), target - target.min()) for r in (kernel_residuals, plain_residuals)
    )
    difference = kernel_residuals - plain_residuals
    norm = float(difference @ difference)
    return float(np.clip(-(difference @ plain_residuals) / norm, 0.0, 1.0)) if norm > 0 else 1.0
