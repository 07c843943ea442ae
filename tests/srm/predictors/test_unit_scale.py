"""The map from any metric to about [0, 1]: worked examples, and no finite metric breaks it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.unit_scale import UnitScale, usual_direction

TINY = float(np.finfo(float).tiny)


def curve(*values: float) -> LearningCurve:
    return LearningCurve("a", {}, values)


def test_worst_goes_to_a_tenth_and_best_to_nine_tenths() -> None:
    scale = UnitScale.of([curve(20.0, 50.0), curve(30.0, 60.0)], "maximize")
    assert scale.to_unit([20.0, 40.0, 60.0]) == pytest.approx([0.1, 0.5, 0.9])
    assert scale.from_unit([0.1, 0.5, 0.9]) == pytest.approx([20.0, 40.0, 60.0])
    assert scale.sigma_from_unit(0.1) == pytest.approx(5.0)  # 40 of the metric are 0.8 units


def test_lower_is_better() -> None:
    scale = UnitScale.of([curve(9.0, 2.0), curve(10.0, 4.0)])
    assert scale.to_unit([10.0, 2.0]) == pytest.approx([0.1, 0.9])
    assert scale.sigma_from_unit(0.1) == pytest.approx(1.0)


def test_direction_is_the_one_most_curves_took() -> None:
    assert usual_direction([curve(1.0, 2.0), curve(1.0, 2.0), curve(2.0, 1.0)]) == "maximize"
    assert usual_direction([curve(2.0, 1.0)]) == "minimize"


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ((8.0, 8.0 * (1 - 2e-12)), 20e-12),  # 2e-12 of the best value are no rounding: 16e-12 / 0.8
        ((8.0, 8.0 * (1 - 0.5e-12)), 10.0),  # half of 1e-12 is: the best value makes 0.8 units
        ((8.0,), 10.0),
        ((-8.0, -8.0), 10.0),
        ((0.0, 0.0), 2.5),  # zeros: a half, 1, stands for the best value
        ((0.0, -2 * TINY), 2.5),  # halves are compared: the smallest normal number is no spread
    ],
)
def test_values_that_are_equal_but_for_rounding_have_the_unit_of_their_size(values: tuple[float, ...], unit: float) -> None:
    scale = UnitScale.of([curve(*values)], "maximize")
    assert (scale.best, scale.unit) == pytest.approx((max(values), unit), rel=1e-3)


def test_diverged_values_do_not_set_the_scale() -> None:
    healthy = [curve(2.0, 1.5, 1.0) for _ in range(20)]
    scale = UnitScale.of([*healthy, *[curve(2.0, 1e18, 1e18)] * 5], "minimize")
    assert scale.to_unit(1.0) - scale.to_unit(2.0) > 0.1
    assert scale.to_unit(1e18) == -1.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8), st.floats(-1, 2))
def test_is_finite_on_any_finite_metric(values: list[float], unit: float) -> None:
    scale = UnitScale.of([curve(*values)])
    assert scale.unit != 0
    assert np.isfinite(scale.to_unit(values)).all()
    assert np.isfinite(scale.from_unit(unit))
    assert 0 <= scale.sigma_from_unit(0.5) < np.inf


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=8, unique=True), st.integers(1, 100), st.integers(-1000, 1000))
def test_does_not_see_positive_affine_changes_of_the_metric(values: list[int], slope: int, shift: int) -> None:
    changed = [slope * v + shift for v in values]
    before = UnitScale.of([curve(*values)]).to_unit(values)
    assert UnitScale.of([curve(*changed)]).to_unit(changed) == pytest.approx(before, abs=1e-9)
