"""The log of a study of a billion steps: rows are as long as the grid, counts are in steps."""

from __future__ import annotations

from curvestop.clients.reports.study_log import StudyView
from curvestop.clients.reports.study_report import summary
from curvestop.clients.reports.trial_rows import changed_rows
from curvestop.proto.entries import Decided, Ended, Observed, TrialAdded
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.settings import StudySettings

LAST = 10**9  # a point is 2,500,000 steps


def test_a_long_training_is_shown_at_the_points_of_its_grid() -> None:
    stop = Decision(stop=True, reason="hopeless", prediction=Prediction(0.6, 0.1))
    view = StudyView(StudySettings("s", LAST))
    view.add(
        [
            TrialAdded("a", {}),
            Observed("a", 2_500_000, 0.2),
            Observed("a", 8_000_000, 0.42),
            Decided("a", Question(8_000_000, LAST, None), stop),
            Ended("a", "stopped"),
            TrialAdded("b", {}),
            Observed("b", LAST, 0.7),
        ]
    )
    first, second = changed_rows(view, after=0)
    assert (first["n_epochs"], first["values"], first["means"]) == (8_000_000, [0.2, 0.3, 0.4], [None, None, 0.6])
    assert first["stop"] == {"epoch": 8_000_000, "reason": "hopeless", "acted_on": True}
    assert (second["n_epochs"], second["values"]) == (LAST, [0.7] * 400)
    assert (view.trials["a"].entry_at(3_000_000), view.trials["a"].epochs_saved) == (3, 992_000_000)
    counts = summary(view)
    assert (counts["epochs_trained"], counts["best_trial"], counts["best_value"]) == (1_008_000_000, "b", 0.7)


def test_a_value_that_comes_late_corrects_the_curve() -> None:
    view = StudyView(StudySettings("s", 6))
    view.add([TrialAdded("a", {}), *(Observed("a", epoch, epoch / 10) for epoch in (2, 5, 1)), Observed("a", 3, 0.9)])
    assert view.trials["a"].values == [0.1, 0.2, 0.9, 0.7, 0.5]
