"""A `Study` decides as the replay benchmark does, trial by trial, when both have the same models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.shuffled_study import Forecast
from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.policy_replay import PolicyReplay
from curvestop.srm.curve import LearningCurve
from curvestop.srm.model_cache import due_size
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from curvestop.srm.settings import StudySettings
from tests.benchmarks.test_replay import curves_of

FIRST, GROWTH = 8, 1.2


class Fitted:
    """The default predictor, searched and refitted when a study would do it."""

    def __init__(self, study: CurveSet) -> None:
        configurations = study.configurations.tolist()
        self._study = study
        self._curves = [
            LearningCurve(str(i), {f"x{j}": x for j, x in enumerate(configurations[i])}, tuple(values))
            for i, values in enumerate(study.curves.tolist())
        ]
        self._searched: dict[int, StackedPredictor] = {}

    def forecast(self, epoch: int, completed: Sequence[int]) -> Forecast | None:
        size = due_size(len(completed), first=FIRST, growth=GROWTH)
        if size == 0:
            return None
        complete = [self._curves[i] for i in completed]
        if size not in self._searched:
            self._searched[size] = StackedPredictor(direction=self._study.direction).fit(complete[:size])
        predictor = self._searched[size].refitted(complete) if len(completed) > size else self._searched[size]
        heads = [curve.head(epoch) for curve in self._curves]
        scores, predictions = predictor.scores(heads), predictor.predict_many(heads)
        assert scores is not None
        means, sigmas = zip(*((p.mean, p.sigma) for p in predictions if p is not None), strict=True)
        (r2,) = (known.r2 for known in predictor.reliability if known.tau == epoch)
        sign = self._study.sign
        return Forecast(sign * np.array(scores), np.array(means), np.array(sigmas), len(completed), r2)


POLICIES: dict[str, dict[str, Any]] = {
    "predictive-rank": {"margin": 1.5, "late": 0, "keep": [0.1, 0.6]},  # strict enough to stop some even in noise
    "learned": {"risk": 0.3},
}


@pytest.mark.parametrize(
    ("policy", "direction", "workers", "noise"),
    [
        ("predictive-rank", "maximize", 1, 0.0),
        ("predictive-rank", "minimize", 4, 0.0),
        ("predictive-rank", "maximize", 4, 3.0),
        ("learned", "maximize", 1, 0.0),
        ("learned", "minimize", 4, 3.0),
    ],
)
def test_a_study_stops_what_the_benchmark_stops(policy: str, direction: Any, workers: int, noise: float) -> None:
    rng = np.random.default_rng(5)
    n = 40 if noise else 70  # in noise the model is not trusted at most decision points
    curves = curves_of(n, 20, seed=6) + noise * rng.normal(size=(n, 20))
    signed = curves if direction == "maximize" else -curves
    study = CurveSet("drawn", 0, signed, rng.normal(size=(n, 2)), direction)
    settings = StudySettings(
        "s",
        20,
        direction=direction,
        rule=StoppingRule(min_curves=FIRST),
        refit_growth=GROWTH,
        policy=policy,
        policy_settings=POLICIES[policy],
    )
    durations = rng.uniform(0.5, 2, n)
    ours = PolicyReplay(study, settings, workers=workers, durations=durations)
    theirs = SearchReplay(study, settings.stopping, workers=workers, durations=durations, models=Fitted(study))
    without = SearchReplay(study, settings.stopping, workers=workers, durations=durations)
    assert ours.ended_at.tolist() == theirs.ended_at.tolist()
    assert (ours.ended_at < 20).sum() > 5
    if not noise:
        assert ours.ended_at.tolist() != without.ended_at.tolist()  # the model had a say
