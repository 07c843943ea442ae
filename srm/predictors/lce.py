"""Extrapolate a learning curve by a convex combination of 11 parametric families, sampled by MCMC for each partial curve.

Domhan, Springenberg and Hutter 2015, "Speeding up automatic hyperparameter optimization of deep neural networks by
extrapolation of learning curves", section 3; the equation numbers are the paper's. Needs the extra `[lce]` (emcee). From
other curves it learns only their length and the scale of the metric.
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
from curvestop.srm.grid import MOST_POINTS
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.lce_families import FAMILIES, Family
from curvestop.srm.predictors.unit_scale import UnitScale
from curvestop.srm.regression.features import Array

try:
    import emcee
except ImportError as error:
    raise ImportError("the predictor 'lce' needs emcee: pip install 'curvestop[lce]'") from error

logger = logging.getLogger(__name__)

MOST_STATES = 500_000
"""Largest number of states of all walkers, which are kept in memory until a prediction is made."""
SIGMA_LOW, SIGMA_HIGH = 1e-3, 1.0
"""Box of the noise: without a floor the posterior of a curve that a family fits exactly has no maximum."""
WEIGHT_LOW = 1e-6
"""Least weight of a family, so that their sum is not 0."""
ROUNDING_TOLERANCE = 1e-9
"""The prior's inequalities hold within this, as a flat curve meets them with equality."""
FLAT_FAMILY = Family("flat", lambda x, level: level + 0 * x, (0.5,), (-1,), (2,))
"""The only family of a curve, such as a falling one, for which the prior supports no other."""


@dataclass(frozen=True)
class Posterior:
    """Samples of a final value.

    Attributes:
        means: `(samples,)` f_comb(T | xi_s), on the unit scale.
        sigmas: `(samples,)` noise of each sample, on the unit scale, > 0.
        scale: From the unit scale to the metric.
    """

    means: Array
    sigmas: Array
    scale: UnitScale

    def prediction(self) -> Prediction:
        """Return the normal distribution of the samples' mean, and of the variance of the samples plus that of their noise."""
        sigma = math.sqrt(self.means.var() + np.mean(self.sigmas**2))
        return Prediction(float(self.scale.from_unit(self.means.mean())), self.scale.sigma_from_unit(sigma))


class LearningCurveExtrapolation:
    """Predict a final value from the partial curve alone (the predictor "LCE" of the thesis).

    One complete curve is enough to fit it; it gives the length and the scale.

    Args:
        n_walkers: Walkers of the ensemble sampler; more are used where the dimension needs them. The paper has 100.
        n_steps: Steps of each walker. The paper has 2,500.
        burn_in: First steps that are dropped, in [0, n_steps). The paper has 500.
        max_points: Observed epochs used at most, evenly spread over the curve.
        direction: Which values are the good ones; None (default) takes the direction in which most curves went.
        seed: Seed of the sampler; every prediction starts from it, so the order of predictions changes nothing.

    Attributes:
        max_epochs_: After `fit`: T, the length of the longest curve.
        scale_: After `fit`: the unit scale; None without curves.

    Raises:
        ValueError: If burn_in is negative or not less than n_steps, or another number is out of range.

    Examples:
        >>> complete = LearningCurve("complete", {}, (0.1, 0.5, 0.7, 0.8, 0.85, 0.9))
        >>> predictor = LearningCurveExtrapolation(n_steps=8, burn_in=4).fit([complete])  # few steps, to be quick
        >>> predictor.predict(LearningCurve("new", {}, (0.1, 0.5, 0.7))).mean > 0.5
        True
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
        # On a server whoever makes a study chooses them, and all share its memory.
        if not 1 <= n_walkers * n_steps <= MOST_STATES:
            raise ValueError(f"n_walkers * n_steps must be in 1..{MOST_STATES}, but got {n_walkers=}, {n_steps=}")
        if not 1 <= max_points <= MOST_POINTS:
            raise ValueError(f"max_points must be in 1..{MOST_POINTS}, but got {max_points=}")
        self.n_walkers, self.n_steps, self.burn_in, self.max_points = n_walkers, n_steps, burn_in, max_points
        self.direction, self.seed = direction, seed

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Learn the length of the longest curve and the scale of the metric; without curves nothing is predicted.

        Args:
            curves: Complete curves of any lengths >= 1; they may be none.
        """
        self.max_epochs_ = max((len(c.values) for c in curves), default=0)
        self.scale_ = UnitScale.of(curves, self.direction) if curves else None
        return self

    def predict(self, curve: LearningCurve) -> Prediction | None:
        """Predict the final value of a partial curve of 1..T - 1 epochs; None for other lengths.

        Args:
            curve: `(tau,)` values; its configuration is not read.
        """
        posterior = self.posterior(curve)
        return None if posterior is None else posterior.prediction()

    def posterior(self, curve: LearningCurve) -> Posterior | None:
        """Sample the final value of a partial curve of 1..T - 1 epochs; None for other lengths.

        Args:
            curve: `(tau,)` values; its configuration is not read.
        """
        tau = len(curve.values)
        if self.scale_ is None or not 0 < tau < self.max_epochs_:
            return None
        # The likelihood of one state costs as many evaluations of 11 families as there are points.
        kept = np.unique(np.linspace(0, tau - 1, min(tau, self.max_points)).round().astype(int))
        model = CombinedCurve(kept + 1.0, self.scale_.to_unit(curve.values)[kept], self.max_epochs_)
        thetas = self._sample(model)
        return Posterior(model.final_values(thetas), model.sigmas(thetas), self.scale_)

    def _sample(self, model: CombinedCurve) -> Array:
        """Return about 1,000 states of the walkers, `(samples, dimension)`."""
        rng = np.random.default_rng(self.seed)
        start = model.start()
        n_walkers = max(self.n_walkers, 2 * len(start) + 2)  # emcee needs twice the dimension
        walkers = initial_walkers(start, model, n_walkers, rng)
        moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]  # stretch moves hardly mix in 48 dimensions
        sampler = emcee.EnsembleSampler(n_walkers, len(start), model.log_posterior, vectorize=True, moves=moves)
        # emcee takes a legacy state only; a state of its own leaves the global one alone.
        state = np.random.RandomState(self.seed).get_state()
        sampler.run_mcmc(emcee.State(walkers, random_state=state), self.n_steps, skip_initial_state_check=True)
        logger.debug("accepted %.2f of the proposals", float(np.mean(sampler.acceptance_fraction)))
        # Neighbouring states of a walker are correlated: a thousand well apart say as much.
        thin = max(1, n_walkers * (self.n_steps - self.burn_in) // 1000)
        samples: Array = sampler.get_chain(discard=self.burn_in, flat=True)[::thin]
        return samples


class CombinedCurve:
    """The model of one partial curve: y_t ~ N(sum_k w_k f_k(t | theta_k), sigma^2), equations 1-3.

    A state is the families' parameters, then sigma, then one weight for each family: `(dimension,)`.

    Args:
        epochs: `(n,)` observed epochs.
        values: `(n,)` values at these, on the unit scale.
        max_epochs: T.

    Attributes:
        families: Those whose least-squares fit the prior supports.
        low: `(dimension,)` lower ends of the prior's box.
        high: `(dimension,)` upper ends.
    """

    def __init__(self, epochs: Array, values: Array, max_epochs: int) -> None:
        self.values = values
        self._epochs = np.concatenate([epochs, [1.0, float(max_epochs)]])  # the prior compares the last two
        # The final value lies where training's lie, or where the curve already went.
        self._final_low, self._final_high = min(0.0, values.min()), max(1.0, values.max())
        self._fit_families(epochs)

    def _fit_families(self, epochs: Array) -> None:
        """Fit each family by least squares and leave out those the prior does not support, as the authors' code does."""
        self.families: list[Family] = []
        fits: list[Array] = []
        for family in FAMILIES:
            theta = fit_family(family, epochs, self.values)
            if self._is_supported(family.function(self._epochs[-2:], *theta)[None])[0]:
                self.families.append(family)
                fits.append(theta)
        if not self.families:
            self.families, fits = [FLAT_FAMILY], [self.values.mean(keepdims=True)]
        # Where each family has its parameters in a state; sigma and the weights follow.
        self._slices, end = [], 0
        for family in self.families:
            self._slices.append(slice(end, end := end + family.n_parameters))
        self._sigma, n_families = end, len(self.families)
        self._fits = fits
        ends = [(SIGMA_LOW, SIGMA_HIGH)] + [(WEIGHT_LOW, 1.0)] * n_families
        self.low = np.array([b for f in self.families for b in f.low] + [b for b, _ in ends])
        self.high = np.array([b for f in self.families for b in f.high] + [b for _, b in ends])

    def start(self) -> Array:
        """Return the least-squares fits with equal weights, `(dimension,)`, inside the prior."""
        n_families = len(self.families)
        theta = np.concatenate([*self._fits, [0.1], np.full(n_families, 1 / n_families)])
        error = math.sqrt(np.mean((self._combined(theta[None])[0, :-2] - self.values) ** 2))
        # The fits leave this error; at the edge of its box half of the walkers would be outside.
        theta[self._sigma] = max(error, 2 * SIGMA_LOW)
        return np.asarray(np.clip(theta, self.low, self.high))

    def log_posterior(self, thetas: Array) -> Array:
        """Return the log posterior of each state up to a constant; minus infinity outside the prior, never NaN.

        The prior is uniform in the boxes where f_comb(1) <= f_comb(T) and f_comb(T) is a possible metric, equation 3.

        Args:
            thetas: `(walkers, dimension)`.

        Returns:
            `(walkers,)`.
        """
        # States outside are evaluated at the box's edge, where every family is finite, and overruled at the end.
        inside = np.all((self.low <= thetas) & (thetas <= self.high), axis=1)
        thetas = np.clip(thetas, self.low, self.high)
        combined, sigmas = self._combined(thetas), self.sigmas(thetas)
        squares = np.sum((combined[:, :-2] - self.values) ** 2, axis=1)
        log_likelihood = -0.5 * squares / sigmas**2 - len(self.values) * np.log(sigmas)
        return np.where(inside & self._is_supported(combined[:, -2:]), log_likelihood, -np.inf)

    def final_values(self, thetas: Array) -> Array:
        """Return f_comb(T) of each state, `(walkers,)`.

        Args:
            thetas: `(walkers, dimension)`, inside the prior.
        """
        return self._combined(thetas)[:, -1]

    def sigmas(self, thetas: Array) -> Array:
        """Return the noise of each state, `(walkers,)`.

        Args:
            thetas: `(walkers, dimension)`.
        """
        sigmas: Array = thetas[:, self._sigma]
        return sigmas

    def _combined(self, thetas: Array) -> Array:
        """Return f_comb at the observed epochs, at 1 and at T, `(walkers, n + 2)`; the weights are normalized to sum to 1."""
        weights = thetas[:, self._sigma + 1 :]
        # The sampler moves in a box; the convex combination is made here.
        weights = weights / weights.sum(axis=1, keepdims=True)
        total = np.zeros((len(thetas), len(self._epochs)))
        for k, (family, where) in enumerate(zip(self.families, self._slices, strict=True)):
            # thetas.T[where, :, None] is one (walkers, 1) column for each parameter of the family.
            total += weights[:, [k]] * family.function(self._epochs, *thetas.T[where, :, None])
        return total

    def _is_supported(self, ends: Array) -> npt.NDArray[np.bool_]:
        """Return whether the prior supports f(1) and f(T), given as `(walkers, 2)`."""
        first, final = ends.T
        possible = (self._final_low - ROUNDING_TOLERANCE <= final) & (final <= self._final_high + ROUNDING_TOLERANCE)
        return np.asarray((first <= final + ROUNDING_TOLERANCE) & possible)


def fit_family(family: Family, epochs: Array, values: Array) -> Array:
    """Return the least-squares parameters within the family's box, `(n_parameters,)`.

    Args:
        family: What to fit.
        epochs: `(n,)` observed epochs.
        values: `(n,)` values at these, on the unit scale.
    """

    def residuals(theta: Array) -> Array:
        return family.function(epochs, *theta) - values

    fit = least_squares(
        residuals,
        family.start,
        bounds=(family.low, family.high),
        # Parameters differ by orders of magnitude; 50 evaluations do for a start.
        x_scale=np.maximum(np.abs(family.start), 0.1),
        max_nfev=50,
    )
    return np.asarray(fit.x)


def initial_walkers(start: Array, model: CombinedCurve, n_walkers: int, rng: np.random.Generator) -> Array:
    """Draw `(n_walkers, dimension)` states around `start`, all inside the prior.

    States outside move halfway back until they are inside.

    Args:
        start: `(dimension,)` inside the prior.
        model: Whose prior it is.
        n_walkers: States to draw.
        rng: Source of randomness.
    """
    # (n_walkers, dimension), in proportion to each parameter.
    away = 0.05 * rng.standard_normal((n_walkers, len(start))) * np.maximum(np.abs(start), 0.01)
    for _ in range(30):
        walkers = np.clip(start + away, model.low, model.high)
        outside = ~np.isfinite(model.log_posterior(walkers))
        if not outside.any():
            return np.asarray(walkers)
        away[outside] /= 2
    return np.where(outside[:, None], start, walkers)
