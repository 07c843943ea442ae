"""The learned policy's thresholds, by hand."""

from __future__ import annotations

import math

import pytest

from curvestop.srm.policies.boosted_trees import BoostedTrees
from curvestop.srm.policies.learned import Coefficients, LearnedPolicy, Regression, experience
from curvestop.srm.policies.trial_features import FEATURES

NOTHING = Regression(0.0, (0.0,) * len(FEATURES))
NO_TREES = BoostedTrees(0.0, ())
POLICY = LearnedPolicy(risk=0.1, coefficients=Coefficients(NOTHING, NOTHING, NO_TREES, ((0.1, 0.01),)))


def test_a_threshold_by_hand() -> None:
    # 0.01, a quarter of the epochs seen, a third of the reference's others, five complete trials: * .75 * 3 * 5 / 25.
    assert POLICY.threshold(0.25, 10, 5) == pytest.approx(0.01 * 0.75 * 3 * 0.2)


def test_a_threshold_falls_with_the_epochs_seen_and_rises_with_complete_trials() -> None:
    assert POLICY.threshold(0.1, 30, 8) > POLICY.threshold(0.5, 30, 8) > POLICY.threshold(0.9, 30, 8) > 0
    assert POLICY.threshold(0.1, 30, 20) > POLICY.threshold(0.1, 30, 8)
    assert POLICY.threshold(0.1, 60, 20) < POLICY.threshold(0.1, 30, 20)


def test_in_large_studies_the_threshold_is_that_of_the_expected_loss() -> None:
    # With all trials complete, n others each: n * threshold tends to 30 * 0.01 * (1 - share), what all stops together may lose.
    assert 100_000 * POLICY.threshold(0.5, 100_000, 100_000) == pytest.approx(0.15, rel=1e-3)


@pytest.mark.parametrize(("n_others", "n_completed", "known"), [(12, 7, 7), (28, 7, 7), (40, 7, 10), (20, 0, 5)])
def test_four_trials_at_a_decision_point_tell_as_much_as_a_complete_one(n_others: int, n_completed: int, known: float) -> None:
    assert experience(n_others, n_completed) == known


def test_the_chance_is_twice_the_sigmoid_and_no_more_than_one() -> None:
    assert NOTHING.chance([1.0] * len(FEATURES)) == 1.0  # 2 * 0.5
    assert Regression(-7.0, NOTHING.weights).chance([0.0] * len(FEATURES)) == pytest.approx(2 * 0.000911, rel=1e-3)


def test_the_chance_is_the_geometric_mean_of_regression_and_trees() -> None:
    likely, unlikely = Regression(-3.0, NOTHING.weights), Regression(-7.0, NOTHING.weights)
    coefficients = Coefficients(unlikely, likely, BoostedTrees(-2.0, ()), ())
    nothing = [0.0] * len(FEATURES)
    # 1 / (1 + e^2) = .119203; 2 / (1 + e^7) = .00182211 and 2 / (1 + e^3) = .0948517.
    assert coefficients.chance(nothing, has_model=False) == pytest.approx(0.0147377, rel=1e-4)
    assert coefficients.chance(nothing, has_model=True) == pytest.approx(0.106332, rel=1e-4)


def test_in_searches_larger_than_any_it_learnt_from_the_chance_by_trees_falls_as_that_of_a_draw() -> None:
    coefficients = Coefficients(Regression(-7.0, NOTHING.weights), NOTHING, BoostedTrees(-2.0, ()), ())
    among = {n: [math.log1p(n) if name == "log_arrived" else 0.0 for name in FEATURES] for n in (0, 60, 400)}
    chances = {n: coefficients.chance(features, has_model=False) for n, features in among.items()}
    assert chances[0] == chances[60]
    assert chances[400] == pytest.approx(chances[60] / 2)  # of the geometric mean, a quarter of one factor


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"risk must be in \(0, 1\), but got 1.5"):
        LearnedPolicy(risk=1.5)
    with pytest.raises(ValueError, match="min_completed must be >= 1, but got 0"):
        LearnedPolicy(min_completed=0)
