"""The conformal quantile by hand and its coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from curvestop.srm.predictors.stacked.conformal import (
    GOOD_SIDE_STRETCH,
    SELECTION_INFLATION,
    conformal_quantile,
    simultaneous_factor,
    stretched_interval,
)


def test_the_95th_of_99() -> None:
    assert conformal_quantile(np.arange(1.0, 100.0), 0.95) == 95.0


def test_the_96th_of_100() -> None:
    assert conformal_quantile(np.arange(1.0, 101.0), 0.95) == 96.0


def test_too_few_scores_stretch_the_largest() -> None:
    assert conformal_quantile(np.array([1.0, 2.0, 3.0]), 0.95) > 3.0


def test_the_largest_score_over_decision_points_counts() -> None:
    scores = np.tile([[0.1, 0.2], [-3.0, 1.0], [0.5, np.nan]], (33, 1))
    assert simultaneous_factor(scores, 0.5) == pytest.approx(0.5 * (1 + SELECTION_INFLATION / 99))


def test_covers_exchangeable_scores_as_stated() -> None:
    rng = np.random.default_rng(0)
    inside = [rng.exponential() <= conformal_quantile(np.sort(rng.exponential(size=39)), 0.9) for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize(
    ("toward", "lower", "upper"),
    [(0, 0.4, 0.6), (1, 0.4, 0.5 + 0.1 * GOOD_SIDE_STRETCH), (-1, 0.5 - 0.1 * GOOD_SIDE_STRETCH, 0.6)],
)
def test_only_the_good_side_of_a_promising_curve_is_stretched(toward: int, lower: float, upper: float) -> None:
    bound = stretched_interval(0.5, 0.1, toward=toward)
    assert (bound.lower, bound.upper) == pytest.approx((lower, upper))
