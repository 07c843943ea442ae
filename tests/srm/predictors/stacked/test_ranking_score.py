"""The score that trials are ranked by: different curves do not tie, and a prior draws it to the rank by last value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.stacked import level_model
from curvestop.srm.predictors.stacked.normal_scale import NormalScale
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from tests.contracts_predictor import saturating_curves

TAU = 6


def scores(train: list[LearningCurve], asked: list[LearningCurve]) -> np.ndarray:
    predictor = StackedPredictor(direction="maximize").fit(train)
    assert predictor.modelled_length(TAU) == TAU
    return np.array(predictor.scores([curve.head(TAU) for curve in asked]))


@pytest.mark.parametrize("n", [10, 50])
def test_a_prior_counts_the_present_rank_as_so_many_curves(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train = saturating_curves(n)
    new = [replace(curve, trial=f"new {curve.trial}") for curve in saturating_curves(20, seed=1)]
    both = [*train, *new]
    head = scores(train, both)  # of the training curves, left-out ones
    monkeypatch.setattr(level_model, "RANK_PRIOR", 50.0)
    blended = scores(train, both)
    now = NormalScale.of(np.array([c.values[TAU - 1] for c in train]))(np.array([c.values[TAU - 1] for c in both]))
    assert blended == pytest.approx((n * head + 50 * now) / (n + 50), abs=1e-8)


def test_a_trial_that_is_better_than_all_before_is_not_level_with_the_best_of_them() -> None:
    train = saturating_curves(30)
    best = max(train, key=lambda curve: curve.values[TAU - 1])
    better = [LearningCurve(f"new {i}", best.configuration, tuple(v + i / 100 for v in best.values)) for i in range(1, 4)]
    assert (np.diff(scores(train, better)) > 0).all()
