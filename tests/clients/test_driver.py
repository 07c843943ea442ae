"""A driver whose trials report at steps of their own; restored at any moment, it decides as if nothing had happened."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvestop.clients.driver import Steps, TrialDriver, flat_configuration
from curvestop.clients.remote.remote_study import connect
from curvestop.server.rpc.server import Server
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts import last_seen

PATIENT_S = 30.0

Reports = list[tuple[str, int, float]]


def reports_of_workers(n_trials: int = 40, n_epochs: int = 9, n_workers: int = 3) -> Reports:
    """Return (trial, epoch, value) in the order in which they come from workers that each train one trial after the other."""
    rng = np.random.default_rng(0)
    finals = rng.uniform(size=n_trials)
    noise = rng.normal(scale=0.02, size=(n_trials, n_epochs))
    running: list[list[int]] = []
    waiting, order = list(range(n_trials)), []
    while waiting or running:
        while waiting and len(running) < n_workers:
            running.append([waiting.pop(0), 0])
        worker = int(rng.integers(len(running)))
        trial, epoch = running[worker]
        order.append((f"t{trial}", epoch + 1, float(finals[trial] * (1 - 0.7 ** (epoch + 1)) + noise[trial, epoch])))
        running[worker][1] += 1
        if epoch + 1 == n_epochs:
            running.pop(worker)
    return order


def send(driver: TrialDriver, reports: Reports) -> dict[str, int]:
    """Report to a driver and return the epochs at which trials were stopped."""
    stopped = {}
    for trial, epoch, value in reports:
        if trial not in driver.ended:
            decision = driver.report(trial, epoch, value, {"x": int(trial[1:])})
            if decision.stop:
                stopped[trial] = epoch
            if decision.stop or epoch == 9:
                driver.end(trial)
    return stopped


def test_trials_on_a_time_budget_are_reported_in_seconds() -> None:
    driver = TrialDriver(StudySettings("s", max_resource=600, resource="second", policy="median"))
    for count in (95.25, 300.5, 604.0, 610.0):  # no clock stops on time, and beyond the end nothing is new
        decision = driver.report("a", count, 0.5, {"x": 1})
    assert decision.reason == "second 600 is reached: nothing is left to predict"
    assert [driver.settings.axis.amount(epoch) for epoch in driver.reported["a"].epochs] == [95.25, 300.5, 600]


@pytest.mark.parametrize("settings", [{}, {"policy": "threshold"}, {"policy": "median"}], ids=["default", "threshold", "median"])
@pytest.mark.parametrize("how", ["pickled", "saved", "kept"])
@pytest.mark.parametrize("cut", [1, 60, 200])
def test_a_restored_driver_decides_as_before(settings: dict[str, Any], how: str, cut: int, tmp_path: Path) -> None:
    reports = reports_of_workers()
    study = StudySettings("s", 9, **settings)
    expected = send(TrialDriver(study), reports)
    assert len(expected) >= 3
    driver, file = TrialDriver(study), tmp_path / "state.json"
    if how == "kept":
        driver.keep_in(file)
    before = send(driver, reports[:cut])
    if how == "pickled":
        driver = pickle.loads(pickle.dumps(driver))
    else:
        if how == "saved":
            driver.save(file)
        with file.open("a") as half_written:
            half_written.write('{"trial": "t')
        driver = TrialDriver(study)
        driver.restore(file)
    assert before | send(driver, reports[cut:]) == expected
    assert set(driver.stops) == set(expected)


def test_steps_of_their_own() -> None:
    assert [Steps(9).epoch(count) for count in (0, 1, 1.4, 1.5, 9, 10)] == [1, 1, 1, 2, 9, 9]
    assert [Steps(10, size=100).epoch(count) for count in (1, 149, 150, 1000)] == [1, 1, 2, 10]
    driver = TrialDriver(last_seen(max_epochs=10), step=100)
    for count, value in ((200, 1.0), (500, 4.0), (500, 9.0), (300, 9.0), (600, 5.0)):
        driver.report("a", count, value)
    assert driver.reported["a"].values == {2: 1.0, 5: 4.0, 6: 5.0}
    with pytest.raises(ValueError, match="the number of steps in an epoch must be finite and > 0, but got 0"):
        Steps(9, size=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_a_value_that_is_not_finite_is_a_diverged_trial(value: float) -> None:
    driver = TrialDriver(last_seen(max_epochs=9), grace=9)
    assert not driver.report("a", 1, 0.5).stop
    decision = driver.report("a", 2, value)
    assert decision.stop
    assert decision.reason == "the metric of epoch 2 is not a finite number: the trial diverged"
    assert driver.report("a", 2, 0.6) == decision  # for good
    assert driver.reported["a"].values == {1: 0.5}


def test_a_million_steps_are_kept_as_the_reports_that_came(tmp_path: Path) -> None:
    driver = TrialDriver(last_seen(max_epochs=1_000_000))
    for number, final in enumerate([0.6, 0.4] * 3):
        for steps, value in ((250_000, 0.3), (500_000, 0.5), (1_000_000, final)):
            driver.report(f"{number}", steps, value, {"x": number})
        driver.end(f"{number}")
    decision = driver.report("a", 500_000, 0.4)  # the errors from there are +-0.1, and 0.6 is to beat
    assert decision.stop
    assert decision.probability == pytest.approx(0.9772498680518208)
    driver.save(tmp_path / "state.json")
    assert (tmp_path / "state.json").stat().st_size < 3000
    again = TrialDriver(last_seen(max_epochs=1_000_000))
    again.restore(tmp_path / "state.json")
    assert again.report("b", 500_000, 0.4).probability == decision.probability


def test_nothing_is_stopped_in_the_grace_period() -> None:
    reports = reports_of_workers()
    first = {trial: epoch for trial, epoch in send(TrialDriver(StudySettings("s", 9)), reports).items() if epoch < 4}
    patient = TrialDriver(StudySettings("s", 9), grace=4)
    stopped = send(patient, reports)
    assert first
    assert min(stopped.values()) >= 4


def test_a_given_study_is_used_and_its_trials_are_kept() -> None:
    study = Study(last_seen())
    for number in range(6):
        study.report(f"before-{number}", [0.5, 0.55, 0.6 if number % 2 else 0.4])
    driver = TrialDriver(last_seen(name="other"), study=study)
    assert driver.settings.name == "s"
    answers = [s.report("a", 1, 0.1).stop for s in (driver, pickle.loads(pickle.dumps(TrialDriver(last_seen(), study=study))))]
    assert answers == [True, True]
    assert study.trials()[-1].trial == "a"


def test_a_token_is_in_no_pickle() -> None:
    driver = TrialDriver(last_seen(), study="127.0.0.1:1", token="open-sesame")
    assert b"open-sesame" not in pickle.dumps(driver)


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    with Server(tmp_path / "a", host="127.0.0.1", port=0) as one, Server(tmp_path / "b", host="127.0.0.1", port=0) as other:
        yield one, other


def test_a_new_server_is_sent_what_the_old_one_knew(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for serving in servers:
        monkeypatch.setenv("CURVESTOP_TOKEN", serving.token_path.read_text().strip())
        driver = TrialDriver(last_seen(), study=serving.address, deadline_s=PATIENT_S)
        if (tmp_path / "state.json").exists():
            driver.restore(tmp_path / "state.json")
        driver.report("a", 1, 0.1, {"x": 1})
        driver.report("a", 2, 0.2)
        driver.report("b", 1, 0.3)
        driver.end("a", "finished")
        driver.save(tmp_path / "state.json")
        with connect(serving.address, last_seen(), deadline_s=PATIENT_S) as study:
            known = {t.trial: (dict(t.configuration), t.values, t.state) for t in study.trials()}
        assert known == {"a": ({"x": 1}, (0.1, 0.2), "finished"), "b": ({}, (0.3,), "running")}


def test_a_flat_configuration_has_what_a_study_can_use() -> None:
    given: dict[Any, Any] = {
        "lr": np.float64(0.1), "layers": [64, 32], "n": 3, "flag": True, "name": "sgd", "none": None, "big": math.inf,
        "deep": {"er": {"still": 1}}, "data": object(), "fn": print, "": 1, 7: 2,
    }  # fmt: skip
    assert flat_configuration(given) == {
        "lr": 0.1, "layers": "[64, 32]", "n": 3, "flag": True, "name": "sgd", "none": "None", "big": "inf",
        "deep/er/still": 1, "7": 2,
    }  # fmt: skip
