"""The thesis's rule, section 4.1.2, against probabilities from a table of the normal distribution."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.curve import Prediction
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule, normal_cdf, nth_best


@pytest.mark.parametrize(("z", "p"), [(0.0, 0.5), (1.0, 0.8413447), (1.6448536, 0.95), (-1.959964, 0.025), (2.3263479, 0.99)])
def test_normal_cdf(z: float, p: float) -> None:
    assert normal_cdf(z * 0.3, 0.3) == pytest.approx(p, abs=1e-7)


@pytest.mark.parametrize(("margin", "p"), [(-1e-9, 0.0), (0.0, 0.0), (1e-9, 1.0), (0.5, 1.0)])
def test_without_spread_it_is_a_step_after_zero(margin: float, p: float) -> None:
    assert normal_cdf(margin, 0.0) == p


def test_maximise_minimise_and_tolerance() -> None:
    rule = StoppingRule(tolerance=0.01)
    assert rule.probability(Prediction(0.80, 0.05), 0.91, "maximize") == pytest.approx(0.9772499, abs=1e-7)  # Phi(2)
    assert rule.probability(Prediction(0.91, 0.05), 0.80, "minimize") == pytest.approx(0.9772499, abs=1e-7)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("mean", "to_beat"), [(0.0, 0.0), (0.3, 0.1 + 0.2), (0.1 + 0.2, 0.3), (-1e99, -1e99)])
def test_without_spread_an_equal_prediction_is_as_good(mean: float, to_beat: float, direction: Direction) -> None:
    assert StoppingRule().probability(Prediction(mean, 0.0), to_beat, direction) == 0.0
    assert not StoppingRule(threshold=0.01).stops(0.0)


def test_with_a_spread_as_small_as_the_rounding_an_equal_prediction_is_an_even_chance() -> None:
    assert StoppingRule().probability(Prediction(0.3, 1e-18), 0.1 + 0.2, "maximize") == 0.5


def test_without_spread_a_prediction_within_the_tolerance_is_as_good() -> None:
    rule = StoppingRule(tolerance=0.25)
    probabilities = [rule.probability(Prediction(mean, 0.0), 1.0, "maximize") for mean in (0.5, 0.75, 1.0)]
    assert probabilities == [1.0, 0.0, 0.0]


def test_stops_from_the_threshold_on() -> None:
    assert StoppingRule(threshold=0.95).stops(0.95)
    assert not StoppingRule(threshold=0.95).stops(0.9499999)


@pytest.mark.parametrize(
    ("direction", "n", "expected"), [("maximize", 1, 5.0), ("maximize", 3, 2.0), ("minimize", 1, 1.0), ("minimize", 5, None)]
)
def test_nth_best(direction: str, n: int, expected: float | None) -> None:
    assert nth_best([2.0, 5.0, 1.0, 4.0], n, direction) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 0.0}, {"threshold": 1.01}, {"tolerance": -0.1}, {"tolerance": math.inf}, {"rank": 0}, {"min_curves": 5}],
)
def test_settings_out_of_range_name_the_value_and_the_rule(settings: dict[str, float]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name} must be .*{value!r}"):
        StoppingRule(**settings)  # type: ignore[arg-type]


finite = st.floats(-1e100, 1e100)


@given(mean=finite, sigma=st.floats(0, 1e100), beat=finite, tolerance=st.floats(0, 1e100))
def test_a_probability_whatever_the_numbers(mean: float, sigma: float, beat: float, tolerance: float) -> None:
    rule = StoppingRule(tolerance=tolerance)
    up = rule.probability(Prediction(mean, sigma), beat, "maximize")
    down = rule.probability(Prediction(-mean, sigma), -beat, "minimize")
    assert 0.0 <= up <= 1.0
    assert up == down
