"""Learning-curve extrapolation: a convex combination of 11 parametric families, sampled by MCMC for each partial curve.

Domhan, Springenberg and Hutter 2015, "Speeding up automatic hyperparameter optimization of deep neural networks by
extrapolation of learning curves", section 3. Needs the extra `[lce]` (emcee). It learns nothing from other curves but
the horizon and the scale of the metric.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction, normal_cdf
from curvestop.srm.predictors.lce_families import FAMILIES, Family
from curvestop.srm.predictors.unit_scale import UnitScale
from curvestop.srm.regression.features import Array

try:
    import emcee
except ImportError as error:
    raise ImportError("the predictor 'lce' needs emcee: pip install 'curvestop[lce]'") from error

logger = logging.getLogger(__name__)

SIGMA_LOW, SIGMA_HIGH = 1e-3, 1.0
"""Box of the noise: without a floor the posterior of a curve that a family fits exactly has no maximum."""
WEIGHT_LOW = 1e-6
ROUNDING = 1e-9
FLAT = Family("flat", lambda x, level: level + 0 * x, (0.5,), (-1,), (2,))
"""Stands in when no family that fits the curve is supported by the prior, as for a falling curve."""


@dataclass(frozen=True)
class Posterior:
    """Samples of a final value.

    means: `(samples,)` f_comb(T | xi_s) in unit scale. sigmas: `(samples,)` noise of each sample, > 0.
    scale: from there to the study's metric.
    """

    means: Array
    sigmas: Array
    scale: UnitScale

    def probability_above(self, value: float) -> float:
        """P(y_T > value), value in the metric, averaged over the samples (Domhan et al., section 3.4)."""
        margins = (self.means - self.scale.to_unit(value)) * math.copysign(1, self.scale.unit)
        return float(np.mean([normal_cdf(m, s) for m, s in zip(margins, self.sigmas, strict=True)]))

    def prediction(self) -> Prediction:
        """Mean, and the spread of the samples plus their noise."""
        sigma = math.sqrt(self.means.var() + np.mean(self.sigmas**2))
        return Prediction(float(self.scale.from_unit(self.means.mean())), self.scale.width(sigma))


class LearningCurveExtrapolation:
    """The predictor "LCE" of the thesis: no training curves are needed but one to know the horizon and the scale.

    n_walkers, n_steps, burn_in: of the ensemble sampler, 100 walkers at least; the paper has 100, 2,500 and 500.
    max_points: observed epochs used, evenly spread when there are more.
    direction: None learns it from the way most training curves go.
    seed: of the sampler; every prediction starts from it, so the order of predictions changes nothing.
    """

    def __init__(
        self,
        *,
        n_walkers: int = 100,
        n_steps: int = 1000,
        burn_in: int = 300,
        max_points: int = 64,
        direction: Direction | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= burn_in < n_steps:
            raise ValueError(f"burn_in must be >= 0 and less than n_steps, but got {burn_in=}, {n_steps=}")
        self.n_walkers, self.n_steps, self.burn_in, self.max_points = n_walkers, n_steps, burn_in, max_points
        self.direction, self.seed = direction, seed

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Learn the horizon (the longest curve) and the scale; without curves nothing can be predicted."""
        self.horizon_ = max((len(c.values) for c in curves), default=0)
        self.scale_ = UnitScale.of(curves, self.direction) if curves else None
        return self

    def predict(self, curve: LearningCurve) -> Prediction | None:
        posterior = self.posterior(curve)
        return None if posterior is None else posterior.prediction()

    def posterior(self, curve: LearningCurve) -> Posterior | None:
        """Samples of the final value of a partial curve of 1..T - 1 epochs; None for other lengths."""
        tau = len(curve.values)
        if self.scale_ is None or not 0 < tau < self.horizon_:
            return None
        kept = np.unique(np.linspace(0, tau - 1, min(tau, self.max_points)).round().astype(int))
        model = CombinedCurve(kept + 1.0, self.scale_.to_unit(curve.values)[kept], self.horizon_)
        thetas = self._sample(model)
        return Posterior(model.final_values(thetas), model.sigmas(thetas), self.scale_)

    def _sample(self, model: CombinedCurve) -> Array:
        """`(samples, dimension)`, about 1,000 of them."""
        rng = np.random.default_rng(self.seed)
        start = model.start()
        n_walkers = max(self.n_walkers, 2 * len(start) + 2)
        walkers = scattered(start, model, n_walkers, rng)
        moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]  # stretch moves hardly mix in 48 dimensions
        sampler = emcee.EnsembleSampler(n_walkers, len(start), model.log_posterior, vectorize=True, moves=moves)
        state = np.random.RandomState(self.seed).get_state()
        sampler.run_mcmc(emcee.State(walkers, random_state=state), self.n_steps, skip_initial_state_check=True)
        logger.debug("accepted %.2f of the proposals", float(np.mean(sampler.acceptance_fraction)))
        thin = max(1, n_walkers * (self.n_steps - self.burn_in) // 1000)
        samples: Array = sampler.get_chain(discard=self.burn_in, flat=True)[::thin]
        return samples


class CombinedCurve:
    """The model of one partial curve: y_t ~ N(sum_k w_k f_k(t | theta_k), sigma^2), equations 1-3.

    epochs, values: `(n,)` observed, values in unit scale. horizon: T.
    A state is the families' parameters, then sigma, then one weight a family: `(dimension,)`.
    """

    def __init__(self, epochs: Array, values: Array, horizon: int) -> None:
        self.values = values
        self._epochs = np.concatenate([epochs, [1.0, float(horizon)]])
        # The final value lies where training's lie, or where the curve already went.
        self._final_low, self._final_high = min(0.0, values.min()), max(1.0, values.max())
        self._fit_families(epochs)

    def _fit_families(self, epochs: Array) -> None:
        """Least squares a family; those whose fit the prior does not support are left out, as the authors' code does."""
        self.families: list[Family] = []
        fits: list[Array] = []
        for family in FAMILIES:
            theta = fit_family(family, epochs, self.values)
            if self._is_supported(family.function(self._epochs[-2:], *theta)[None])[0]:
                self.families.append(family)
                fits.append(theta)
        if not self.families:
            self.families, fits = [FLAT], [self.values.mean(keepdims=True)]
        self._slices, end = [], 0
        for family in self.families:
            self._slices.append(slice(end, end := end + family.n_parameters))
        self._sigma, n_families = end, len(self.families)
        self._fits = fits
        ends = [(SIGMA_LOW, SIGMA_HIGH)] + [(WEIGHT_LOW, 1.0)] * n_families
        self.low = np.array([b for f in self.families for b in f.low] + [b for b, _ in ends])
        self.high = np.array([b for f in self.families for b in f.high] + [b for _, b in ends])

    def start(self) -> Array:
        """The least-squares fits with equal weights: `(dimension,)`, inside the prior."""
        n_families = len(self.families)
        theta = np.concatenate([*self._fits, [0.1], np.full(n_families, 1 / n_families)])
        error = math.sqrt(np.mean((self._combined(theta[None])[0, :-2] - self.values) ** 2))
        theta[self._sigma] = max(error, 2 * SIGMA_LOW)
        return np.asarray(np.clip(theta, self.low, self.high))

    def log_posterior(self, thetas: Array) -> Array:
        """`(walkers, dimension)` -> `(walkers,)`, up to a constant; minus infinity outside the prior, never NaN.

        The prior is uniform in the boxes where f_comb(1) <= f_comb(T) and f_comb(T) is a possible metric, equation 3.
        """
        inside = np.all((self.low <= thetas) & (thetas <= self.high), axis=1)
        thetas = np.clip(thetas, self.low, self.high)
        combined, sigmas = self._combined(thetas), self.sigmas(thetas)
        squares = np.sum((combined[:, :-2] - self.values) ** 2, axis=1)
        log_likelihood = -0.5 * squares / sigmas**2 - len(self.values) * np.log(sigmas)
        return np.where(inside & self._is_supported(combined[:, -2:]), log_likelihood, -np.inf)

    def final_values(self, thetas: Array) -> Array:
        """f_comb(T): `(walkers,)`."""
        return self._combined(thetas)[:, -1]

    def sigmas(self, thetas: Array) -> Array:
        sigmas: Array = thetas[:, self._sigma]
        return sigmas

    def _combined(self, thetas: Array) -> Array:
        """f_comb at the observed epochs, at 1 and at T: `(walkers, n + 2)`; the weights are made to sum to 1."""
        weights = thetas[:, self._sigma + 1 :]
        weights = weights / weights.sum(axis=1, keepdims=True)
        total = np.zeros((len(thetas), len(self._epochs)))
        for k, (family, where) in enumerate(zip(self.families, self._slices, strict=True)):
            total += weights[:, [k]] * family.function(self._epochs, *thetas.T[where, :, None])
        return total

    def _is_supported(self, ends: Array) -> npt.NDArray[np.bool_]:
        """Of f(1) and f(T), `(walkers, 2)`."""
        first, final = ends.T
        possible = (self._final_low - ROUNDING <= final) & (final <= self._final_high + ROUNDING)
        return np.asarray((first <= final + ROUNDING) & possible)


def fit_family(family: Family, epochs: Array, values: Array) -> Array:
    """Least-squares parameters within the family's box: `(n_parameters,)`."""

    def residuals(theta: Array) -> Array:
        return family.function(epochs, *theta) - values

    fit = least_squares(
        residuals,
        family.start,
        bounds=(family.low, family.high),
        x_scale=np.maximum(np.abs(family.start), 0.1),
        max_nfev=50,
    )
    return np.asarray(fit.x)


def scattered(start: Array, model: CombinedCurve, n_walkers: int, rng: np.random.Generator) -> Array:
    """`(n_walkers, dimension)` around `start`, all inside the prior: those outside move halfway back until they are in."""
    away = 0.05 * rng.standard_normal((n_walkers, len(start))) * np.maximum(np.abs(start), 0.01)
    for _ in range(30):
        walkers = np.clip(start + away, model.low, model.high)
        outside = ~np.isfinite(model.log_posterior(walkers))
        if not outside.any():
            return np.asarray(walkers)
        away[outside] /= 2
    return np.where(outside[:, None], start, walkers)
