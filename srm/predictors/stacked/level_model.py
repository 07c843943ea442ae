"""The stacked kernel model of one observed length tau: how a curve of tau epochs ends, how surely, and with which rank.

Heads on one kernel: the final value (around a calibrated last value), the logarithm of its squared error (so that
sigma is each configuration's own) and its normal score (for ranking only).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
import scipy  # its `special` loads when it is first used: a client that only checks settings never pays for it

from curvestop.srm.curve import Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.components import (
    Component,
    ComponentSettings,
    best_ridge,
    choose_component,
    gated,
    least_squares,
    left_out_errors,
    noise_target,
)
from curvestop.srm.predictors.stacked.curve_summary import ValueScale
from curvestop.srm.predictors.stacked.mixture_kernel import Kernel, Mixture, Rows, RowTransform, single_widths, width_weights
from curvestop.srm.predictors.stacked.scalar_or_array import Numbers, exponential, larger, smaller
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_ridge import KernelRidgeFit, KernelSpectrum, solve

SELECTION_ROWS = 200
"""Most rows that settings are chosen on; the model itself is solved on all."""
NOISE_PRIOR = 10.0
"""How many curves the prior is worth that the error of all curves is alike."""
GATES, GATE_COST = (0.0, 0.25, 0.5, 1.0, 2.0), 1.01


@dataclass(frozen=True)
class Settings:
    """What a search finds and a refit keeps.

    weights: `(2, 3)` of the length scales. healthy, broken: of the two parts of the final value; broken is None when no
    training run is. noise_ridge, score_ridge: of the other heads. gate: in units, the least broken part that is believed.
    """

    view: RowTransform
    weights: Array
    healthy: ComponentSettings
    broken: ComponentSettings | None
    gate: float
    noise_ridge: float
    score_ridge: float


@dataclass(frozen=True)
class Answer:
    """For m curves: mean and sigma in the metric, `(m,)` each."""

    mean: Array
    sigma: Array


class LevelModel:
    """A fitted model, never changed afterwards.

    residuals_: `(n,)` leave-one-out residuals of the final value in the metric; standardised_: the same over their sigma.
    left_out_scores_: `(n,)` what `scores` would say of each training row without it. r2_: of left-out predictions; at most 1.
    """

    def __init__(self, rows: Rows, finals: Array, direction: Direction, settings: Settings | None = None) -> None:
        """finals: `(n,)` in the metric. settings: those of an earlier model, to solve at once without a search."""
        self.tau, self.n_curves = rows.values.shape[1], len(finals)
        self.settings = settings if settings is not None else choose_settings(*_spread_rows(rows, finals), direction)
        self._solve(rows, finals)

    def answer(self, rows: Rows) -> Answer:
        return self.answer_and_score(rows)[0]

    def answer_and_score(self, rows: Rows) -> tuple[Answer, Array]:
        """Also the scores, `(m,)`, but for their trend (see `score_of`)."""
        variance, heads = self._of_kernel(rows)
        of_kernel, *of_value = heads.T
        return Answer(*self._answer(rows.values[:, -1], variance, *of_value)), of_kernel

    def answer_one(self, row: Rows) -> tuple[Prediction, float]:
        """The same of a single curve, in less time, and its score but for the score's trend (see `score_of`)."""
        variance, heads = self._of_kernel(row)
        of_kernel, *of_value = heads[0].tolist()
        return Prediction(*self._answer(row.values[0, -1].item(), variance.item(), *of_value)), of_kernel

    def score_of(self, of_kernel: float, last: float) -> float:
        """The score of a single curve with this last value."""
        n = len(self._lasts)
        position = (bisect_left(self._lasts, last) + bisect_right(self._lasts, last)) / (2 * n)
        level, slope = map(float, self._score_beta)
        return of_kernel + level + slope * float(scipy.special.ndtri(min(max(position, 0.5 / n), 1 - 0.5 / n)))

    def _of_kernel(self, rows: Rows) -> tuple[Array, Array]:
        """`(m,)` variances that the kernel leaves, but for b and c; `(m, heads)` products with the heads, the score's first."""
        points = self.settings.view(rows)
        kernel, n = self._kernel(points), self.n_curves
        heads = kernel @ self._heads
        variance = Kernel.diagonal(points)
        variance -= np.vecdot(heads[:, :n], kernel)  # k' B k + 2 b'k + c, B without its last row and column
        return variance, heads[:, n : n + self._n_heads]

    def _answer(
        self, last: Numbers, variance: Numbers, twice_b: Numbers, healthy: Numbers, noise: Numbers, broken: Numbers | None = None
    ) -> tuple[Numbers, Numbers]:
        """Mean and sigma in the metric, from the last value in the metric and the products with the kernel."""
        scale, last = self.settings.view.scale, self.settings.view.scale.units(last)
        near = last if self._broken is None else scale.healthy(last)
        mean = self._healthy(healthy, near)
        if self._broken is not None and broken is not None:
            mean = mean + gated(self._broken(broken, last - near), self.settings.gate)
        variance = larger(variance - twice_b + self._unexplained, self._least_variance)
        noise = exponential(smaller(larger(noise, self._noise_range[0]), self._noise_range[1]))
        return mean * scale.unit + scale.middle, variance**0.5 * noise * self._sigma_unit

    def scores(self, rows: Rows) -> Array:
        """`(m,)` expected normal score of the final value among the training curves."""
        kernel = self._kernel(self.settings.view(rows))
        scores: Array = kernel @ self._score_alpha + _score_trend(rows.values[:, -1], self._lasts) @ self._score_beta
        return scores

    def _solve(self, rows: Rows, finals: Array) -> None:
        settings, scale = self.settings, self.settings.view.scale
        target, last = scale.units(finals), scale.units(rows.values[:, -1])
        points = settings.view(rows)
        near_target, near = (target, last) if settings.broken is None else (scale.healthy(target), scale.healthy(last))
        self._kernel = Mixture(Kernel(points, settings.view.n_curve), settings.weights)
        kernel = self._kernel(points)
        self._healthy = healthy = Component(kernel, near, near_target, settings.healthy)
        self._broken = Component(kernel, last - near, target - near_target, settings.broken) if settings.broken else None
        errors = left_out_errors(target, healthy, self._broken, settings.gate)
        noise = self._solve_noise(kernel, errors, healthy.fit)
        self._lasts = np.sort(rows.values[:, -1])
        score = solve(kernel, _score_trend(rows.values[:, -1], self._lasts), normal_scores(finals), settings.score_ridge)
        n, inverse = self.n_curves, healthy.fit.inverse
        self._score_alpha, self._score_beta = score.coefficients[:n], score.coefficients[n:]
        # What a query's kernel is multiplied by, in one product: (n, n + 4), (n, n + 5) with a broken part.
        alphas = [healthy.alpha, noise, *([self._broken.alpha] if self._broken else [])]
        heads = np.column_stack([inverse[:n, :n], self._score_alpha, 2 * inverse[:n, n], *alphas])
        self._n_heads = heads.shape[1] - n
        self._heads = np.pad(heads, ((0, 0), (0, -heads.shape[1] % 8)))  # products of whole blocks of columns are faster
        self._unexplained = settings.healthy.ridge - float(inverse[n, n])
        self._least_variance = 1e-9 * settings.healthy.ridge
        self.left_out_scores_ = normal_scores(finals) - score.residuals
        total = float(np.sum((target - target.mean()) ** 2))
        self.r2_ = 1.0 - float(errors @ errors) / total if total > 0 else 0.0
        self.residuals_ = errors * scale.unit

    def _solve_noise(self, kernel: Array, errors: Array, value: KernelRidgeFit) -> Array:
        """Weights of the errors' size, and the factor that makes the left-out errors' mean square what sigma says."""
        target, level = noise_target(errors, value.variances)
        n, least, most = len(target), float(target.min()), float(target.max())
        noise, share = solve(kernel, np.ones((n, 1)), target - level, self.settings.noise_ridge), n / (n + NOISE_PRIOR)
        left_out = level + share * (target - level - noise.residuals)
        spread = np.exp(np.clip(left_out, least, most)) * np.sqrt(value.variances)
        calibration = small_sample_factor(n) * float(np.sqrt(np.mean((errors / spread) ** 2)))
        self.standardised_ = errors / np.maximum(spread * calibration, 1e-300)
        constant = level + share * float(noise.coefficients[-1])  # left out of a query's sum, so out of its range too
        self._noise_range = least - constant, most - constant
        self._sigma_unit = math.exp(constant) * calibration * self.settings.view.scale.unit
        return share * noise.coefficients[:n]


def choose_settings(rows: Rows, finals: Array, direction: Direction) -> Settings:
    """Length scales, ridges and the kernel's share, all by closed-form leave-one-out."""
    scale = ValueScale.of(finals, direction)
    target, last = scale.units(finals), scale.units(rows.values[:, -1])
    near_target, near = scale.healthy(target), scale.healthy(last)
    parts = [(last, target)]
    if np.any(target != near_target):
        parts = [(near, near_target), (last - near, target - near_target)]
    surprises = [least_squares(of_last, of_target)[1] for of_last, of_target in parts]
    view = RowTransform.of(rows, scale, surprises[0])
    points, ones = view(rows), np.ones((len(target), 1))
    kernel_of = Kernel(points, view.n_curve)
    factors, linear, n = single_widths(kernel_of.distances(points)), kernel_of.linear(points), len(points)
    errors = [[_relative_error(KernelSpectrum(c[:, :n] * h[:, n:] + linear), surprises) for h in factors] for c in factors]
    weights = width_weights(np.array(errors))
    kernel = Mixture(kernel_of, weights)(points)
    spectrum = KernelSpectrum(kernel)
    chosen = [choose_component(kernel, spectrum, of_last, of_target) for of_last, of_target in parts]
    healthy, broken = (
        Component(kernel, *parts[0], chosen[0]),
        Component(kernel, *parts[1], chosen[1]) if len(parts) == 2 else None,
    )
    gate = _best_gate(target, healthy, broken) if broken is not None else 0.0
    noise, _ = noise_target(left_out_errors(target, healthy, broken, gate), healthy.fit.variances)
    noise_ridge, _ = best_ridge(spectrum, ones, noise)
    score_trend = _score_trend(rows.values[:, -1], np.sort(rows.values[:, -1]))
    score_ridge, _ = best_ridge(spectrum, score_trend, normal_scores(finals))
    return Settings(view, weights, chosen[0], chosen[1] if broken is not None else None, gate, noise_ridge, score_ridge)


def _relative_error(spectrum: KernelSpectrum, surprises: list[Array]) -> float:
    """Left-out mean squared error over the variance, mean over the parts."""
    ones = np.ones((len(surprises[0]), 1))
    return float(np.mean([best_ridge(spectrum, ones, s)[1] / max(float(s.var()), 1e-300) for s in surprises]))


def _best_gate(target: Array, healthy: Component, broken: Component) -> float:
    """The highest of a few gates whose left-out mean squared error is within GATE_COST of the least."""
    errors = [float(np.mean(left_out_errors(target, healthy, broken, gate) ** 2)) for gate in GATES]
    return max(gate for gate, error in zip(GATES, errors, strict=True) if error <= GATE_COST * min(errors))


def normal_scores(values: Array) -> Array:
    """`(n,)` -> the standard normal quantile of each value's rank; ties share theirs."""
    from scipy.stats import rankdata  # slow to load, and only fits need it

    scores: Array = scipy.special.ndtri((rankdata(values) - 0.5) / len(values))
    return scores


def small_sample_factor(n: int) -> float:
    """By how much sigma is inflated for n training curves: four settings learnt, and leave-one-out errors that chose them.

    The second factor is about what nominal 95 % intervals needed with 10 to 70 curves (14 sets, splits 200-202).
    """
    return float(np.sqrt((n + 1) / max(n - 4, 1))) * (1 + 1.6 / (1 + (n / 25) ** 3))


def _score_trend(last: Array, lasts: Array) -> Array:
    """`(m, 2)`: 1 and the normal score of a last value among the sorted ones of training."""
    n = len(lasts)
    position = (np.searchsorted(lasts, last, "left") + np.searchsorted(lasts, last, "right")) / (2 * n)
    return np.stack([np.ones(len(last)), scipy.special.ndtri(np.clip(position, 0.5 / n, 1 - 0.5 / n))], axis=1)


def _spread_rows(rows: Rows, finals: Array) -> tuple[Rows, Array]:
    """At most SELECTION_ROWS of the rows, spread over the final values."""
    if len(finals) <= SELECTION_ROWS:
        return rows, finals
    order = np.argsort(finals, kind="stable")
    chosen = np.sort(order[np.linspace(0, len(order) - 1, SELECTION_ROWS).round().astype(int)])
    return rows[chosen], finals[chosen]
