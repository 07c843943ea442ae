"""The stacked kernel model of one observed length tau: how a curve of tau epochs ends, how surely, and with which rank.

Three heads on one kernel: the final value (around a calibrated last value), the logarithm of its squared error (so that
sigma is each configuration's own) and its normal score (for ranking only).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from curvestop.srm.compact import ValueScale
from curvestop.srm.features import Array
from curvestop.srm.kernel_ridge import Fit, loo_path, solve
from curvestop.srm.mixture import Kernel, Mixture, Rows, View, single_widths, width_weights

SELECTION_ROWS = 200
"""Most rows that settings are chosen on; the model itself is solved on all."""
NOISE_FLOOR = 0.05
"""Relative error below which errors count as equally small when their size is learnt."""


@dataclass(frozen=True)
class Settings:
    """What a search finds and a refit keeps.

    weights: `(2, 3)` of the length scales. ridges: of the three heads. share: of the kernel model against the calibrated last
    value alone, in [0, 1].
    """

    view: View
    weights: Array
    ridges: tuple[float, float, float]
    share: float


@dataclass(frozen=True)
class Answer:
    """For m curves: mean and sigma in the metric, `(m,)` each."""

    mean: Array
    sigma: Array


class CheckpointModel:
    """A fitted model, never changed afterwards.

    residuals_: `(n,)` leave-one-out residuals of the final value in the metric; standardised_: the same over their sigma.
    r2_: of the left-out predictions; at most 1.
    """

    def __init__(self, rows: Rows, finals: Array, settings: Settings | None = None) -> None:
        """finals: `(n,)` in the metric. settings: those of an earlier model, to solve at once without a search."""
        self.tau, self.n_curves = rows.values.shape[1], len(finals)
        self.settings = settings if settings is not None else choose_settings(*_spread_rows(rows, finals))
        self._solve(rows, finals)

    def answer(self, rows: Rows) -> Answer:
        settings, scale = self.settings, self.settings.view.scale
        points = settings.view(rows)
        kernel = self._kernel(points)
        trend = settings.view.trend(rows)
        heads = kernel @ self._alphas
        last = trend[:, 0]
        mean = heads[:, 0] + trend @ self._beta + self._level
        # Within the training range, or as far out as the curve already is: a run worse than all in training may stay so.
        mean = np.minimum(np.maximum(mean, np.minimum(last, self._least)), np.maximum(last, self._most))
        projected = kernel @ self._inverse + self._border  # k' B k + 2 b'k + c, B without its last row and column
        explained = np.vecdot(projected, kernel) + kernel @ self._border + self._corner
        variance = np.maximum(Kernel.diagonal(points) + settings.ridges[0] - explained, self._least_variance)
        noise = np.minimum(np.maximum(heads[:, 1] + self._noise_level, self._noise_range[0]), self._noise_range[1])
        sigma = np.exp(noise) * np.sqrt(variance)
        return Answer(mean * scale.unit + scale.middle, sigma * (self._calibration * scale.unit))

    def scores(self, rows: Rows) -> Array:
        """`(m,)` expected normal score of the final value among the training curves."""
        kernel = self._kernel(self.settings.view(rows))
        scores: Array = kernel @ self._alphas[:, 2] + _score_trend(rows.values[:, -1], self._lasts) @ self._score_beta
        return scores

    def _solve(self, rows: Rows, finals: Array) -> None:
        settings, scale = self.settings, self.settings.view.scale
        target = scale.units(finals)
        self._least, self._most = float(target.min()), float(target.max())
        points, trend = settings.view(rows), settings.view.trend(rows)
        self._kernel = Mixture(Kernel(points, settings.view.n_curve), settings.weights)
        kernel = self._kernel(points)
        plain, surprise, plain_residuals = _least_squares(trend, target)
        ones = np.ones((len(target), 1))
        value = solve(kernel, ones, surprise, settings.ridges[0])
        errors = _mixed_residuals(target, value.residuals, plain_residuals, settings.share)
        noise_target, self._noise_level = _noise_target(errors, value.variances)
        noise = solve(kernel, ones, noise_target - self._noise_level, settings.ridges[1])
        self._noise_range = (float(noise_target.min()), float(noise_target.max()))
        left_out = np.clip(noise_target - noise.residuals, *self._noise_range)
        spread = np.exp(left_out) * np.sqrt(value.variances)
        self._calibration = small_sample_factor(len(target)) * float(np.sqrt(np.mean((errors / spread) ** 2)))
        self._lasts = np.sort(rows.values[:, -1])
        score = solve(kernel, _score_trend(rows.values[:, -1], self._lasts), normal_scores(finals), settings.ridges[2])
        self._keep(value, noise, score, plain)
        self.left_out_scores_ = normal_scores(finals) - score.residuals
        spread_of_targets = float(np.sum((target - target.mean()) ** 2))
        self.r2_ = 1.0 - float(errors @ errors) / spread_of_targets if spread_of_targets > 0 else 0.0
        self.residuals_ = errors * scale.unit
        self.standardised_ = errors / np.maximum(spread * self._calibration, 1e-300)

    def _keep(self, value: Fit, noise: Fit, score: Fit, plain: Array) -> None:
        n, share = self.n_curves, self.settings.share
        self._alphas = np.column_stack([share * value.coefficients[:n], noise.coefficients[:n], score.coefficients[:n]])
        self._beta, self._level = plain[1:], float(plain[0] + share * value.coefficients[n])
        self._noise_level += float(noise.coefficients[n])
        self._score_beta = score.coefficients[n:]
        self._inverse = np.ascontiguousarray(value.inverse[:n, :n])
        self._border, self._corner = value.inverse[:n, n].copy(), float(value.inverse[n, n])
        self._least_variance = 1e-9 * self.settings.ridges[0]


def choose_settings(rows: Rows, finals: Array) -> Settings:
    """Length scales, ridges and the kernel's share, all by closed-form leave-one-out."""
    scale = ValueScale.of(finals)
    target, last = scale.units(finals), scale.units(rows.values[:, -1:])
    trend = last if rows.prior is None else np.concatenate([last, scale.units(rows.prior)], axis=1)
    ones = np.ones_like(last)
    _, surprise, plain = _least_squares(trend, target)
    view = View.of(rows, scale, surprise)
    points = view(rows)
    kernel_of = Kernel(points, view.n_curve)
    factors, linear, n = single_widths(kernel_of.distances(points)), kernel_of.linear(points), len(points)
    errors = [[_best_ridge(c[:, :n] * h[:, n:] + linear, ones, surprise)[1] for h in factors] for c in factors]
    weights = width_weights(np.array(errors))
    kernel = Mixture(kernel_of, weights)(points)
    ridge, _ = _best_ridge(kernel, ones, surprise)
    value = solve(kernel, ones, surprise, ridge)
    share = _best_share(target, value.residuals, plain)
    noise, _ = _noise_target(_mixed_residuals(target, value.residuals, plain, share), value.variances)
    noise_ridge, _ = _best_ridge(kernel, ones, noise)
    score_trend = _score_trend(rows.values[:, -1], np.sort(rows.values[:, -1]))
    score_ridge, _ = _best_ridge(kernel, score_trend, normal_scores(finals))
    return Settings(view, weights, (ridge, noise_ridge, score_ridge), share)


def normal_scores(values: Array) -> Array:
    """`(n,)` -> the standard normal quantile of each value's rank; ties share theirs."""
    scores: Array = ndtri((rankdata(values) - 0.5) / len(values))
    return scores


def small_sample_factor(n: int) -> float:
    """By how much sigma is inflated for n training curves: four settings learnt, and leave-one-out errors that chose them."""
    return float(np.sqrt((n + 1) / max(n - 4, 1))) * (1 + 3 / n)


def _score_trend(last: Array, lasts: Array) -> Array:
    """`(m, 2)`: 1 and the normal score of a last value among the sorted ones of training."""
    n = len(lasts)
    position = (np.searchsorted(lasts, last, "left") + np.searchsorted(lasts, last, "right")) / (2 * n)
    return np.stack([np.ones(len(last)), ndtri(np.clip(position, 0.5 / n, 1 - 0.5 / n))], axis=1)


def _best_ridge(kernel: Array, trend: Array, target: Array) -> tuple[float, float]:
    """The ridge whose predictions of left-out rows, kept within the training range, err least; and that mean squared error."""
    path = loo_path(kernel, trend, target)
    predicted = np.clip(target[:, None] - path.residuals, target.min(), target.max())
    errors = ((target[:, None] - predicted) ** 2).mean(axis=0)
    best = int(np.argmin(errors))
    return float(path.ridges[best]), float(errors[best])


def _least_squares(trend: Array, target: Array) -> tuple[Array, Array, Array]:
    """With a constant: coefficients `(1 + q,)` of minimum norm, residuals and closed-form leave-one-out residuals `(n,)`."""
    design = np.concatenate([np.ones((len(trend), 1)), trend], axis=1)
    pseudo_inverse = np.linalg.pinv(design)
    coefficients = pseudo_inverse @ target
    leverage = np.minimum(np.einsum("ij,ji->i", design, pseudo_inverse), 1.0 - 1e-6)
    residuals = target - design @ coefficients
    return coefficients, residuals, residuals / (1.0 - leverage)


def _best_share(target: Array, kernel: Array, plain: Array) -> float:
    """Weight of the kernel's left-out predictions against the plain ones, by least squares; residuals `(n,)` each."""
    kernel, plain = (np.clip(r, target - target.max(), target - target.min()) for r in (kernel, plain))
    difference = kernel - plain
    norm = float(difference @ difference)
    return float(np.clip(-(difference @ plain) / norm, 0.0, 1.0)) if norm > 0 else 1.0


def _mixed_residuals(target: Array, kernel: Array, plain: Array, share: float) -> Array:
    """Residuals of the mixture, its predictions kept within the training range."""
    return np.clip(share * kernel + (1 - share) * plain, target - target.max(), target - target.min())


def _noise_target(errors: Array, variances: Array) -> tuple[Array, float]:
    """Half the logarithm of each squared error relative to what the kernel expects, `(n,)`, and its mean."""
    relative = errors**2 / variances
    typical = max(float(relative.mean()), 1e-300)
    target: Array = 0.5 * np.log(relative / typical + NOISE_FLOOR**2)
    return target, float(target.mean())


def _spread_rows(rows: Rows, finals: Array) -> tuple[Rows, Array]:
    """At most SELECTION_ROWS of the rows, spread over the final values."""
    if len(finals) <= SELECTION_ROWS:
        return rows, finals
    order = np.argsort(finals, kind="stable")
    chosen = np.sort(order[np.linspace(0, len(order) - 1, SELECTION_ROWS).round().astype(int)])
    return rows[chosen], finals[chosen]
