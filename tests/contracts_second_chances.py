"""The contract of second chances: stopped trials are ranked by what the study knows now, and resumed trials are decided anew."""

from __future__ import annotations

import math
from typing import cast

import pytest

from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.study_like import StudyLike, StudyOfMany
from curvestop.srm.trial import UnknownTrial
from tests.contracts import COMPLETE, MakeStudy, last_seen

LEARNED = StudySettings("s", 20, rule=StoppingRule(min_curves=6), predictor="last-seen")


def late_bloomers(n: int) -> dict[str, list[float]]:
    """Half of the trials rise early and stay at .5; the other half are at 0 for six epochs and end at .9 and more."""
    return {f"t{i}": [0.01 * i] * 6 + [0.9 + 0.001 * i] * 14 if i % 2 else [0.5 + 0.001 * i] * 20 for i in range(n)}


class SecondChanceContract:
    """Beside `StudyContract`, which has the fixture `make` and `settle`."""

    def settle(self, study: StudyLike) -> None:
        raise NotImplementedError

    def searched(self, make: MakeStudy) -> StudyOfMany:
        """Three trials that were stopped before anything was known, then thirty complete ones."""
        study = cast(StudyOfMany, make(LEARNED))
        for trial, value in (("poor", -5.0), ("good", 0.3), ("fair", 0.001)):
            study.report(trial, [value] * 5, configuration={"value": value}, ask=False)
            study.finish(trial, "stopped")
        study.report("failed", [0.1] * 5 + [math.nan])
        study.report("short", [])
        study.finish("short", "stopped")  # before the first decision point
        study.report_many([Report(trial, values, ask=False) for trial, values in late_bloomers(30).items()])
        self.settle(study)
        return study

    def stopped_at_once(self, make: MakeStudy) -> StudyOfMany:
        """A trial "a" that the policy stopped at its first epoch."""
        study = cast(StudyOfMany, make(last_seen()))
        study.report_many([Report(str(number), values) for number, values in enumerate(COMPLETE)])
        self.settle(study)
        assert study.report("a", [0.4]).stop
        return study

    def test_second_chances_are_those_of_a_study_in_process(self, make: MakeStudy) -> None:
        chances = self.searched(make).second_chances()
        assert chances == self.searched(Study).second_chances()
        assert [chance.trial for chance in chances] == ["good", "fair", "poor"]
        assert [chance.next_epoch for chance in chances] == [6] * 3
        assert [chance.configuration["value"] for chance in chances] == [0.3, 0.001, -5.0]
        assert 1 >= chances[0].chance > chances[1].chance > chances[2].chance > 0

    def test_at_most_n_are_returned(self, make: MakeStudy) -> None:
        study = self.searched(make)
        assert study.second_chances(2) == study.second_chances()[:2]

    def test_however_many_are_stopped_all_are_ranked(self, make: MakeStudy) -> None:
        """A server judges them in parts."""
        studies = [self.searched(make), self.searched(Study)]
        for study in studies:
            study.report_many([Report(f"s{n}", [n / 100] * 5, ask=False) for n in range(70)])
            for n in range(70):
                study.finish(f"s{n}", "stopped")
        self.settle(studies[0])
        chances, in_process = (study.second_chances(100) for study in studies)
        assert len(chances) == 73
        assert chances == in_process

    def test_a_trial_that_runs_again_has_no_second_chance(self, make: MakeStudy) -> None:
        study = self.searched(make)
        study.resume("good")
        assert [chance.trial for chance in study.second_chances()] == ["fair", "poor"]

    def test_a_stopped_trial_that_trained_to_its_end_has_no_second_chance(self, make: MakeStudy) -> None:
        study = self.searched(make)
        study.report("poor", [-5.0] * 15, first_epoch=6)
        assert [chance.trial for chance in study.second_chances()] == ["good", "fair"]

    def test_a_study_without_stops_has_none(self, make: MakeStudy) -> None:
        assert cast(StudyOfMany, make(LEARNED)).second_chances() == []

    def test_second_chances_that_make_no_sense_are_refused(self, make: MakeStudy) -> None:
        with pytest.raises(ValueError, match="n must be >= 1, but got 0"):
            cast(StudyOfMany, make(LEARNED)).second_chances(0)
        with pytest.raises(ValueError, match="second chances need policy 'learned', but the study has 'threshold'"):
            cast(StudyOfMany, make(last_seen(name="other"))).second_chances()

    def test_a_resumed_trial_is_judged_anew(self, make: MakeStudy) -> None:
        study = self.stopped_at_once(make)
        stop = study.report("a", [])
        study.resume("a")
        assert study.trials()[-1].state == "running"
        study.finish("0", "stopped")  # nothing of another trial changes
        again = study.report("a", [0.4])  # the same question
        assert again.stop
        assert again == stop  # nobody has become better meanwhile
        study.resume("a")
        assert not study.report("a", [0.7], first_epoch=2).stop

    def test_a_trial_may_be_resumed_whenever_it_was_stopped(self, make: MakeStudy) -> None:
        study = self.stopped_at_once(make)
        study.finish("a", "stopped")
        study.resume("a")
        assert study.report("a", [0.3], first_epoch=2).stop  # by the policy
        study.resume("a")
        assert study.finish("a", "stopped") == "stopped"  # by its owner
        study.resume("a")
        assert not study.report("a", [0.9], first_epoch=3).stop
        assert study.finish("a") == "finished"
        assert study.trials()[-1].values == (0.4, 0.3, 0.9)

    def test_a_resume_undoes_the_stops_of_all_target_epochs(self, make: MakeStudy) -> None:
        study = self.stopped_at_once(make)
        study.predict([0.4], target_epoch=2)
        self.settle(study)
        assert study.report("a", [0.4], target_epoch=2, value_to_beat=0.5).stop
        study.resume("a")
        assert not study.report("a", [0.4], target_epoch=2, value_to_beat=0.1).stop

    def test_the_end_of_a_resumed_trial_is_one_of_a_complete_curve(self, make: MakeStudy) -> None:
        study = self.stopped_at_once(make)
        study.resume("a")
        study.report("a", [0.7, 0.8], first_epoch=2, ask=False)
        study.finish("a")
        self.settle(study)
        assert "no better than 0.8 at epoch 3" in study.report("b", [0.5]).reason

    def test_only_a_stopped_trial_is_resumed(self, make: MakeStudy) -> None:
        study = self.stopped_at_once(make)
        with pytest.raises(UnknownTrial, match="study 's' has no trial 'nobody'"):
            study.resume("nobody")
        study.resume("a")
        with pytest.raises(ValueError, match="only a stopped trial can be resumed, but trial 'a' is running"):
            study.resume("a")
        study.finish("a", "failed")
        with pytest.raises(ValueError, match="only a stopped trial can be resumed, but trial 'a' is failed"):
            study.resume("a")
        study.finish("0")
        with pytest.raises(ValueError, match="only a stopped trial can be resumed, but trial '0' is finished"):
            study.resume("0")
