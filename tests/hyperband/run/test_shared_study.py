"""Two searches share a study: names are apart, curves are common."""

from __future__ import annotations

import pytest

from curvestop.hyperband.run.shared_study import SharedStudy
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.trial import UnknownTrial


def test_searches_with_the_same_trial_names_learn_from_each_other() -> None:
    """The median of the other search's five complete trials, 1 to 5, decides about this search's first: 2 is below 3."""
    study = Study(StudySettings("s", 4, policy="median"))
    one, other = SharedStudy(study, "one."), SharedStudy(study, "other.")
    for level in range(1, 6):
        one.report(str(level), [float(level)] * 4, configuration={"x": level}, ask=False)
        one.finish(str(level))
    assert other.report("1", 2.0, configuration={"x": 2}).stop
    assert not other.report("2", 4.0, configuration={"x": 4}).stop
    assert other.finish("1", "stopped") == "stopped"
    assert [(trial.trial, trial.state) for trial in other.trials()] == [("1", "stopped"), ("2", "running")]
    assert [trial.trial for trial in one.trials()] == ["1", "2", "3", "4", "5"]
    assert len(study.trials()) == 7
    other.resume("1")
    assert other.trials()[0].state == "running"
    with pytest.raises(UnknownTrial):
        one.resume("7")
