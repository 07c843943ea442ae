"""Feature rows, by hand."""

import math

import numpy as np
import pytest

from curvestop.srm.curve import Configuration
from curvestop.srm.regression.features import ConfigurationFeatures, curve_features, enabled_groups, group_of


def test_values_first_and_second_differences() -> None:
    rows = curve_features(np.array([[1.0, 3.0, 4.0]]))
    assert rows.tolist() == [[1.0, 3.0, 4.0, 2.0, 1.0, -1.0]]


@pytest.mark.parametrize(("tau", "width"), [(1, 1), (2, 3), (3, 6), (10, 27)])
def test_width(tau: int, width: int) -> None:
    assert curve_features(np.zeros((4, tau))).shape == (4, width)


def test_numbers_logarithms_booleans_and_categories() -> None:
    features = ConfigurationFeatures(log_scaled=["lr"]).fit(
        [{"lr": 0.1, "act": "relu", "bias": True}, {"lr": 0.01, "act": "tanh", "bias": False}]
    )
    assert features.columns_ == (("act", "relu"), ("act", "tanh"), ("bias", None), ("lr", None))
    assert features.transform([{"lr": 1.0, "act": "tanh", "bias": True}]).tolist() == [[0.0, 1.0, 1.0, 0.0]]


def test_missing_number_takes_the_training_mean_and_unseen_category_is_all_zeros() -> None:
    features = ConfigurationFeatures(log_scaled=["lr"]).fit([{"lr": 1.0, "act": "a"}, {"lr": math.e**2}])
    assert features.transform([{"act": "b"}]).tolist() == [[0.0, 1.0]]


def test_no_configuration_is_no_columns() -> None:
    assert ConfigurationFeatures().fit([{}, {}]).transform([{}]).shape == (1, 0)


def test_configurations_of_numbers_only_give_the_same_rows_as_those_with_a_category_beside_them() -> None:
    numbers: list[Configuration] = [
        {"lr": 0.1, "depth": 3, "bias": True},
        {"lr": 0.01, "depth": 2**70, "bias": False},
        {"depth": 5},
    ]
    for known in (numbers, numbers[:2], [{"lr": 0.1, "depth": 3.5, "bias": True}]):
        fitted = ConfigurationFeatures(log_scaled=["lr"]).fit(known)
        beside = ConfigurationFeatures(log_scaled=["lr"]).fit([{**c, "z": "a"} for c in known])
        for asked in (numbers, numbers[:1], [{**numbers[0], "depth": "many"}]):
            assert fitted.transform(asked).tolist() == beside.transform(asked)[:, :-1].tolist()


@pytest.mark.parametrize(
    ("name", "group"), [("lr", "HP"), ("ap:depth", "AP"), ("BoW:conv", "BoW"), ("other:x", "HP"), ("bow", "HP")]
)
def test_group_of_a_name(name: str, group: str) -> None:
    assert group_of(name) == group


def test_groups_that_are_switched_off_are_no_columns() -> None:
    groups = enabled_groups(ap=0)
    features = ConfigurationFeatures(groups=groups).fit([{"lr": 0.1, "ap:depth": 3, "bow:conv": 2}])
    assert [name for name, _ in features.columns_] == ["bow:conv", "lr"]


def test_a_switch_is_on_or_off() -> None:
    with pytest.raises(ValueError, match=r"bow must be 1 \(used\) or 0 \(left out\), but got 2"):
        enabled_groups(bow=2)
