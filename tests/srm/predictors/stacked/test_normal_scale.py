"""Normal scores by hand, and that no two different values tie."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.predictors.stacked.normal_scale import NormalScale

Z = NormalDist().inv_cdf


def test_values_of_the_sample_have_the_quantiles_of_their_positions_and_ties_share_theirs() -> None:
    scale = NormalScale.of(np.array([3.0, 1.0, 1.0, 2.0]))  # positions 1/4 (shared), 5/8 and 7/8
    assert scale(np.array([1.0, 2.0, 3.0])) == pytest.approx([Z(1 / 4), Z(5 / 8), Z(7 / 8)])


def test_between_two_values_a_score_is_interpolated() -> None:
    scale = NormalScale.of(np.array([0.0, 10.0]))
    assert scale(2.5) == pytest.approx(0.75 * Z(1 / 4) + 0.25 * Z(3 / 4))


def test_beyond_the_sample_a_score_goes_on_by_the_share_of_the_distance_to_the_median() -> None:
    scale = NormalScale.of(np.array([0.0, 1.0, 3.0]))
    assert scale(7.0) == pytest.approx(Z(5 / 6) + 4 / 6)  # 4 above the best, 6 above the median
    assert scale(-1.0) == pytest.approx(Z(1 / 6) - 1 / 2)
    assert scale(1e150) == pytest.approx(Z(5 / 6) + 1)


def test_where_most_values_are_the_least_its_distance_is_in_units_of_the_range() -> None:
    scale = NormalScale.of(np.array([2.0, 2.0, 2.0, 4.0]))
    assert scale(1.0) == pytest.approx(Z(3 / 8) - 1 / 3)


@pytest.mark.parametrize("sample", [[0.5], [0.5, 0.5, 0.5]])
def test_of_equal_values_only_the_side_is_known(sample: list[float]) -> None:
    assert NormalScale.of(np.array(sample))(np.array([-1.0, 0.5, 0.6])).tolist() == [-1.0, 0.0, 1.0]


@given(st.lists(st.integers(-50, 50), min_size=1), st.lists(st.integers(-100, 100), min_size=2, unique=True))
def test_a_higher_value_has_a_higher_score(sample: list[int], asked: list[int]) -> None:
    scale = NormalScale.of(np.array(sample, dtype=float))
    if len(set(sample)) > 1:
        assert (np.diff(scale(np.sort(np.array(asked, dtype=float)))) > 0).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(-1e7, 1e7))
def test_a_float_is_scored_as_an_array_is(sample: list[float], value: float) -> None:
    scale = NormalScale.of(np.array(sample))
    assert scale(value) == scale(np.array([value]))[0]
