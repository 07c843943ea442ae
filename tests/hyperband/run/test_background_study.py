"""A study whose fits are done beside it answers at once, and with models as soon as they are there."""

from __future__ import annotations

from contextlib import closing

from curvestop.hyperband.run.background_study import BackgroundFitStudy
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings


def test_models_come_by_themselves_and_judge() -> None:
    settings = StudySettings("s", 3, predictor="ols", policy="threshold", rule=StoppingRule(threshold=0.9, min_curves=6))
    with closing(BackgroundFitStudy(settings)) as study:
        for number in range(9):
            study.report(f"t{number}", [0.1 * number, 0.11 * number, 0.12 * number])
        while study.predict([0.1]) is None:  # the test's time limit ends this
            pass
        decision = study.report("hopeless", [0.01])
        assert decision.stop
        assert study.finish("hopeless", "stopped") == "stopped"
        assert [trial.state for trial in study.trials()] == ["running"] * 9 + ["stopped"]
