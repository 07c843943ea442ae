"""Contract: what came of a study is told in the same words in process and on a server."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from curvestop.srm.overview import BestTrial, Overview
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import ResumableStudy, StudyLike
from tests.contracts import COMPLETE, last_seen


class StudyWithOverview(Overview, ResumableStudy):
    """Both halves of a study that people use."""


class OverviewContract:
    """What `Overview` says. A subclass gives `make` and, where fits happen elsewhere, `settle`."""

    def settle(self, study: StudyLike) -> None:
        """Wait until the fits that are due are done."""

    @pytest.fixture
    def study(self, make: Callable[[StudySettings], StudyWithOverview]) -> StudyWithOverview:
        """Six complete trials, one that is stopped after the first of three epochs, one that failed, and one that goes on."""
        study = make(last_seen(metric="accuracy"))
        for number, values in enumerate(COMPLETE):
            study.report(f"complete-{number}", values, configuration={"lr": 0.5**number})
        self.settle(study)
        assert study.report("hopeless", [0.4], configuration={"lr": 9.0}).stop
        study.report("diverged", [0.9, float("nan")])
        study.report("promising", [0.5, 0.7])
        return study

    def test_nothing_is_best_before_the_first_value(self, make: Callable[[StudySettings], StudyWithOverview]) -> None:
        study = make(last_seen())
        assert study.best is None
        assert str(study.summary()) == "study 's'\n  trials    0\n  epochs    0 trained"

    def test_best_so_far_is_told_from_best(self, make: Callable[[StudySettings], StudyWithOverview]) -> None:
        study = make(last_seen(direction="minimize"))
        study.report("a", [0.3], configuration={"lr": 0.1})
        study.report("b", [0.2])
        assert study.best == BestTrial("b", 0.2, {}, is_final=False)
        study.report("a", [0.3, 0.3, 0.3])
        assert study.best == BestTrial("a", 0.3, {"lr": 0.1})

    def test_summary(self, study: StudyWithOverview) -> None:
        summary = study.summary()
        assert summary.n_by_state == {"stopped": 1, "running": 7, "failed": 1}
        assert (summary.n_trials, summary.n_stopped) == (9, 1)
        assert summary.epochs_trained == 6 * 3 + 1 + 1 + 2
        assert (summary.epochs_saved, summary.saved_share) == (2, 2 / 24)
        assert summary.best == study.best == BestTrial("complete-0", 0.6, {"lr": 1.0})
        ((trial, reason),) = summary.reasons
        assert trial == "hopeless"
        assert "0.977, stops at 0.95" in reason
        lines = str(summary).splitlines()
        assert lines[:4] == [
            "study 's'",
            "  trials    9 (1 stopped, 7 running, 1 failed)",
            "  best      accuracy 0.6, trial 'complete-0' (lr=1)",
            "  epochs    22 trained, 2 saved (8%)",
        ]
        assert lines[4].startswith("  stopped   hopeless: ")

    def test_a_stop_that_is_undone_or_not_obeyed_saves_less(self, study: StudyWithOverview) -> None:
        study.report("hopeless", [0.4], first_epoch=2)
        assert study.summary().epochs_saved == 1
        study.finish("hopeless", "stopped")
        assert study.summary().n_by_state == {"stopped": 1, "running": 7, "failed": 1}
        study.resume("hopeless")
        assert study.summary().epochs_saved == 0
        assert study.summary().n_stopped == 0

    def test_each_trial_has_its_latest_decision(self, study: StudyWithOverview) -> None:
        trials = {trial.trial: trial for trial in study.trials()}
        stop = trials["hopeless"].decision
        assert stop is not None
        assert stop == study.report("hopeless", [])
        assert (trials["hopeless"].is_stopped, trials["hopeless"].epochs_saved) == (True, 2)
        going_on = trials["promising"].decision
        assert going_on is not None
        assert not going_on.stop
        assert study.report("never asked", [0.1], ask=False).stop is False
        assert study.trials()[-1].decision is None

    def test_data_frame(self, study: StudyWithOverview) -> None:
        pytest.importorskip("pandas")
        frame = study.trials_dataframe().set_index("trial")
        assert frame.loc["hopeless", ["state", "value", "epochs", "epochs_saved", "params_lr"]].tolist() == [
            "stopped",
            0.4,
            1,
            2,
            9,
        ]
        assert "stops at 0.95" in frame.loc["hopeless", "reason"]
        assert frame["state"].tolist().count("running") == 7

    def test_notebooks_show_it(self, study: StudyWithOverview) -> None:
        study.report("<script>alert(1)</script>", [0.5, 0.5])
        html = study._repr_html_()
        assert html is not None
        assert "<script" not in html
        curves = ElementTree.fromstring(html).findall(".//polyline")
        # Curves of two values or more: six complete ones, two that go on; the best one is drawn last.
        assert [curve.findtext("title") for curve in curves][-3:] == ["promising", "<script>alert(1)</script>", "complete-0"]
        assert len(curves) == 8
        # From the lowest value, 0.4, at the bottom to the highest, 0.7, at the top; epochs 1 and 2 of 3 are at 6 and 210.
        assert curves[-3].get("points") == "6,84.7 210,6.0"
