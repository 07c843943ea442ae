"""The nouns: heads of curves and the last-seen-value heuristic, by hand."""

import math

from curvestop.srm.curve import Decision, LastSeenValue, LearningCurve, Prediction

CURVES = [
    LearningCurve("a", {}, (0.1, 0.3, 0.4)),
    LearningCurve("b", {}, (0.2, 0.2, 0.6)),
]


def test_head_is_the_curve_as_it_was() -> None:
    assert CURVES[0].head(2) == LearningCurve("a", {}, (0.1, 0.3))


def test_last_seen_value_errs_by_the_root_mean_square_of_what_was_still_to_come() -> None:
    prediction = LastSeenValue().fit(CURVES).predict(LearningCurve("x", {}, (0.5,)))
    assert prediction is not None
    assert prediction.mean == 0.5
    assert math.isclose(prediction.sigma, math.sqrt((0.3**2 + 0.4**2) / 2))


def test_last_seen_value_knows_nothing_of_lengths_it_never_saw() -> None:
    assert LastSeenValue().fit(CURVES).predict(LearningCurve("x", {}, (0.5, 0.5, 0.5))) is None


def test_a_decision_without_a_model_says_so() -> None:
    decision = Decision.carry_on("why")
    assert (decision.stop, decision.reason, decision.would_stop) == (False, "why", False)
    assert (decision.probability, decision.prediction, decision.chance) == (None, None, None)
    assert (decision.n_curves, decision.model_epoch, decision.conflicts, decision.ended_as) == (0, 0, (), None)


def test_a_prediction_is_a_value() -> None:
    assert Prediction(1.0, 0.5) == Prediction(1.0, 0.5)
