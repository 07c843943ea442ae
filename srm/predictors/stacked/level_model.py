"""The stacked kernel model of one observed length tau: how a curve of tau epochs ends, how surely, and with which rank.

Several heads share one kernel: the final value (around a calibrated last value), the logarithm of its squared error (so that
sigma is each configuration's own) and its normal score (for ranking only). Equation numbers are those of docs/stacked.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from curvestop.srm.curve import Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.components import (
    Component,
    ComponentSettings,
    best_ridge,
    calibrate_last_value,
    choose_component_settings,
    left_out_errors,
    noise_target,
    soft_threshold,
)
from curvestop.srm.predictors.stacked.curve_summary import ValueScale
from curvestop.srm.predictors.stacked.mixture_kernel import (
    BaseKernel,
    MixtureKernel,
    Rows,
    RowTransform,
    rational_quadratics,
    width_weights,
)
from curvestop.srm.predictors.stacked.normal_scale import NormalScale
from curvestop.srm.predictors.stacked.scalar_or_array import FloatOrArray, exp, maximum, minimum, sqrt
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_ridge import KernelRidgeFit, KernelSpectrum, solve

SELECTION_ROWS = 200
"""Settings are chosen on this many rows at most; the model itself is solved on all."""
NOISE_PRIOR = 10.0
"""The prior that the errors of all curves are alike counts as much as this many curves."""
GATES = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Gates tried for the diverged part, in units."""
GATE_COST = 1.01
"""The highest gate wins whose left-out error is within this factor of the least."""


@dataclass(frozen=True)
class Settings:
    """What a search finds and a refit keeps.

    Attributes:
        transform: From rows to points.
        weights: `(2, 3)` of the length scales.
        healthy: Of the healthy part of the final value.
        diverged: Of its diverged part; None if no training run diverged.
        gate: Least diverged part that is believed, in units.
        noise_ridge: Of the noise head.
        score_ridge: Of the ranking head.
    """

    transform: RowTransform
    weights: Array
    healthy: ComponentSettings
    diverged: ComponentSettings | None
    gate: float
    noise_ridge: float
    score_ridge: float


@dataclass(frozen=True)
class Predictions:
    """Normal distributions of the final values of m curves.

    Attributes:
        mean: `(m,)` in the metric.
        sigma: `(m,)` in the metric, >= 0.
    """

    mean: Array
    sigma: Array


class LevelModel:
    """A fitted model of one observed length, never changed afterwards.

    Args:
        rows: `n` training curves of tau values, with their configurations.
        finals: `(n,)` final values in the metric.
        direction: Tells diverged runs from good ones, which are far from the median too.
        settings: Those of an earlier model, to solve at once; None searches them.

    Attributes:
        tau: Observed length.
        n_curves: n.
        settings: Those found or given.
        residuals_: `(n,)` leave-one-out residuals of the final value, in the metric.
        standardized_: `(n,)` the same over their sigma.
        left_out_scores_: `(n,)` what `scores` would return for each training row without it.
        r2_: Of left-out predictions, at most 1.
    """

    def __init__(self, rows: Rows, finals: Array, direction: Direction, settings: Settings | None = None) -> None:
        self.tau, self.n_curves = rows.values.shape[1], len(finals)
        self.settings = settings if settings is not None else choose_settings(*_selection_subset(rows, finals), direction)
        self._solve(rows, finals)

    def predict(self, rows: Rows) -> Predictions:
        """Predict the final values of m curves.

        Args:
            rows: `m` curves of `tau` values, with their configurations.
        """
        return self.predict_and_score(rows)[0]

    def predict_and_score(self, rows: Rows) -> tuple[Predictions, Array]:
        """Predict the final values of m curves, and `(m,)` kernel sums of their scores, which `score` completes.

        Args:
            rows: `m` curves of `tau` values, with their configurations.
        """
        variance, heads = self._kernel_products(rows)
        score_sums, *value_sums = heads.T
        return Predictions(*self._predict(rows.values[:, -1], variance, *value_sums)), score_sums

    def predict_one(self, rows: Rows) -> tuple[Prediction, float]:
        """Predict the first of m curves in less time, by floats instead of arrays; also return the kernel sum of its score.

        Args:
            rows: `m` curves of `tau` values, with their configurations.
        """
        variance, heads = self._kernel_products(rows)
        score_sum, *value_sums = heads[0].tolist()
        return Prediction(*self._predict(rows.values[0, -1].item(), variance.item(0), *value_sums)), score_sum

    def score(self, kernel_sum: FloatOrArray, last: FloatOrArray) -> FloatOrArray:
        """Return the score of one curve or several, eq. (28).

        Args:
            kernel_sum: As `predict_one` or `predict_and_score` return it.
            last: The last values, in the metric.
        """
        level, slope = self._score_line
        return kernel_sum + level + slope * self._last_scale(last)

    def scores(self, rows: Rows) -> Array:
        """Return `(m,)` expected normal scores of the final values among the training curves, eq. (28).

        Args:
            rows: `m` curves of `tau` values that were not learnt from.
        """
        kernel = self._kernel(self.settings.transform(rows))
        kernel_sums: Array = kernel @ self._score_alpha
        return self.score(kernel_sums, rows.values[:, -1])

    def _kernel_products(self, rows: Rows) -> tuple[Array, Array]:
        """Return `(m,)` variances but for the terms in b and c, and `(m, heads)` products with the heads, the score's first."""
        points = self.settings.transform(rows)
        kernel, n = self._kernel(points), self.n_curves
        heads = kernel @ self._heads
        variance = BaseKernel.diagonal(points)
        # eq. (22): k'Bk + 2 b'k + c, of which k'Bk is taken off here; B is without its last row b and column.
        variance -= np.vecdot(heads[:, :n], kernel)
        return variance, heads[:, n : n + self._n_heads]

    def _predict(
        self,
        last: FloatOrArray,
        variance: FloatOrArray,
        twice_b: FloatOrArray,
        healthy: FloatOrArray,
        noise: FloatOrArray,
        diverged: FloatOrArray | None = None,
    ) -> tuple[FloatOrArray, FloatOrArray]:
        """Return mean and sigma in the metric, from the last value in the metric and the products with the kernel."""
        scale, last = self.settings.transform.scale, self.settings.transform.scale.to_units(last)
        last_healthy = last if self._diverged is None else scale.healthy_part(last)
        mean = self._healthy(healthy, last_healthy)  # eq. (20)
        if self._diverged is not None and diverged is not None:
            mean = mean + soft_threshold(self._diverged(diverged, last - last_healthy), self.settings.gate)
        variance = maximum(variance - twice_b + self._unexplained, self._least_variance)  # eq. (22)
        noise = exp(minimum(maximum(noise, self._noise_range[0]), self._noise_range[1]))  # eq. (24)
        return mean * scale.unit + scale.middle, sqrt(variance) * noise * self._sigma_unit  # eq. (26)

    def _solve(self, rows: Rows, finals: Array) -> None:
        """Solve every head at the settings."""
        settings, scale = self.settings, self.settings.transform.scale
        target, last = scale.to_units(finals), scale.to_units(rows.values[:, -1])
        points = settings.transform(rows)
        if settings.diverged is None:
            target_healthy, last_healthy = target, last
        else:
            target_healthy, last_healthy = scale.healthy_part(target), scale.healthy_part(last)  # eq. (3)
        self._kernel = MixtureKernel(BaseKernel(points, settings.transform.n_curve_columns), settings.weights)
        kernel = self._kernel(points)
        self._healthy = healthy = Component(kernel, last_healthy, target_healthy, settings.healthy)
        self._diverged = (
            Component(kernel, last - last_healthy, target - target_healthy, settings.diverged) if settings.diverged else None
        )
        errors = left_out_errors(target, healthy, self._diverged, settings.gate)
        noise = self._solve_noise(kernel, errors, healthy.correction)
        self._solve_score(kernel, rows.values[:, -1], finals)
        n, inverse = self.n_curves, healthy.correction.inverse
        # All that a query's kernel is multiplied by, as one matrix: (n, n + 4), or (n, n + 5) with a diverged part.
        alphas = [healthy.alpha, noise, *([self._diverged.alpha] if self._diverged else [])]
        heads = np.column_stack([inverse[:n, :n], self._score_alpha, 2 * inverse[:n, n], *alphas])
        self._n_heads = heads.shape[1] - n
        self._heads = np.pad(heads, ((0, 0), (0, -heads.shape[1] % 8)))  # products of whole blocks of columns are faster
        self._unexplained = settings.healthy.ridge - float(inverse[n, n])  # ridge - c of eq. (22)
        self._least_variance = 1e-9 * settings.healthy.ridge
        total = float(np.sum((target - target.mean()) ** 2))
        self.r2_ = 1.0 - float(errors @ errors) / total if total > 0 else 0.0  # eq. (33)
        self.residuals_ = errors * scale.unit

    def _solve_score(self, kernel: Array, last: Array, finals: Array) -> None:
        """Solve the ranking head.

        Args:
            kernel: `(n, n)` between the training curves.
            last: `(n,)` last values, in the metric.
            finals: `(n,)` final values, in the metric.
        """
        self._last_scale = NormalScale.of(last)
        target, n = normal_scores(finals), self.n_curves
        head = solve(kernel, _line(self._last_scale(last)), target, self.settings.score_ridge)
        level, slope = map(float, head.coefficients[n:])
        self._score_alpha, self._score_line = head.coefficients[:n], (level, slope)
        self.left_out_scores_ = target - head.residuals

    def _solve_noise(self, kernel: Array, errors: Array, value: KernelRidgeFit) -> Array:
        """Solve the noise head and calibrate sigma on the left-out errors.

        Args:
            kernel: `(n, n)` between the training curves.
            errors: `(n,)` left-out errors, in units.
            value: The kernel model of the healthy part, whose variances sigma starts from.

        Returns:
            `(n,)` weights of the training rows.
        """
        target, level = noise_target(errors, value.variances)  # eq. (23)
        n, least, most = len(target), float(target.min()), float(target.max())
        noise, share = solve(kernel, np.ones((n, 1)), target - level, self.settings.noise_ridge), n / (n + NOISE_PRIOR)
        left_out = level + share * (target - level - noise.residuals)  # eq. (24), of each curve without it
        spread = np.exp(np.clip(left_out, least, most)) * np.sqrt(value.variances)
        calibration = small_sample_factor(n) * float(np.sqrt(np.mean((errors / spread) ** 2)))  # eq. (25)
        self.standardized_ = errors / np.maximum(spread * calibration, 1e-300)
        # A query's kernel sum lacks the constant, so its range does too; the constant goes into the unit of sigma.
        constant = level + share * float(noise.coefficients[-1])
        self._noise_range = least - constant, most - constant
        self._sigma_unit = math.exp(constant) * calibration * self.settings.transform.scale.unit
        return share * noise.coefficients[:n]


def choose_settings(rows: Rows, finals: Array, direction: Direction) -> Settings:
    """Choose column weights, length scales, ridges, shares and gate, all by closed-form leave-one-out.

    Args:
        rows: `n` training curves.
        finals: `(n,)` final values in the metric.
        direction: Which values are the good ones.
    """
    scale = ValueScale.of(finals, direction)
    target, last = scale.to_units(finals), scale.to_units(rows.values[:, -1])
    target_healthy, last_healthy = scale.healthy_part(target), scale.healthy_part(last)  # eq. (3)
    parts = [(last, target)]
    if np.any(target != target_healthy):
        parts = [(last_healthy, target_healthy), (last - last_healthy, target - target_healthy)]
    # What the calibrated last value leaves of each part is what columns and length scales are judged by.
    remainders = [calibrate_last_value(of_last, of_target)[1] for of_last, of_target in parts]
    transform = RowTransform.of(rows, scale, remainders[0])
    points, ones = transform(rows), np.ones((len(target), 1))
    base = BaseKernel(points, transform.n_curve_columns)
    # Columns 0..n - 1 of a factor are the curves', the others the configurations'.
    factors, linear, n = rational_quadratics(base.distances(points)), base.linear(points), len(points)
    errors = [[_relative_error(KernelSpectrum(c[:, :n] * h[:, n:] + linear), remainders) for h in factors] for c in factors]
    weights = width_weights(np.array(errors))  # eq. (12)
    kernel = MixtureKernel(base, weights)(points)
    spectrum = KernelSpectrum(kernel)
    chosen = [choose_component_settings(kernel, spectrum, of_last, of_target) for of_last, of_target in parts]
    # The gate and the noise head need the components' left-out predictions, so they are solved here already.
    healthy, diverged = (
        Component(kernel, *parts[0], chosen[0]),
        Component(kernel, *parts[1], chosen[1]) if len(parts) == 2 else None,
    )
    gate = _best_gate(target, healthy, diverged) if diverged is not None else 0.0
    noise, _ = noise_target(left_out_errors(target, healthy, diverged, gate), healthy.correction.variances)
    noise_ridge, _ = best_ridge(spectrum, ones, noise)
    score_ridge, _ = best_ridge(spectrum, _line(NormalScale.of(rows.values[:, -1])(rows.values[:, -1])), normal_scores(finals))
    return Settings(transform, weights, chosen[0], chosen[1] if diverged is not None else None, gate, noise_ridge, score_ridge)


def _relative_error(spectrum: KernelSpectrum, remainders: list[Array]) -> float:
    """Return the left-out mean squared error over the variance, averaged over the parts."""
    ones = np.ones((len(remainders[0]), 1))
    return float(np.mean([best_ridge(spectrum, ones, r)[1] / max(float(r.var()), 1e-300) for r in remainders]))


def _best_gate(target: Array, healthy: Component, diverged: Component) -> float:
    """Return the highest of GATES whose left-out mean squared error is within GATE_COST of the least, eq. (21)."""
    errors = [float(np.mean(left_out_errors(target, healthy, diverged, gate) ** 2)) for gate in GATES]
    return max(gate for gate, error in zip(GATES, errors, strict=True) if error <= GATE_COST * min(errors))


def normal_scores(values: Array) -> Array:
    """Return `(n,)` standard normal quantiles of the values' ranks, eq. (27); ties share theirs.

    Args:
        values: `(n,)` of which only the order matters.
    """
    from scipy.stats import rankdata  # slow to load, and only fits need it

    scores: Array = ndtri((rankdata(values) - 0.5) / len(values))
    return scores


def small_sample_factor(n: int) -> float:
    """Return by how much sigma is inflated for n training curves, eq. (25).

    The first factor is for the four settings learnt. The second, for leave-one-out errors that chose them, is about what
    nominal 95 % intervals needed with 10 to 70 curves (14 sets, splits 200-202).

    Args:
        n: Number of training curves, >= 1.

    Returns:
        At least 1, and 1 in the limit.
    """
    return float(np.sqrt((n + 1) / max(n - 4, 1))) * (1 + 1.6 / (1 + (n / 25) ** 3))


def _line(x: Array) -> Array:
    """Return `(n, 2)`: 1 and x, the trend of a straight line."""
    return np.stack([np.ones(len(x)), x], axis=1)


def _selection_subset(rows: Rows, finals: Array) -> tuple[Rows, Array]:
    """Return at most SELECTION_ROWS of the rows, evenly spread over the final values, with those values."""
    if len(finals) <= SELECTION_ROWS:
        return rows, finals
    order = np.argsort(finals, kind="stable")
    chosen = np.sort(order[np.linspace(0, len(order) - 1, SELECTION_ROWS).round().astype(int)])
    return rows[chosen], finals[chosen]
