"""The contract of a `StudyOfMany`: many reports or curves at once are answered as if they had come one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from curvestop.srm.curve import Decision, LearningCurve
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike, StudyOfMany
from curvestop.srm.validation import EpochOutOfRange
from tests.contracts import COMPLETE, MakeStudy, last_seen

MANY = 300
"""More than one request to a server holds."""


class ManyContract:
    """Beside `StudyContract`, which has the fixture `make` and `settle`."""

    def settle(self, study: StudyLike) -> None:
        raise NotImplementedError

    def many(self, make: MakeStudy, settings: StudySettings) -> StudyOfMany:
        return cast(StudyOfMany, make(settings))

    def test_many_reports_are_answered_as_if_alone(self, make: MakeStudy) -> None:
        one_by_one, at_once = self.many(make, last_seen(name="one")), self.many(make, last_seen())
        reports = [Report(f"t{n}", [n / MANY, n / MANY][: 1 + n % 2], {"n": n}) for n in range(MANY)]
        for study in (one_by_one, at_once):
            study.report_many([Report(f"complete-{n}", values) for n, values in enumerate(COMPLETE)])
            self.settle(study)
        alone = [one_by_one.report(r.trial, r.values, configuration=r.configuration) for r in reports]
        assert at_once.report_many(reports) == alone
        assert at_once.trials() == one_by_one.trials()
        assert 0 < sum(decision.stop for decision in alone) < MANY

    def test_a_mistake_is_answered_in_its_place_and_spoils_no_other(self, make: MakeStudy) -> None:
        study = self.many(make, last_seen())
        study.report("a", [0.1], configuration={"lr": 0.1})
        reports = [
            Report("a", [0.1], {"lr": 0.2}),
            Report("b", [0.1, 0.2], first_epoch=3),
            Report("c", [0.1], ask=False),
            Report("", [0.1]),
            Report("d", [math.nan]),
            Report("a", [0.3, 0.2]),
        ]
        other_configuration, too_late, told, nameless, diverged, differs = study.report_many(reports)
        assert isinstance(other_configuration, ValueError)
        assert "which stays" in str(other_configuration)
        assert isinstance(too_late, EpochOutOfRange)
        assert isinstance(nameless, ValueError)
        assert told == Decision.carry_on("not asked")
        assert isinstance(diverged, Decision)
        assert diverged.stop
        assert isinstance(differs, Decision)
        assert differs.conflicts == ((1, 0.1),)
        assert [(trial.trial, trial.values) for trial in study.trials()] == [("a", (0.1, 0.2)), ("c", (0.1,)), ("d", ())]

    def test_long_reports_are_stored_whole(self, make: MakeStudy) -> None:
        study = self.many(make, last_seen(max_epochs=3000))
        curves = [tuple(float(n) for n in range(length)) for length in (2500, 1, 1000)]
        answers = study.report_many([Report(str(n), values) for n, values in enumerate(curves)])
        assert [isinstance(answer, Decision) for answer in answers] == [True] * 3
        assert [trial.values for trial in study.trials()] == curves

    def test_many_curves_are_predicted_as_if_alone(self, make: MakeStudy) -> None:
        study = self.many(make, last_seen())
        study.report_many([Report(f"complete-{n}", values) for n, values in enumerate(COMPLETE)])
        self.settle(study)
        curves = [LearningCurve("", {"n": n}, (n / MANY,) * (1 + n % 3)) for n in range(MANY)]
        alone = [study.predict(curve.values, configuration=curve.configuration) for curve in curves]
        assert study.predict_many(curves) == alone
        assert sum(prediction is None for prediction in alone) == MANY // 3  # nothing is left to predict of whole ones
        assert len(study.trials()) == len(COMPLETE)

    def test_many_curves_are_predicted_at_a_target(self, make: MakeStudy) -> None:
        study = self.many(make, last_seen())
        study.report_many([Report(f"complete-{n}", values) for n, values in enumerate(COMPLETE)])
        study.predict([0.5], target_epoch=2)
        self.settle(study)
        curves = [LearningCurve("", {}, (0.5,)), LearningCurve("", {}, (0.4,))]
        assert study.predict_many(curves, target_epoch=2) == [study.predict(c.values, target_epoch=2) for c in curves]

    @pytest.mark.parametrize("values", [(), (math.nan,), (0.1, math.inf), (0.1,) * 4])
    def test_one_that_is_no_curve_is_a_mistake(self, make: MakeStudy, values: Sequence[float]) -> None:
        curves = [LearningCurve("", {}, (0.1,)), LearningCurve("", {}, tuple(values))]
        with pytest.raises(ValueError, match=r"at least one value, all finite|at most max_epochs"):
            self.many(make, last_seen()).predict_many(curves)

    @pytest.mark.parametrize(
        ("epochs", "says"),
        [
            ((1, 1.5, 3), "an epoch of a curve must be a whole number >= 1, but got 1.5"),
            ((0, 1, 2), "an epoch of a curve must be >= 1, but got 0"),
            ((1, 2, 4), "an epoch of a curve must be at most max_epochs = 3, but got 4"),
            ((1, 3, 2), r"epochs must rise and be as many as the 3 values, but got \(1, 3, 2\)"),
            ((1, 3), r"epochs must rise and be as many as the 3 values, but got \(1, 3\)"),
        ],
    )
    def test_epochs_of_a_curve_are_checked(self, make: MakeStudy, epochs: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            self.many(make, last_seen()).predict_many([LearningCurve("", {}, (0.1, 0.2, 0.3), epochs)])

    def test_takes_curves_as_people_write_them(self, make: MakeStudy) -> None:
        study: Any = self.many(make, last_seen())
        study.report_many([Report(f"complete-{n}", values) for n, values in enumerate(COMPLETE)])
        self.settle(study)
        number: Any = LearningCurve("", {"layers": [8]}, 0.5)  # type: ignore[dict-item, arg-type]
        sparse: Any = LearningCurve("", {}, np.array([0.5]), np.array([2]))  # type: ignore[arg-type]
        assert study.predict_many([number, sparse]) == [study.predict([0.5]), study.predict([0.5, 0.5])]

    def test_none_is_none(self, make: MakeStudy) -> None:
        study = self.many(make, last_seen())
        assert study.report_many([]) == []
        assert study.predict_many([]) == []
