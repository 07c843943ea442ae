"""A part of the final value, predicted around a calibrated last value: the part of healthy runs, or that of broken ones.

A run that diverged ends tens or millions of times farther from the median than the best one. One regression of both kinds
follows the broken runs and loses the differences between healthy ones, so a value is split at the outlier_scale of its scale: what
lies within is one target, the excess beyond, which is 0 for nearly all, another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curvestop.srm.predictors.stacked.scalar_or_array import Numbers, larger, smaller
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_ridge import KernelSpectrum, solve

PERSISTENCE = 2.0
"""How many curves the prior is worth that a curve ends as far from the mean as it is now."""
NOISE_FLOOR = 0.05
"""Relative error below which errors count as equally small when their size is learnt."""


@dataclass(frozen=True)
class ComponentSettings:
    """ridge: absolute, > 0. share: of the kernel model against the calibrated last value alone, in [0, 1]."""

    ridge: float
    share: float


class Component:
    """One target `(n,)`, from the same part of the last value `(n,)` and a kernel `(n, n)` between curves.

    alpha: `(n,)` weights of the training rows. fit: the kernel model of what the last value leaves. residuals: `(n,)` left out.
    """

    def __init__(self, kernel: Array, last: Array, target: Array, settings: ComponentSettings) -> None:
        coefficients, surprise, plain_residuals = least_squares(last, target)
        self.fit = solve(kernel, np.ones((len(target), 1)), surprise, settings.ridge)
        self.alpha = settings.share * self.fit.coefficients[:-1]
        self._slope = float(coefficients[1])
        self._level = float(coefficients[0] + settings.share * self.fit.coefficients[-1])
        self._least, self._most = float(target.min()), float(target.max())
        residuals = settings.share * self.fit.residuals + (1 - settings.share) * plain_residuals
        self.left_out = np.clip(target - residuals, np.minimum(self._least, last), np.maximum(self._most, last))

    def __call__(self, from_kernel: Numbers, last: Numbers) -> Numbers:
        """Predictions; from_kernel: products of the kernel with `alpha`."""
        mean = last * self._slope + from_kernel + self._level
        # Within the training range, or as far out as the curve already is: a run worse than all in training may stay so.
        return smaller(larger(mean, smaller(last, self._least)), larger(last, self._most))


def choose_component(kernel: Array, spectrum: KernelSpectrum, last: Array, target: Array) -> ComponentSettings:
    """By closed-form leave-one-out."""
    ones = np.ones((len(target), 1))
    _, surprise, plain = least_squares(last, target)
    ridge, _ = best_ridge(spectrum, ones, surprise)
    return ComponentSettings(ridge, _best_share(target, solve(kernel, ones, surprise, ridge).residuals, plain))


def gated(broken: Numbers, gate: float) -> Numbers:
    """Nearer to 0 by the gate: what is not surely broken is not broken at all."""
    return larger(broken - gate, 0.0) + smaller(broken + gate, 0.0)


def left_out_errors(target: Array, healthy: Component, broken: Component | None, gate: float) -> Array:
    """`(n,)` target minus its left-out prediction."""
    predicted = healthy.left_out if broken is None else healthy.left_out + gated(broken.left_out, gate)
    return target - predicted


def best_ridge(spectrum: KernelSpectrum, trend: Array, target: Array) -> tuple[float, float]:
    """The ridge whose predictions of left-out rows, kept within the training range, err least; and that mean squared error."""
    path = spectrum.loo_path(trend, target)
    predicted = np.clip(target[:, None] - path.residuals, target.min(), target.max())
    errors = ((target[:, None] - predicted) ** 2).mean(axis=0)
    best = int(np.argmin(errors))
    return float(path.ridges[best]), float(errors[best])


def least_squares(last: Array, target: Array) -> tuple[Array, Array, Array]:
    """Coefficients `(2,)` of 1 and the last value; residuals and left-out residuals `(n,)`.

    The slope is drawn to 1, a value that persists, as by PERSISTENCE more curves; the ridge stays when a row is left out.
    """
    n, centre, change = len(last), float(last.mean()), target - last
    varies = float(np.ptp(last)) > 1e-9 * float(np.abs(last).max())
    # Of equal values nothing is known, least of all that others would persist: at epoch 1 all runs may be at chance.
    centred = last - centre if varies else np.zeros(n)
    squares = max(float(centred @ centred) * (1 + PERSISTENCE / n), 1e-300)
    slope, share = float(centred @ change) / squares if varies else -1.0, centred**2 / squares
    residuals = change - change.mean() - slope * centred
    leverage = np.minimum(1 / n + share, 1.0 - 1e-6)
    return np.array([change.mean() - slope * centre, 1 + slope]), residuals, residuals / (1.0 - leverage)


def noise_target(errors: Array, variances: Array) -> tuple[Array, float]:
    """Half the logarithm of each squared error relative to what the kernel expects, `(n,)`, and its mean."""
    relative = errors**2 / variances
    typical = max(float(relative.mean()), 1e-300)
    target: Array = 0.5 * np.log(relative / typical + NOISE_FLOOR**2)
    return target, float(target.mean())


def _best_share(target: Array, kernel: Array, plain: Array) -> float:
    """Weight of the kernel's left-out predictions against the plain ones, by least squares; residuals `(n,)` each."""
    kernel, plain = (np.clip(r, target - target.max(), target - target.min()) for r in (kernel, plain))
    difference = kernel - plain
    norm = float(difference @ difference)
    return float(np.clip(-(difference @ plain) / norm, 0.0, 1.0)) if norm > 0 else 1.0
