"""Scores of predictions by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.predict.scoring import Score, Split, crps, r2, spearman
from tests.contracts_predictor import saturating_curves


def test_r2_by_hand() -> None:
    assert r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]) == pytest.approx(0.5)


def test_crps_of_a_standard_normal_at_its_mean() -> None:
    assert crps(np.zeros(1), np.ones(1)) == pytest.approx((np.sqrt(2) - 1) / np.sqrt(np.pi))


def test_crps_by_integration() -> None:
    grid = np.linspace(-30, 30, 600_001)
    from scipy.stats import norm

    integral = np.trapezoid((norm.cdf(grid, scale=2.0) - (grid >= 1.5)) ** 2, grid)
    assert crps(np.array([1.5]), np.array([2.0])) == pytest.approx(integral, abs=1e-4)


def test_crps_without_spread_is_the_error() -> None:
    assert crps(np.array([-0.5]), np.zeros(1)) == pytest.approx([0.5])


def test_spearman_of_a_constant_is_nothing() -> None:
    assert spearman(np.ones(4), np.arange(4.0)) == 0.0


def test_a_perfect_prediction() -> None:
    y = np.arange(10.0)
    assert Score.of(y, y, np.full(10, 0.1), "minimize").r2 == 1.0
    assert Score.of(y, y, np.full(10, 0.1), "minimize").coverage == 1.0


def test_a_split_keeps_curves_for_the_test() -> None:
    split = Split.of(saturating_curves(50), 100, 0)
    assert (len(split.train), len(split.test)) == (20, 30)
    assert {c.trial for c in split.train}.isdisjoint(c.trial for c in split.test)
