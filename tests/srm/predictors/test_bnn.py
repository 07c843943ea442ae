"""The Bayesian neural network: its curve shapes by hand, its sampler on a known distribution, curves a configuration explains."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.bnn import BayesianNeuralNetwork, Chains, Network, basis_functions
from curvestop.srm.regression.regressors import MIN_ROWS
from tests.contracts_predictor import PredictorContract

SMALL: dict[str, Any] = {"n_hidden": 16, "n_chains": 2, "burn_in": 600, "adapt_steps": 60}
SMALL |= {"n_samples": 10, "keep_every": 5, "batch_size": 32}
TINY = {**SMALL, "n_hidden": 4, "burn_in": 20, "adapt_steps": 3, "n_samples": 2, "keep_every": 1}
MAX_EPOCHS = 20


def synthetic(n: int, seed: int) -> list[LearningCurve]:
    """Curves that rise at the same early pace to an end that only their configuration tells."""
    rng = np.random.default_rng(seed)
    epochs = np.arange(1, MAX_EPOCHS + 1)
    curves = []
    for i in range(n):
        width, rate = rng.uniform(0, 1, 2)
        values = 0.2 + 0.6 * width * (1 - np.exp(-epochs * (0.05 + 0.2 * rate))) + 0.005 * rng.standard_normal(MAX_EPOCHS)
        curves.append(LearningCurve(f"{seed}-{i}", {"width": width, "rate": rate}, tuple(values)))
    return curves


class TestContract(PredictorContract):
    n_curves = 8

    def make(self) -> BayesianNeuralNetwork:
        return BayesianNeuralNetwork(**{**SMALL, "burn_in": 150, "adapt_steps": 20, "n_samples": 4})


@pytest.fixture(scope="module")
def fitted() -> BayesianNeuralNetwork:
    return BayesianNeuralNetwork(**SMALL).fit(synthetic(40, seed=0))


def test_basis_functions_by_hand() -> None:
    half = basis_functions(torch.full((13,), 0.5), torch.tensor(0.25))
    expected = [
        math.exp(-0.5 - 0.05 / 0.25 + 0.05 * math.log(4)) - math.exp(-0.55),
        0.5 * (0.25**0.5 - 1),
        1 / (1 + math.exp(-0.5)) - 1 / (1 + math.exp(-0.5 - 5 * math.log(4))),
        0.5 * (math.exp(-5) - math.exp(-1.25)),
        0.5 * (1 / ((0.5 / 0.25) ** 0.5 + 1) - 1 / (0.5**0.5 + 1)),
    ]
    assert half.tolist() == pytest.approx(expected, rel=1e-5)


def test_basis_functions_vanish_at_the_last_epoch() -> None:
    theta = torch.rand(50, 13, generator=torch.Generator().manual_seed(0))
    assert basis_functions(theta, torch.ones(50)).abs().max() < 1e-6


def test_network_ends_at_its_asymptote() -> None:
    network = Network(n_inputs=2, n_hidden=3)
    weights = torch.zeros(1, network.n_weights)  # every output 0, so the asymptote is 1/2 and the noise exp(-3)
    mean, log_sigma = network(weights, torch.ones(1, 2), torch.ones(1))
    assert mean.tolist() == [[pytest.approx(0.5)]]
    assert log_sigma.tolist() == [[pytest.approx(-3.0)]]


def test_the_sampler_finds_a_normal_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 2.0])
    chains = Chains.start(64, 2, generator)
    samples = []
    for step in range(3000):
        gradient = (chains.weights - mean) / std**2
        chains = chains.adapted(gradient) if step < 500 else chains
        chains = chains.moved(gradient, step_size=0.1, friction=0.05, generator=generator)
        if step >= 1000:
            samples.append(chains.weights)
    drawn = torch.cat(samples)
    assert drawn.mean(0).tolist() == pytest.approx(mean.tolist(), abs=0.2)
    assert drawn.std(0).tolist() == pytest.approx(std.tolist(), rel=0.2)


def test_beats_last_value_early_on_curves_a_configuration_explains(fitted: BayesianNeuralNetwork) -> None:
    test = synthetic(6, seed=1)
    predictions = [fitted.predict(curve.head(3)) for curve in test]
    errors = [p.mean - c.values[-1] for p, c in zip(predictions, test, strict=True) if p is not None]
    last = [c.values[2] - c.values[-1] for c in test]
    assert len(errors) == len(test)
    assert np.mean(np.square(errors)) < 0.25 * np.mean(np.square(last))
    assert all(abs(e) < 4 * p.sigma for e, p in zip(errors, predictions, strict=True) if p is not None)


def test_the_partial_curve_moves_the_prediction(fitted: BayesianNeuralNetwork) -> None:
    curve = synthetic(1, seed=2)[0].head(10)
    higher = replace(curve, values=tuple(v + 0.15 for v in curve.values))
    as_it_is, shifted = fitted.predict(curve), fitted.predict(higher)
    assert as_it_is is not None
    assert shifted is not None
    assert shifted.mean > as_it_is.mean + 0.005


def test_seed_decides_and_order_changes_nothing() -> None:
    curves = synthetic(8, seed=3)
    partial = synthetic(1, seed=4)[0].head(5)
    forwards = BayesianNeuralNetwork(**TINY, seed=1).fit(curves)
    backwards = BayesianNeuralNetwork(**TINY, seed=1).fit(curves[::-1])
    backwards.predict(partial.head(2))
    assert forwards.predict(partial) == backwards.predict(partial)
    assert forwards.predict(partial) != BayesianNeuralNetwork(**TINY, seed=2).fit(curves).predict(partial)


def test_lower_is_better_is_the_mirror_of_higher() -> None:
    curves = synthetic(8, seed=3)
    losses = [replace(c, values=tuple(5 - 10 * v for v in c.values)) for c in curves]
    accuracy = BayesianNeuralNetwork(**TINY, direction="maximize").fit(curves).predict(curves[0].head(5))
    loss = BayesianNeuralNetwork(**TINY).fit(losses).predict(losses[0].head(5))
    assert accuracy is not None
    assert loss is not None
    assert (loss.mean - 5) / -10 == pytest.approx(accuracy.mean, abs=1e-3)
    assert loss.sigma / 10 == pytest.approx(accuracy.sigma, rel=1e-2)


ODD_TRAINING = {
    "flat": [(0.5,) * 6] * MIN_ROWS,
    "sawtooth": [(0.2, 0.8) * 3] * MIN_ROWS,
    "diverged": [(2.0, 1.0, 0.5)] * MIN_ROWS + [(2.0, 1e18, 1e300)] * 2,
    "tiny": [(3e-6, 2e-6, 1e-6)] * MIN_ROWS,
    "unequal lengths": [(0.1,) * n + (0.5,) for n in range(1, MIN_ROWS + 1)],
}


@pytest.mark.parametrize("training", ODD_TRAINING.values(), ids=ODD_TRAINING.keys())
@pytest.mark.parametrize("values", [(0.4,), (1e300, -1e300)], ids=["one point", "far outside training"])
def test_odd_curves_get_finite_predictions(training: list[tuple[float, ...]], values: tuple[float, ...]) -> None:
    configurations = [{"depth": float(i)} if i % 2 else {} for i in range(len(training))]
    curves = [LearningCurve(str(i), c, v) for i, (c, v) in enumerate(zip(configurations, training, strict=True))]
    prediction = BayesianNeuralNetwork(**TINY).fit(curves).predict(LearningCurve("new", {"depth": 1e30}, values))
    assert prediction is not None
    assert math.isfinite(prediction.mean)
    assert 0 < prediction.sigma < math.inf


def test_no_configuration_is_no_error() -> None:
    curves = [replace(c, configuration={}) for c in synthetic(MIN_ROWS, seed=5)]
    assert BayesianNeuralNetwork(**TINY).fit(curves).predict(curves[0].head(3)) is not None


def test_covers_lengths_before_the_last_epoch_only() -> None:
    curves = synthetic(MIN_ROWS, seed=6)
    model = BayesianNeuralNetwork(**TINY).fit(curves)
    assert model.predict(curves[0]) is None
    assert model.predict(curves[0].head(0)) is None
    assert BayesianNeuralNetwork(**TINY).fit(curves[1:]).predict(curves[0].head(3)) is None


def test_wrong_size_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"n_chains must be in 1..20, but got 0"):
        BayesianNeuralNetwork(n_chains=0)
