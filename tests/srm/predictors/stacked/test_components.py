"""The calibrated last value: by hand, against refitting, and the prior that a value persists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.predictors.stacked.components import PERSISTENCE, calibrate_last_value, soft_threshold
from curvestop.srm.predictors.stacked.scalar_or_array import exp, maximum, minimum
from curvestop.srm.regression.features import Array


def test_by_hand() -> None:
    """Two curves at -1 and 1 end at 0 and 4: their changes are 1 and 3, so the mean change is 2 and its slope 1, or less."""
    coefficients, residuals, _ = calibrate_last_value(np.array([-1.0, 1.0]), np.array([0.0, 4.0]))
    slope = 2 / (2 * (1 + PERSISTENCE / 2))
    assert coefficients == pytest.approx([2.0, 1 + slope])
    assert residuals == pytest.approx([-1 + slope, 1 - slope])


def test_left_out_residuals_are_those_of_refitting_at_the_same_ridge() -> None:
    rng = np.random.default_rng(0)
    last, target = rng.normal(size=9), rng.normal(size=9)
    ridge = PERSISTENCE * last.var()
    _, _, left_out = calibrate_last_value(last, target)
    for i in range(9):
        keep = np.arange(9) != i
        # minimize sum (change - a - slope (last - centre))^2 + ridge slope^2; the centre is that of all nine
        design = np.column_stack([np.ones(8), last[keep] - last.mean()])
        change = (target - last)[keep]
        a, slope = np.linalg.solve(design.T @ design + np.diag([0.0, ridge]), design.T @ change)
        assert left_out[i] == pytest.approx(target[i] - last[i] - a - slope * (last[i] - last.mean()))


@pytest.mark.parametrize("last", [3.0, 0.0, 18.31979293160123])
def test_of_equal_last_values_the_mean_is_all_that_is_known(last: float) -> None:
    """The mean of a hundred equal numbers may differ from them by rounding."""
    target = np.tile([1.0, 2.0, 3.0, 6.0], 25)
    coefficients, residuals, left_out = calibrate_last_value(np.full(100, last), target)
    assert coefficients @ [1, last] == pytest.approx(3.0)
    assert coefficients[1] == 0
    assert residuals == pytest.approx(target - 3)
    assert left_out == pytest.approx((target - 3) * 100 / 99)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e3))
def test_soft_threshold_is_the_same_for_a_number_and_an_array(diverged: float, gate: float) -> None:
    expected = np.sign(diverged) * max(abs(diverged) - gate, 0.0)
    assert soft_threshold(diverged, gate) == pytest.approx(expected)
    assert soft_threshold(np.array([diverged]), gate) == pytest.approx([expected])


def test_functions_of_a_number_are_those_of_an_array() -> None:
    array: Array = np.array([-1.5, 0.0, 2.5])
    numbers = array.tolist()
    assert [minimum(x, 0.5) for x in numbers] == minimum(array, 0.5).tolist() == [-1.5, 0.0, 0.5]
    assert [maximum(x, 0.5) for x in numbers] == maximum(array, 0.5).tolist() == [0.5, 0.5, 2.5]
    assert [exp(x) for x in numbers] == pytest.approx(exp(array), rel=1e-15)
