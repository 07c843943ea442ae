"""Closed-form leave-one-out against refitting, and the kernel against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from curvestop.srm.predictors.stacked.mixture_kernel import (
    CONFIGURATION_WIDTH,
    CURVE_WIDTH,
    LINEAR,
    BaseKernel,
    MixtureKernel,
    width_weights,
)
from curvestop.srm.regression.features import Array
from curvestop.srm.regression.kernel_ridge import loo_path, solve


def problem(n: int = 25, seed: int = 0) -> tuple[Array, Array, Array]:
    """Kernel, trend and target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(axis=2) / 4)
    return kernel, np.column_stack([np.ones(n), x[:, 0]]), np.sin(x[:, 0]) + 3 * x[:, 1] + 0.1 * rng.normal(size=n)


def left_out_by_refitting(kernel: Array, trend: Array, target: Array, ridge: float) -> Array:
    residuals = []
    for i in range(len(target)):
        keep = np.arange(len(target)) != i
        n = int(keep.sum())
        coefficients = solve(kernel[np.ix_(keep, keep)], trend[keep], target[keep], ridge).coefficients
        residuals.append(target[i] - kernel[i, keep] @ coefficients[:n] - trend[i] @ coefficients[n:])
    return np.array(residuals)


@pytest.mark.parametrize("seed", range(5))
def test_left_out_residuals_are_those_of_refitting(seed: int) -> None:
    kernel, trend, target = problem(seed=seed)
    path = loo_path(kernel, trend, target)
    for j in (0, 6, 12, 18):
        expected = left_out_by_refitting(kernel, trend, target, float(path.ridges[j]))
        assert path.residuals[:, j] == pytest.approx(expected, rel=1e-6, abs=1e-9)
        assert solve(kernel, trend, target, float(path.ridges[j])).residuals == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_model_solves_its_equations() -> None:
    kernel, trend, target = problem()
    fit = solve(kernel, trend, target, 0.1)
    alpha, beta = fit.coefficients[:25], fit.coefficients[25:]
    assert kernel @ alpha + 0.1 * alpha + trend @ beta == pytest.approx(target, abs=1e-9)
    assert trend.T @ alpha == pytest.approx(np.zeros(2), abs=1e-9)


def test_a_target_that_is_the_trend_is_predicted_when_left_out() -> None:
    kernel, trend, _ = problem()
    assert np.abs(loo_path(kernel, trend, trend @ [2.0, -3.0]).residuals).max() < 1e-6


def test_the_mixture_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(6, 5)), rng.normal(size=(3, 5))
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    expected = np.array([[_by_definition(a, b, weights) for b in points] for a in others])
    kernel = BaseKernel(points, 2)
    assert MixtureKernel(kernel, weights)(others) == pytest.approx(expected, rel=1e-10)
    assert BaseKernel.diagonal(others) == pytest.approx([_by_definition(a, a, weights) for a in others], rel=1e-12)


def _by_definition(a: Array, b: Array, weights: Array) -> float:
    """The first two columns are the curve's."""
    factors = [
        sum(w / (1 + ((a[part] - b[part]) ** 2).sum() / (width / 2**i) ** 2) for i, w in enumerate(row))
        for part, width, row in ((slice(0, 2), CURVE_WIDTH, weights[0]), (slice(2, None), CONFIGURATION_WIDTH, weights[1]))
    ]
    return float(factors[0] * factors[1] + LINEAR * (1 + a @ b))


def test_width_weights_are_the_marginals_of_the_errors_to_the_minus_eighth() -> None:
    errors = np.full((3, 3), 2.0)
    errors[1, 2] = 1.0
    small = 2.0**-8 / (1 + 8 * 2.0**-8)
    large = 1 - 6 * small
    expected = np.array([[3 * small, large, 3 * small], [3 * small, 3 * small, large]])
    assert width_weights(errors) == pytest.approx(expected)
