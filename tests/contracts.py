"""Contracts: one class a protocol, inherited by the tests of everything that claims to follow it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike
from curvestop.srm.trial import UnknownTrial
from curvestop.srm.validation import EpochOutOfRange

MakeStudy = Callable[[StudySettings], StudyLike]

# Six complete curves for the last-seen value. From epoch 1 the errors are +-0.1, so sigma(1) = 0.1; the best final value is 0.6.
COMPLETE = [(0.5, 0.55, 0.6), (0.5, 0.55, 0.4)] * 3
TWO_SIGMA = 0.9772498680518208  # normal distribution function at 2
ONE_SIGMA = 0.8413447460685429


def last_seen(**changes: Any) -> StudySettings:
    rule = StoppingRule(min_curves=6)
    default = {"name": "s", "max_epochs": 3, "predictor": "last-seen", "rule": rule, "policy": "threshold"}
    return StudySettings(**{**default, **changes})


def assert_predicts(prediction: Prediction | None, *, mean: float, sigma: float) -> None:
    assert prediction is not None
    assert prediction.mean == mean
    assert prediction.sigma == pytest.approx(sigma)


class StudyContract:
    """What every `StudyLike` does. A subclass gives `make` and, where fits happen elsewhere, `settle`."""

    @pytest.fixture
    def make(self) -> MakeStudy:
        raise NotImplementedError

    def settle(self, study: StudyLike) -> None:
        """Wait until the fits that are due are done."""

    def with_complete_curves(self, make: MakeStudy, **changes: Any) -> StudyLike:
        study = make(last_seen(**changes))
        for number, values in enumerate(COMPLETE):
            study.report(f"complete-{number}", values)
        self.settle(study)
        return study

    def test_keeps_its_settings(self, make: MakeStudy) -> None:
        settings = StudySettings(
            "näme",
            9,
            metric="loss",
            direction="minimize",
            rule=StoppingRule(0.9, 0.01, 2, 7),
            predictor="nu-svr",
            predictor_settings={"n_candidates": 5},
            log_scaled=("lr",),
            refit_growth=1.5,
            policy="any",
            policy_settings={"rules": [{"name": "patience", "share": 0.2}, {"name": "rank", "keep": (0.5, 1), "n_early": 3}]},
            shadow=True,
            hold_out=0.25,
        )
        study = make(settings)
        study.report("a", [1.0], configuration={"lr": 0.1})
        assert study.settings == settings

    def test_goes_on_while_there_are_too_few_curves(self, make: MakeStudy) -> None:
        decision = make(last_seen()).report("a", [0.1])
        assert decision == Decision(stop=False, reason="fewer than 6 curves reached epoch 3: 0 so far")

    def test_stops_what_is_hopeless_and_says_why(self, make: MakeStudy) -> None:
        decision = self.with_complete_curves(make).report("a", [0.4])
        assert decision.stop
        assert decision.probability == pytest.approx(TWO_SIGMA)  # (0.6 - 0.4) / 0.1 = 2
        assert_predicts(decision.prediction, mean=0.4, sigma=0.1)
        assert (decision.n_curves, decision.model_epoch) == (6, 1)
        assert "0.977, stops at 0.95" in decision.reason
        assert "6 complete curves" in decision.reason

    def test_goes_on_with_what_may_win(self, make: MakeStudy) -> None:
        decision = self.with_complete_curves(make).report("a", [0.5])
        assert not decision.stop
        assert decision.probability == pytest.approx(ONE_SIGMA)

    def test_minimises(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make, direction="minimize")  # the best final value is 0.4
        assert study.report("high", [0.6]).probability == pytest.approx(TWO_SIGMA)
        assert study.report("low", [0.3]).probability == pytest.approx(1 - ONE_SIGMA)

    def test_compares_with_the_value_to_beat_when_given_one(self, make: MakeStudy) -> None:
        decision = self.with_complete_curves(make).report("a", [0.4], value_to_beat=0.3)
        assert not decision.stop
        assert decision.probability == pytest.approx(1 - ONE_SIGMA)

    def test_predicts_at_the_target_epoch(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        study.predict([0.4], target_epoch=2)  # from now on models for epoch 2 are due: sigma is 0.05
        self.settle(study)
        decision = study.report("a", [0.4], target_epoch=2, value_to_beat=0.5)
        assert decision.stop
        assert decision.probability == pytest.approx(TWO_SIGMA)
        assert_predicts(decision.prediction, mean=0.4, sigma=0.05)

    def test_a_stop_is_final_for_its_target_epoch_only(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        stop = study.report("a", [0.4])
        assert stop.stop
        assert study.report("a", [0.9], first_epoch=2) == stop
        assert study.report("a", [], value_to_beat=0.0) == stop
        assert not study.report("a", [], target_epoch=2).stop

    def test_a_repeated_question_has_the_same_answer(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        answer = study.report("a", [0.5])
        study.report("better", [0.7, 0.8, 0.9])  # the value to beat is higher now
        self.settle(study)
        assert study.report("a", [0.5]) == answer
        assert study.report("b", [0.5]).stop

    def test_the_first_value_stays_and_another_one_is_told_once(self, make: MakeStudy, caplog: pytest.LogCaptureFixture) -> None:
        study = make(last_seen())
        study.report("a", [0.1, 0.2])
        assert not caplog.records
        decision = study.report("a", [0.1, 0.25, 0.3])
        assert decision.conflicts == ((2, 0.2),)
        study.report("a", [0.15])
        (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
        assert warning.startswith("trial 'a' of study 's' has the value 0.2 at epoch 2 already, which stays: 0.25 is not stored.")
        assert [trial.values for trial in study.trials()] == [(0.1, 0.2, 0.3)]

    def test_reporting_the_curve_so_far_is_reporting_its_end(self, make: MakeStudy) -> None:
        study = make(last_seen())
        for epochs in (1, 2, 2, 3):
            assert study.report("a", [0.1, 0.2, 0.3][:epochs]).conflicts == ()
        assert study.trials()[0].values == (0.1, 0.2, 0.3)

    def test_epochs_that_were_not_reported_lie_on_a_line(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        decision = study.report("a", [0.4], first_epoch=2)
        assert_predicts(decision.prediction, mean=0.4, sigma=math.sqrt(0.0125))  # the errors from epoch 2 are 0.05 and -0.15
        assert (decision.n_curves, decision.model_epoch) == (6, 2)
        assert decision.reason.endswith("; the trial made 1 report so far")
        assert (study.trials()[-1].values, study.trials()[-1].epochs) == ((0.4,), (2,))  # what was reported, nothing else

    def test_a_long_training_is_read_at_few_of_its_epochs(self, make: MakeStudy) -> None:
        """Two curves of four reports, six times: from 500,000,000 on the errors of the last value are +-0.1."""
        study = make(last_seen(max_epochs=10**9))
        for number, final in enumerate([0.6, 0.4] * 3):
            for quarter, value in enumerate([0.3, 0.5, 0.5, final], start=1):
                study.report(f"{number}", [value], first_epoch=quarter * 250_000_000)
        self.settle(study)
        early = study.report("a", [0.9], first_epoch=2_499_999)
        assert early.reason == "of 1,000,000,000 epochs, epoch 2,500,000 is the first after which trials are compared"
        decision = study.report("a", [0.4], first_epoch=500_000_000)
        assert decision.stop
        assert_predicts(decision.prediction, mean=0.4, sigma=0.1)
        assert decision.probability == pytest.approx(TWO_SIGMA)
        assert (decision.n_curves, decision.model_epoch) == (6, 500_000_000)
        assert "from 500,000,000 epochs" in decision.reason

    def test_reports_of_seconds(self, make: MakeStudy) -> None:
        study = make(last_seen(max_epochs=None, max_resource=600, resource="second"))
        for seconds, value in ((0, 0.1), (95.2, 0.5), (299.75, 0.6), (604.5, 0.7)):  # nothing at 0; no clock stops on time
            decision = study.report("a", [value], at=seconds)
        assert decision.reason == "second 600 is reached: nothing is left to predict"
        (trial,) = study.trials()
        assert trial.values == (0.5, 0.6, 0.7)
        assert [study.settings.axis.amount(epoch) for epoch in trial.epochs or ()] == [95.2, 299.75, 600]

    def test_a_value_that_comes_late_fills_its_gap(self, make: MakeStudy) -> None:
        study = make(last_seen())
        study.report("a", [0.2, 0.3], first_epoch=2)
        assert (study.trials()[0].values, study.trials()[0].epochs) == ((0.2, 0.3), (2, 3))
        study.report("a", [0.1])
        assert (study.trials()[0].values, study.trials()[0].epochs) == ((0.1, 0.2, 0.3), None)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_value_that_is_not_finite_stops_the_trial(self, make: MakeStudy, value: float) -> None:
        study = make(last_seen())
        decision = study.report("a", [0.1, value, 0.3])
        assert decision.stop
        assert decision.reason == "the metric of epoch 2 is not a finite number: the trial diverged"
        assert [(trial.values, trial.state) for trial in study.trials()] == [((0.1,), "failed")]
        assert study.report("a", [0.2], first_epoch=2).stop
        assert study.report("a", [value], first_epoch=3).reason == decision.reason

    def test_a_first_value_that_is_not_finite_stops_too(self, make: MakeStudy) -> None:
        study = make(last_seen())
        assert study.report("a", [math.nan]).stop
        assert [(trial.values, trial.state) for trial in study.trials()] == [((), "failed")]

    def test_does_not_judge_unasked(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        assert study.report("a", [0.4], ask=False) == Decision(stop=False, reason="not asked")
        assert study.report("a", [0.4, 0.1], ask=False).conflicts == ()
        assert study.trials()[-1].values == (0.4, 0.1)

    def test_a_trial_ends_once(self, make: MakeStudy) -> None:
        study = make(last_seen())
        study.report("a", [0.1])
        assert study.finish("a", "stopped") == "stopped"
        assert study.finish("a", "finished") == "stopped"
        assert study.trials()[0].state == "stopped"
        assert study.report("a", [0.2], first_epoch=2).stop

    def test_a_trial_that_has_ended_is_told_once_and_keeps_the_reason_of_its_stop(
        self, make: MakeStudy, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = self.with_complete_curves(make)
        stop = study.report("bad", [0.4])
        assert stop.stop
        assert study.finish("bad", "stopped") == "stopped"
        study.finish("complete-0")
        assert not caplog.records
        for _ in range(2):
            again = study.report("bad", [0.4], configuration={})
            assert again == replace(stop, ended_as="stopped")
            known = study.report("complete-0", [0.7])
            assert (known.ended_as, known.conflicts, known.stop) == ("finished", ((1, 0.5),), False)
        assert study.report("complete-1", [0.5], ask=False).ended_as is None
        study.report("mine", [0.5])
        study.finish("mine", "stopped")
        assert study.report("mine", []).reason == "the trial was ended as stopped"
        assert study.report("nan", [math.nan]).ended_as is None
        assert study.report("nan", [0.5]).ended_as == "failed"
        stopped, finished, mine, failed = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert stopped.startswith(
            f"trial 'bad' of study 's' had ended as stopped before it reported: it trains no more ({stop.reason})"
        )
        assert "resume('bad') of the study lets this one continue" in stopped
        assert "trial 'complete-0' of study 's' had ended as finished before it reported: no value replaces one" in finished
        assert finished.endswith("A new training needs a new name; `Epochs` and the callbacks make one where none is given.")
        assert "trial 'mine' of study 's' had ended as stopped" in mine
        assert (
            "trial 'nan' of study 's' had ended as failed before it reported: it trains no more (the metric of epoch 1" in failed
        )

    def test_a_trial_finished_early_is_a_complete_curve(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        study.report("early", [0.7, 0.8])
        assert study.finish("early") == "finished"
        assert study.report("a", [0.6]).probability == pytest.approx(TWO_SIGMA)  # the best is 0.8 now
        late = study.report("early", [0.9], first_epoch=3)
        assert not late.stop
        assert "was ended as finished" in late.reason
        assert study.trials()[-2].values == (0.7, 0.8, 0.9)

    def test_only_a_known_trial_ends(self, make: MakeStudy) -> None:
        with pytest.raises(UnknownTrial, match="no trial 'nobody'"):
            make(last_seen()).finish("nobody")

    def test_configurations_keep_their_values_and_types(self, make: MakeStudy) -> None:
        study = make(last_seen())
        configuration: Configuration = {"flag": True, "layers": 3, "lr": 0.1, "size": -(2**63), "text": "reLU é", "one": 1.0}
        study.report("a", [0.1], configuration=configuration)
        study.report("b", [0.1], configuration={})
        study.report("c", [0.1])
        study.report("a", [0.2], first_epoch=2)  # None: the one it has
        first, *others = study.trials()
        assert first.configuration == configuration
        assert {name: type(value) for name, value in first.configuration.items()} == {
            name: type(value) for name, value in configuration.items()
        }
        assert [trial.configuration for trial in others] == [{}, {}]

    def test_a_configuration_stays(self, make: MakeStudy) -> None:
        study = make(last_seen())
        study.report("a", [0.1], configuration={"lr": 0.1})
        study.report("b", [0.1], configuration={"lr": 0.1, "width": 8})
        with pytest.raises(
            ValueError, match=r"was reported with \{'lr': 0\.1\}, which stays, but got \{'lr': 0\.2\}: a new trial"
        ):
            study.report("a", [0.2], first_epoch=2, configuration={"lr": 0.2})
        with pytest.raises(
            ValueError, match=r"was reported with \{'lr': 0\.1\}, which stays, but got \{'lr': 0\.2\}: a new trial"
        ):
            study.report("b", [0.2], first_epoch=2, configuration={"lr": 0.2, "width": 8})
        assert study.trials()[0].values == (0.1,)

    def test_takes_what_people_write(self, make: MakeStudy) -> None:
        study: Any = make(last_seen(max_epochs=np.int64(4)))
        study.report(
            7, 0.25, configuration={"layers": [64, 32], "decay": None, "adam": {"lr": np.float64(0.5)}, "n": np.int64(3)}
        )
        study.report(np.int64(7), np.float32(0.5), first_epoch=np.int64(2))
        study.report(
            "7", np.array([0.75, 1.0]), first_epoch=3, configuration={"layers": [64, 32], "decay": "None", "adam/lr": 0.5, "n": 3}
        )
        (trial,) = study.trials()
        assert (trial.trial, trial.values) == ("7", (0.25, 0.5, 0.75, 1.0))
        assert trial.configuration == {"layers": "[64, 32]", "decay": "None", "adam/lr": 0.5, "n": 3}
        assert study.predict(0.5, configuration={"layers": [64, 32]}) is None
        assert study.finish(7) == "finished"

    def test_predicts_any_curve(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        assert_predicts(study.predict([0.45], configuration={"lr": 0.1}), mean=0.45, sigma=0.1)
        assert len(study.trials()) == 6

    def test_predicts_nothing_without_models(self, make: MakeStudy) -> None:
        assert make(last_seen()).predict([0.45]) is None

    def test_lists_trials_in_the_order_of_their_first_report(self, make: MakeStudy) -> None:
        study = make(last_seen())
        for name in ("z", "a", "m", "é" * 128, "a"):
            study.report(name, [0.1])
        assert [trial.trial for trial in study.trials()] == ["z", "a", "m", "é" * 128]

    def test_takes_long_curves_in_one_go(self, make: MakeStudy) -> None:
        study = make(last_seen(max_epochs=2500))
        study.report("a", [0.5], first_epoch=7, ask=False)
        curve = [epoch / 2500 for epoch in range(1, 2402)]
        assert study.report("a", curve).conflicts == ((7, 0.5),)
        assert study.trials()[0].values == (*curve[:6], 0.5, *curve[7:])

    def test_minus_zero_is_zero(self, make: MakeStudy) -> None:
        study = make(last_seen())
        study.report("a", [-0.0])
        assert math.copysign(1.0, study.trials()[0].values[0]) == 1.0

    @pytest.mark.parametrize(
        ("mistake", "error", "says"),
        [
            ({"trial": ""}, ValueError, "1 to 256 bytes"),
            ({"trial": "é" * 129}, ValueError, "1 to 256 bytes"),
            ({"trial": "a\x00b"}, ValueError, "control characters"),
            ({"trial": "\ud800"}, ValueError, "valid Unicode"),
            ({"first_epoch": 0}, ValueError, "first_epoch must be >= 1"),
            ({"first_epoch": 4}, EpochOutOfRange, "at most max_epochs = 3"),
            ({"values": [0.1] * 4}, EpochOutOfRange, "at most max_epochs = 3"),
            ({"values": [0.1, 1.1e100]}, ValueError, "epoch 2 has 1.1e"),
            ({"target_epoch": 0}, ValueError, "target_epoch must be >= 1"),
            ({"target_epoch": 4}, EpochOutOfRange, "target_epoch must be at most"),
            ({"value_to_beat": math.nan}, ValueError, "value_to_beat must be finite"),
            ({"configuration": {"lr": math.inf}}, ValueError, "lr must be finite"),
            ({"configuration": {"lr": {0.1}}}, ValueError, "lr must be a number, a boolean, a string, a list or None, but got"),
            ({"configuration": [0.1]}, ValueError, "a configuration must be a mapping such as"),
            ({"trial": 0.5}, ValueError, "a trial name must be text or a whole number, but got 0.5"),
            ({"trial": None}, ValueError, "a trial name must be text or a whole number, but got None"),
            ({"first_epoch": 1.0}, ValueError, "first_epoch must be a whole number >= 1, but got 1.0"),
            ({"values": [0.1, None]}, ValueError, "a value must be a number, but epoch 2 has None"),
            ({"values": ["0.5"]}, ValueError, "a value must be a number, but epoch 1 has '0.5'"),
            ({"values": "0.5"}, ValueError, "values must be a number or a list of numbers, but got '0.5'"),
            ({"values": iter([0.5])}, ValueError, "a value must be a number, but epoch 1 has <list_iterator"),
            ({"configuration": {"": 0.1}}, ValueError, "1 to 256 bytes"),
            ({"configuration": {"rate": 0.0}}, ValueError, "rate is declared log-scaled"),
        ],
    )
    def test_mistakes_are_refused_before_anything_is_stored(
        self, make: MakeStudy, mistake: Mapping[str, Any], error: type[Exception], says: str
    ) -> None:
        study = make(last_seen(log_scaled=("rate",)))
        report: dict[str, Any] = {"trial": "a", "values": [0.1], **mistake}
        with pytest.raises(error, match=says):
            study.report(**report)
        assert study.trials() == ()

    def test_mistakes_of_the_other_calls_are_refused(self, make: MakeStudy) -> None:
        study = make(last_seen())
        study.report("a", [0.1])
        with pytest.raises(ValueError, match="state must be"):
            study.finish("a", "running")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one value"):
            study.predict([])
        with pytest.raises(ValueError, match="all finite"):
            study.predict([math.nan])
        with pytest.raises(EpochOutOfRange, match="target_epoch"):
            study.predict([0.1], target_epoch=4)
        assert study.trials()[0].state == "running"
