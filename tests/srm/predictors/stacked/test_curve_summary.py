"""Curve features by hand, the scale's fences, and what weighting columns leaves unchanged."""

from __future__ import annotations

import math

import numpy as np
import pytest

from curvestop.srm.predictors.stacked.curve_summary import ValueScale, WeightedColumns, summarize_curves


def test_the_shape_of_a_straight_line_in_log_time() -> None:
    time = np.log(np.arange(1, 9) + 1.0)
    shape = summarize_curves((2 * time)[None])[0]
    last, (best, worst, steps) = shape[0], shape[-3:]
    assert (last, best, worst) == pytest.approx((2 * math.log(9), 2 * math.log(9), 2 * math.log(2)))
    assert steps == pytest.approx(2 * (math.log(9) - math.log(6)))  # the last four values
    centred = time - time.mean()
    assert shape[6] == pytest.approx(2 * np.sqrt(centred @ centred))  # slope over the whole, times its leverage


@pytest.mark.parametrize("tau", [1, 2, 3, 7, 50])
def test_a_flat_curve_has_its_level_and_nothing_else(tau: int) -> None:
    shape = summarize_curves(np.full((1, tau), 0.7))[0]
    assert set(np.round(shape, 9)) <= {0.0, 0.7}


def test_the_scale_is_the_bulk_s_whatever_a_few_diverged_runs_do() -> None:
    healthy = np.linspace(0.0, 1.0, 50)
    plain, with_diverged = ValueScale.of(healthy, "minimize"), ValueScale.of(np.append(healthy, [1e18, 1e17]), "minimize")
    assert with_diverged.unit == pytest.approx(plain.unit, rel=0.1)
    assert (
        with_diverged.clip_bound * with_diverged.unit <= 400 * with_diverged.middle
    )  # forty times ten times the best one's distance
    assert with_diverged.to_units(np.array([1e18])) == with_diverged.to_units(np.array([1e17]))


def test_the_scale_holds_when_a_third_of_the_runs_diverged() -> None:
    scale = ValueScale.of(np.append(np.linspace(0.4, 0.7, 40), np.full(20, 1e18)), "minimize")
    assert scale.unit < 10
    assert np.ptp(scale.to_units(np.array([0.4, 0.7]))) > 0.01


def test_equal_values_have_a_unit() -> None:
    scale = ValueScale.of(np.full(10, 0.1), "maximize")
    assert scale.to_units(np.array([0.1])) == pytest.approx([0.0])


def test_constant_columns_are_dropped_and_new_rows_kept_in_range() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=30), np.full(30, 3.0)])
    columns = WeightedColumns.of(rows, rows[:, 0])
    assert columns.kept.tolist() == [0]
    assert columns(np.array([[1e9, 5.0]])) == pytest.approx(columns(rows).max(axis=0, keepdims=True))


def test_a_column_that_tells_weighs_more_than_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 2))
    spread = WeightedColumns.of(rows, rows[:, 1] ** 2)(rows).std(axis=0)
    assert spread[1] > 1.5 * spread[0]
    assert (spread**2).sum() == pytest.approx(1.0)
