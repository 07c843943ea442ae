"""The score that trials are ranked by: different curves do not tie."""

from __future__ import annotations

import numpy as np

from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from tests.contracts_predictor import saturating_curves

TAU = 6


def scores(train: list[LearningCurve], asked: list[LearningCurve]) -> np.ndarray:
    predictor = StackedPredictor(direction="maximize").fit(train)
    assert predictor.modelled_length(TAU) == TAU
    return np.array(predictor.scores([curve.head(TAU) for curve in asked]))


def test_a_trial_that_is_better_than_all_before_is_not_level_with_the_best_of_them() -> None:
    train = saturating_curves(30)
    best = max(train, key=lambda curve: curve.values[TAU - 1])
    better = [LearningCurve(f"new {i}", best.configuration, tuple(v + i / 100 for v in best.values)) for i in range(1, 4)]
    assert (np.diff(scores(train, better)) > 0).all()
