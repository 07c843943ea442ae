"""What a run leaves behind, on a run small enough to write down."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from curvestop.hyperband.run.results import best_trials, curve_rows, format_configuration, summary, write_results
from curvestop.hyperband.run.run_page import report_of_run
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study


@pytest.fixture
def scheduler() -> FHyperband:
    """R = 3, three iterations; every curve gains 1 an epoch. The last begins at 0, when 12 is to beat, and is stopped."""
    starts = iter([1.0, 2.0, 3.0, 4.0, 5.0] * 2 + [9.0, 1.0, 0.0, 10.0, 0.0])
    rule = StoppingRule(min_curves=6, threshold=0.9)
    study = Study(StudySettings("s", 3, predictor="last-seen", rule=rule))
    scheduler = FHyperband(lambda: {"x": next(starts), "kind": "a<b"}, max_epochs=3, n_iterations=3, study=study)
    while (job := scheduler.ask()) is not None:
        for epoch in range(job.first_epoch, job.target_epoch + 1):
            if job.trial == "i0-s1-000":
                scheduler.job_over(job.trial, failure="ValueError: no")
                break
            if scheduler.report(job.trial, float(job.configuration["x"]) + epoch - 1).stop:
                scheduler.job_over(job.trial)
                break
    return scheduler


def test_a_run_in_numbers(scheduler: FHyperband) -> None:
    stopped = [record for record in scheduler.records if record.stops]
    assert [(r.trial, r.state, r.epochs) for r in stopped] == [("i2-s0-001", "stopped", 1)]
    assert summary(scheduler) == {
        "best_trial": "i2-s0-000",
        "best_value": 12.0,
        "n_trials": 15,
        "n_stops": 1,
        "n_failed": 1,
        "n_resumed": 0,
        # Three iterations of 3 x 1 + 1 x 2 + 2 x 3; one failed before its only epoch, one was stopped after 1 of 3.
        "epochs_trained": 33 - 1 - 2,
        "epochs_planned": 33 - 1,
        "saved": 1 - 30 / 32,
    }


def test_the_best_are_those_trained_longest_then_by_value(scheduler: FHyperband) -> None:
    best = [(record.trial, record.values[-1]) for record in best_trials(scheduler, 3)]
    assert best == [("i2-s0-000", 12.0), ("i2-s1-000", 11.0), ("i0-s0-001", 7.0)]


def test_the_files(scheduler: FHyperband, tmp_path: Path) -> None:
    plot = write_results(scheduler, tmp_path, metric="accuracy", settings={"seed": 0})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["settings"] == {"seed": 0}
    assert results["epochs_trained"] == 30
    by_name = {trial["trial"]: trial for trial in results["trials"]}
    assert by_name["i0-s1-000"] == {
        "trial": "i0-s1-000", "configuration": {"x": 1.0, "kind": "a<b"}, "iteration": 0, "bracket": 1, "rung": 0,
        "state": "failed", "reason": "ValueError: no", "epochs_trained": 0, "epochs_planned": 0, "predicted_final": None,
        "values": [], "stops": [], "resumed_at": None,
    }  # fmt: skip
    (stop,) = by_name["i2-s0-001"]["stops"]
    assert (stop["epoch"], stop["predicted"], stop["probability"]) == (1, 0.0, pytest.approx(1.0, abs=1e-4))
    rows = list(csv.reader((tmp_path / "curves.csv").read_text().splitlines()))
    assert rows[0] == ["trial", "iteration", "bracket", "state", "epoch", "value"]
    assert len(rows) == 1 + 30
    assert ["i2-s1-000", "2", "1", "finished", "3", "11.0"] in rows
    page = plot.read_text()
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page)  # everything is in the file
    assert len(page) < 150_000
    assert '"kind": "a\\u003cb"' in page  # the text of a configuration cannot end the script


def test_the_page_shows_every_curve_and_every_stop(scheduler: FHyperband) -> None:
    report = report_of_run(scheduler, name="first", metric="accuracy", settings={})
    assert Counter(trial["state"] for trial in report["trials"]) == {"finished": 8, "dropped": 5, "stopped": 1, "failed": 1}
    assert sum(len(trial["values"]) for trial in report["trials"]) == 30
    summary = report["summary"]
    assert (summary["epochs_trained"], summary["epochs_saved"], summary["saved_share"]) == (30, 2, 1 - 30 / 32)
    assert len(summary["brackets"]) == 6
    (stop,) = report["stops"]
    assert (stop["trial"], stop["epoch"], stop["target_epoch"], stop["saved"]) == ("i2-s0-001", 1, 3, 2)
    assert stop["reason"].startswith("P(no better than")
    (stopped,) = (trial for trial in report["trials"] if trial["name"] == "i2-s0-001")
    assert (stopped["means"], stopped["target_epochs"], stopped["stop"]["epoch"]) == ([0.0], [3], 1)


def test_a_run_without_a_single_value(tmp_path: Path) -> None:
    empty = FHyperband(dict, max_epochs=3)
    write_results(empty, tmp_path, metric="accuracy", settings={})
    assert json.loads((tmp_path / "results.json").read_text())["saved"] == 0.0
    assert curve_rows(empty.records) == [("trial", "iteration", "bracket", "state", "epoch", "value")]


def test_a_configuration_on_one_line() -> None:
    assert format_configuration({"lr": 0.0123456, "n": 3, "kind": "sgd", "flag": True}) == "lr=0.0123, n=3, kind=sgd, flag=True"
