"""Predict learning curves by a Bayesian neural network with a layer of curve-shaped basis functions, sampled by SGHMC.

Klein, Falkner, Springenberg and Hutter 2017, "Learning curve prediction with Bayesian neural networks" (LC-Net), with the
scale-adapted stochastic-gradient Hamiltonian Monte Carlo of Springenberg, Klein, Falkner and Hutter 2016, "Bayesian
optimization with robust Bayesian neural networks". Needs the extra `[torch]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.unit_scale import UnitScale
from curvestop.srm.regression.features import Array, ConfigurationFeatures
from curvestop.srm.regression.regressors import MIN_ROWS
from curvestop.srm.regression.standardize import Scaler

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise ImportError("the predictor 'bnn' needs torch: pip install 'curvestop[torch]'") from error

LOG_SIGMA_CENTRE, LOG_SIGMA_REACH = -3.0, 2.0
"""The noise is exp(-3 +- 2), 0.7 % to 37 % of the unit scale: a floor keeps the gradients bounded."""
MOST_STEPS = 100_000
"""Largest number of steps of a chain before it is used."""
INPUT_LIMIT = 10.0
"""Standardized numbers of a configuration are cut off here: larger ones saturate a network in single precision."""


def basis_functions(theta: Tensor, t: Tensor) -> Tensor:
    """Compute five curve shapes that are 0 at t = 1, so that what is added to them is the final value.

    They are vapor pressure, power, logistic of log t, exponential and Hill 3 (Klein et al., appendix).

    Args:
        theta: `(..., 13)` in (0, 1).
        t: `(...)` epoch / T, in (0, 1].

    Returns:
        `(..., 5)`.
    """
    # Each shape is its formula minus its own value at t = 1; the factors 10 bring parameters in (0, 1) to useful ranges.
    a0, b0, c0, a1, b1, a2, b2, c2, a3, b3, a4, b4, c4 = theta.unbind(-1)
    log_t = t.log()
    vapor = torch.exp(-a0) * (torch.exp(-b0 / 10 / t - c0 / 10 * log_t) - torch.exp(-b0 / 10))
    power = a1 * (t**b1 - 1)
    logistic = 2 * a2 * (torch.sigmoid(b2) - torch.sigmoid(b2 - 10 * c2 * log_t))
    exponential = a3 * (torch.exp(-10 * b3) - torch.exp(-10 * b3 * t))
    hill = a4 * (1 / ((c4 / t) ** b4 + 1) - 1 / (c4**b4 + 1))
    return torch.stack([vapor, power, logistic, exponential, hill], dim=-1)


@dataclass(frozen=True)
class Network:
    """The network from configuration and epoch to the mean of the metric, for several sets of weights at once.

    The noise is one number for all inputs, and a weight like the others.

    Attributes:
        n_inputs: Columns of a configuration, >= 0.
        n_hidden: Units in each of the three tanh layers.
    """

    n_inputs: int
    n_hidden: int

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each layer; the outputs of the last are 13 theta, 5 mixture weights and the asymptote."""
        hidden = self.n_hidden
        return ((self.n_inputs, hidden), (hidden, hidden), (hidden, hidden), (hidden, 19))

    @property
    def n_weights(self) -> int:
        """Number of weights, the noise included."""
        return sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        """Number of weights of each matrix and bias, layer by layer, then 1 of the noise."""
        return [size for n_in, n_out in self.layers for size in (n_in * n_out, n_out)] + [1]

    def __call__(self, weights: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the network.

        Args:
            weights: `(chains, n_weights)`.
            x: `(n, n_inputs)` standardized configurations.
            t: `(n,)` epoch / T, in (0, 1].

        Returns:
            Mean `(chains, n)` on the unit scale, and log sigma `(chains, 1)`.
        """
        pieces = iter(torch.split(weights, self._sizes, dim=1))
        hidden = x.expand(len(weights), *x.shape)
        for layer, (n_in, n_out) in enumerate(self.layers):
            # (chains, n_in, n_out) and (chains, 1, n_out).
            matrix, bias = next(pieces).reshape(len(weights), n_in, n_out), next(pieces)[:, None]
            # tanh follows each hidden layer, so none before the first and none after the last.
            hidden = hidden if layer == 0 else hidden.tanh()
            # Scaling by 1 / sqrt(inputs) keeps activations of order 1 under the standard normal prior of the weights.
            hidden = torch.baddbmm(bias, hidden, matrix, alpha=1 / math.sqrt(max(n_in, 1)))
        theta, mixture, asymptote = torch.split(hidden, [13, 5, 1], dim=-1)
        shapes = basis_functions(theta.sigmoid().clamp(min=1e-6), t)  # (chains, n, 5)
        mean = (mixture.softmax(-1) * shapes).sum(-1) + asymptote.squeeze(-1).sigmoid()
        return mean, LOG_SIGMA_CENTRE + LOG_SIGMA_REACH * next(pieces).tanh()


@dataclass(frozen=True)
class Observations:
    """Points of curves.

    Attributes:
        x: `(n, n_inputs)` standardized configurations.
        t: `(n,)` epoch / T, in (0, 1].
        y: `(n,)` values on the unit scale.
        counts: `(n,)` how many points of the data each stands for.
    """

    x: Tensor
    t: Tensor
    y: Tensor
    counts: Tensor

    def batch(self, n: int, generator: torch.Generator) -> Observations:
        """Draw `n` points with replacement, which together stand for all.

        Args:
            n: Number of draws, >= 1.
            generator: Source of randomness.
        """
        # With counts that add up to the whole data, the gradient of a batch is an unbiased estimate.
        rows = torch.randint(len(self.y), (n,), generator=generator)
        return Observations(self.x[rows], self.t[rows], self.y[rows], torch.full((n,), len(self.y) / n))

    def joined(self, other: Observations) -> Observations:
        """Return these points and those of another set.

        Args:
            other: Points of the same `n_inputs`.
        """
        pairs = ((self.x, other.x), (self.t, other.t), (self.y, other.y), (self.counts, other.counts))
        return Observations(*(torch.cat(pair) for pair in pairs))

    def negative_log_likelihood(self, network: Network, weights: Tensor) -> Tensor:
        """Return the negative log-likelihood summed over the data, up to a constant, `(chains,)`.

        Args:
            network: Maps configurations and epochs to means.
            weights: `(chains, n_weights)`.
        """
        mean, log_sigma = network(weights, self.x, self.t)
        return (self.counts * (0.5 * ((self.y - mean) / log_sigma.exp()) ** 2 + log_sigma)).sum(-1)


@dataclass(frozen=True)
class Chains:
    """State of parallel SGHMC chains; every field is `(chains, n_weights)`.

    Attributes:
        weights: Positions.
        momentum: Velocities.
        window: tau of Springenberg et al., equations 8-9.
        gradient: g of the same, the running mean of gradients.
        square: V-hat of the same, the running mean of squared gradients.
    """

    weights: Tensor
    momentum: Tensor
    window: Tensor
    gradient: Tensor
    square: Tensor

    @staticmethod
    def start(n_chains: int, n_weights: int, generator: torch.Generator) -> Chains:
        """Draw the weights from the standard normal prior.

        Args:
            n_chains: Number of parallel chains, >= 1.
            n_weights: Number of weights of the network, its noise included.
            generator: Source of randomness.
        """
        weights = torch.randn(n_chains, n_weights, generator=generator)
        # With a window of 1 the start values are forgotten within a few steps.
        one = torch.ones_like(weights)
        return Chains(weights, torch.zeros_like(weights), one, one, one)

    def adapted(self, gradient: Tensor) -> Chains:
        """Return the chains with running mean and square of the gradient updated over an adaptive window, equations 8-9.

        Args:
            gradient: `(chains, n_weights)` of the energy at the present weights.
        """
        window = self.window * (1 - self.gradient**2 / (self.square + 1e-16)) + 1
        # All three updates start from the values before the step.
        rate = 1 / (self.window + 1)
        return replace(
            self,
            window=window,
            gradient=self.gradient + rate * (gradient - self.gradient),
            square=self.square + rate * (gradient**2 - self.square),
        )

    def moved(self, gradient: Tensor, *, step_size: float, friction: float, generator: torch.Generator) -> Chains:
        """Return the chains after one step of the dynamics, preconditioned by 1 / sqrt(V-hat), equation 10.

        Args:
            gradient: `(chains, n_weights)` of the energy.
            step_size: epsilon, > 0.
            friction: In (0, 1].
            generator: Source of randomness.
        """
        preconditioner = 1 / (self.square.sqrt() + 1e-16)
        # The second term takes off the noise of the gradients themselves; where they are larger, none is added.
        variance = (2 * step_size**2 * friction * preconditioner - step_size**4).clamp(min=0)
        noise = torch.randn(self.weights.shape, generator=generator) * variance.sqrt()
        momentum = (1 - friction) * self.momentum - step_size**2 * preconditioner * gradient + noise
        return replace(self, momentum=momentum, weights=self.weights + momentum)


class BayesianNeuralNetwork:
    """Predict by networks sampled on the complete curves and the partial one (the predictor "BNN" of the thesis, section 4.2.2).

    `fit` burns the chains in on the complete curves; `predict` continues from there with the partial curve's values among
    the data, drops `adapt_steps` steps and averages `n_samples` networks of each chain, `keep_every` steps apart.

    Args:
        n_hidden: Units in each of the three hidden layers, >= 1.
        n_chains: Parallel chains, >= 1.
        burn_in: Steps of `fit`.
        adapt_steps: Steps of `predict` that are dropped.
        n_samples: Networks kept of each chain, >= 1.
        keep_every: Steps between two kept networks, >= 1.
        batch_size: Points of complete curves in each step, >= 1.
        step_size: epsilon of the sampler.
        friction: Of the sampler, in (0, 1].
        log_scaled: Names of the configuration whose logarithm is the input; their values must be > 0.
        direction: Which values are the good ones; None (default) takes the direction in which most curves went.
        seed: Seed of the sampler; every prediction starts from it, so the order of predictions changes nothing.

    Attributes:
        max_epochs_: After `fit`: T, the length of the longest curve; 0 with fewer than `MIN_ROWS` curves.
        scale_: After `fit`: the unit scale.
        configuration_: After `fit`: how configurations become numbers.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> curves = [LearningCurve(str(i), {"lr": i / 8}, (0.1, 0.3, i / 8)) for i in range(8)]
        >>> small = BayesianNeuralNetwork(n_chains=1, burn_in=3, adapt_steps=1, n_samples=2, keep_every=1)
        >>> prediction = small.fit(curves).predict(LearningCurve("new", {"lr": 0.5}, (0.1,)))
        >>> prediction.sigma > 0
        True
    """

    def __init__(
        self,
        *,
        n_hidden: int = 50,
        n_chains: int = 4,
        burn_in: int = 3000,
        adapt_steps: int = 300,
        n_samples: int = 20,
        keep_every: int = 10,
        batch_size: int = 64,
        step_size: float = 0.03,
        friction: float = 0.05,
        log_scaled: Iterable[str] = (),
        direction: Direction | None = None,
        seed: int = 0,
    ) -> None:
        # Upper bounds, too: on a server whoever makes a study chooses them, and all share its memory.
        for name, value, most in (
            ("n_hidden", n_hidden, 500),
            ("n_chains", n_chains, 20),
            ("n_samples", n_samples, 1000),
            ("keep_every", keep_every, 1000),
            ("batch_size", batch_size, 1000),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be in 1..{most}, but got {value!r}")
        for name, value in {"burn_in": burn_in, "adapt_steps": adapt_steps}.items():
            if not 0 <= value <= MOST_STEPS:
                raise ValueError(f"{name} must be in 0..{MOST_STEPS}, but got {value!r}")
        self.n_hidden, self.n_chains, self.burn_in, self.adapt_steps = n_hidden, n_chains, burn_in, adapt_steps
        self.n_samples, self.keep_every, self.batch_size = n_samples, keep_every, batch_size
        self.step_size, self.friction = step_size, friction
        self.log_scaled, self.direction, self.seed = frozenset(log_scaled), direction, seed

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Burn the chains in on complete curves; with fewer than `MIN_ROWS` of them nothing is predicted.

        Args:
            curves: Complete curves of any lengths >= 1, in any order; the longest gives T.
        """
        # The sampler sees points in this order, so the order of arrival changes nothing.
        curves = sorted(curves, key=lambda curve: curve.trial)
        self.max_epochs_ = max((len(c.values) for c in curves), default=0) if len(curves) >= MIN_ROWS else 0
        if self.max_epochs_ == 0:
            return self
        self.scale_ = UnitScale.of(curves, self.direction)
        self.configuration_ = ConfigurationFeatures(self.log_scaled).fit([c.configuration for c in curves])
        rows = self.configuration_.transform([c.configuration for c in curves])
        self._scaler = Scaler.of(rows)
        self._complete = self._observations(curves)
        self._network = Network(rows.shape[1], self.n_hidden)
        generator = torch.Generator().manual_seed(self.seed)
        self._chains = Chains.start(self.n_chains, self._network.n_weights, generator)
        for _ in range(self.burn_in):
            pause()
            self._chains = self._step(self._chains, None, generator)
        return self

    def predict(self, curve: LearningCurve) -> Prediction | None:
        """Predict the final value of a partial curve of 1..T - 1 epochs; None for other lengths, or if the chains diverge."""
        if not 0 < len(curve.values) < self.max_epochs_:
            return None
        partial = self._observations([curve])
        # A local copy: predictions never move the fitted chains, so any number of threads may predict.
        generator, chains = torch.Generator().manual_seed(self.seed), self._chains
        samples = []
        for step in range(1, self.adapt_steps + self.n_samples * self.keep_every + 1):
            chains = self._step(chains, partial, generator)
            if step > self.adapt_steps and (step - self.adapt_steps) % self.keep_every == 0:
                with torch.no_grad():
                    samples.append(torch.stack(self._network(chains.weights, partial.x[:1], torch.ones(1))).double().numpy())
        means, log_sigmas = np.moveaxis(np.array(samples), 1, 0)  # (n_samples, chains, 1) each
        if not np.isfinite(means).all():
            return None  # the chains diverged: step_size or friction do not fit the data
        # The variance of a mixture: that of the networks' means plus the mean of their noise.
        sigma = math.sqrt(means.var() + np.mean(np.exp(2 * log_sigmas)))
        return Prediction(float(self.scale_.from_unit(means.mean())), self.scale_.sigma_from_unit(sigma))

    def _step(self, chains: Chains, partial: Observations | None, generator: torch.Generator) -> Chains:
        """Make one step; the preconditioner adapts while burning in, which is while there is no partial curve."""
        weights = chains.weights.detach().requires_grad_()
        data = self._complete.batch(self.batch_size, generator)
        if partial is not None:
            data = data.joined(partial)  # all of it in each step, as it is what the prediction is about
        # Minus the log posterior: the likelihood and the standard normal prior.
        energy = data.negative_log_likelihood(self._network, weights) + 0.5 * (weights**2).sum(-1)
        (gradient,) = torch.autograd.grad(energy.sum(), weights)
        with torch.no_grad():
            adapted = chains.adapted(gradient) if partial is None else chains
            return adapted.moved(gradient, step_size=self.step_size, friction=self.friction, generator=generator)

    def _observations(self, curves: Sequence[LearningCurve]) -> Observations:
        """Return every epoch of every curve as a point."""
        rows = self._scaler(self.configuration_.transform([c.configuration for c in curves])).clip(-INPUT_LIMIT, INPUT_LIMIT)
        lengths = [len(c.values) for c in curves]
        epochs = np.concatenate([np.arange(1, n + 1) for n in lengths])
        values = np.concatenate([self.scale_.to_unit(c.values) for c in curves]).clip(0, 1)
        x, t, y = (_tensor(a) for a in (np.repeat(rows, lengths, axis=0), epochs / self.max_epochs_, values))
        return Observations(x, t, y, torch.ones_like(y))


def _tensor(numbers: Array) -> Tensor:
    """Convert to single precision."""
    return torch.from_numpy(numbers.astype(np.float32))
