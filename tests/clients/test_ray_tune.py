"""A stopper and a scheduler for Ray Tune, on a real cluster: what they stop and why, and what a restored run knows."""

from __future__ import annotations

import logging
import math
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray import tune

from curvestop.clients.ray_tune import SRMScheduler, SRMStopper
from curvestop.clients.remote.remote_study import connect
from curvestop.server.rpc.server import Server
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts import last_seen
from tests.ray_cluster import RayCluster
from tests.tune_runs import FINALS, lengths_of, rising, trained

ROOT = Path(__file__).resolve().parents[2]
PATIENT_S = 30.0


@pytest.fixture(autouse=True)
def _tune_saves_its_state_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0.3")


@pytest.mark.parametrize("how", ["scheduler", "stopper"])
def test_a_killed_run_that_is_restored_stops_what_it_would_have_stopped(
    how: str, tmp_path: Path, ray_cluster: RayCluster, caplog: pytest.LogCaptureFixture
) -> None:
    program = [sys.executable, "-m", "tests.tune_runs", ray_cluster.address, str(tmp_path), how, "7"]
    assert subprocess.run(program, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    caplog.set_level(logging.INFO, "curvestop.clients.ray_tune")
    results = tune.Tuner.restore(str(tmp_path / "search"), rising()).fit()
    assert trained(results) == lengths_of() == {**dict.fromkeys(FINALS, 4), 0.3: 1, 0.1: 1, 0.5: 1}
    assert lengths_of(FINALS[6:])[0.5] == 4  # without the first six trials, it would not have been stopped
    reasons = [record.getMessage() for record in caplog.records if " is stopped at training_iteration 1: " in record.getMessage()]
    # The median is that of all complete trials, which at epoch 1 were at 0.3 x their final value.
    assert [reason.partition(": ")[2] for reason in reasons][-2:] == [
        "the best value so far, 0.03, is worse than the median 0.195 at epoch 1",
        "the best value so far, 0.15, is worse than the median 0.195 at epoch 1",
    ]


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(tmp_path / "server", host="127.0.0.1", port=0) as serving:
        monkeypatch.setenv("CURVESTOP_TOKEN", serving.token_path.read_text().strip())
        yield serving


def falling() -> Callable[[dict[str, Any]], None]:
    """Return a function for Tune: a loss that falls to `end`, reported every few epochs; if `end` < 0 it diverges after two."""

    def train(config: dict[str, Any]) -> None:
        end, every = config["point"]["end"], config["point"]["every"]
        for epoch in range(every, 7, every):
            tune.report({"loss": float("nan") if end < 0 and epoch > 2 else end + 0.5**epoch, "epoch": epoch})

    return train


def test_a_function_on_a_server_with_steps_of_its_own(ray_cluster: RayCluster, serving: Server, tmp_path: Path) -> None:
    settings = StudySettings("search", 6, direction="minimize", policy="median", policy_settings={"min_trials": 3})
    points = [{"end": end, "every": every} for end, every in ((1, 1), (2, 2), (3, 3), (-1, 1), (9, 2), (1.5, 1))]
    with connect(serving.address, settings, deadline_s=PATIENT_S) as study:
        scheduler = SRMScheduler(6, study=study, time_attr="epoch")
        results = tune.Tuner(
            falling(),
            param_space={"point": tune.grid_search(points)},
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", scheduler=scheduler, max_concurrent_trials=1, reuse_actors=True
            ),
            run_config=tune.RunConfig(name="search", storage_path=str(tmp_path / "results"), verbose=0),
        ).fit()
        trials = {trial.configuration["point/end"]: trial for trial in study.trials()}
    assert list(results.get_dataframe()["epoch"]) == [6, 6, 6, 3, 2, 6]
    assert {end: trial.state for end, trial in trials.items()} == {
        1: "finished", 2: "finished", 3: "finished", -1: "failed", 9: "stopped", 1.5: "finished",
    }  # fmt: skip
    assert (trials[2].epochs, trials[2].values) == ((2, 4, 6), (2.25, 2.0625, 2.015625))
    explained = {trial.configuration["point/end"]: scheduler.explain(trial.trial) for trial in trials.values()}
    assert "diverged" in (explained[-1].reason if explained[-1] else "")
    assert "worse than the median" in (explained[9].reason if explained[9] else "")
    assert "2 trials stopped; the last, " in scheduler.debug_string()


def resuming(max_epochs: int) -> Callable[[dict[str, Any]], None]:
    """Return a function for Tune that rises to `final` and continues from `checkpoint` if it is given."""

    def train(config: dict[str, Any]) -> None:
        first = int((Path(config["checkpoint"]) / "epoch").read_text()) if "checkpoint" in config else 0
        for epoch in range(first + 1, max_epochs + 1):
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "epoch").write_text(str(epoch))
                accuracy = config["final"] * (1 - 0.7**epoch)
                checkpoint = tune.Checkpoint.from_directory(folder)
                tune.report({"accuracy": accuracy, "epoch": epoch, "first": first + 1}, checkpoint=checkpoint)

    return train


def test_a_second_tuner_trains_the_second_chances_on(ray_cluster: RayCluster, tmp_path: Path) -> None:
    finals = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.55, 0.3]
    scheduler, train = SRMScheduler(8, metric="accuracy", mode="max", policy_settings={"risk": 0.3}), resuming(8)
    tuner = tune.Tuner(
        train,
        param_space={"final": tune.grid_search(finals)},
        tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="search", storage_path=str(tmp_path), verbose=0),
    )
    results: Any = tuner.fit()
    stopped = {result.metrics["trial_id"]: result for result in results}
    (chance,) = scheduler.second_chances(1)
    chances = [stopped[chance.trial]]
    again = tune.grid_search([{**result.config, "checkpoint": result.checkpoint.path} for result in chances])
    second: Any = tune.Tuner(
        lambda config: train(config["again"]),
        param_space={"again": again},
        run_config=tune.RunConfig(name="again", storage_path=str(tmp_path), verbose=0),
    ).fit()
    (resumed,) = second
    # The sixth and later ones may be stopped; of these the one with the highest value is the most promising.
    assert chances[0].config == {"final": 0.55}
    assert (chances[0].metrics["epoch"] < 8, chances[0].metrics["epoch"] + 1) == (True, chance.next_epoch)
    assert (resumed.metrics["first"], resumed.metrics["epoch"]) == (chance.next_epoch, 8)


def a_trial(trial_id: str, folder: Path) -> Any:
    """Return the parts of a trial that a scheduler reads, for tests without Tune."""
    return SimpleNamespace(trial_id=trial_id, config={}, local_experiment_path=str(folder))


def report(scheduler: Any, trial: Any, epoch: int, value: float) -> str:
    return str(scheduler.on_trial_result(None, trial, {"training_iteration": epoch, "a/b": value}))


def test_nothing_is_stopped_while_all_trials_read_the_same() -> None:
    stopper = SRMStopper(10, metric="reward", mode="max")
    for number in range(12):
        for epoch in range(1, 10):
            value = number / 12 if epoch > 6 else 0.0
            stop = stopper(f"t{number}", {"training_iteration": epoch, "reward": value, "config": {"lr": float(number)}})
            assert not stop or epoch > 6
        stopper(f"t{number}", {"training_iteration": 10, "reward": number / 12, "config": {}})
    assert stopper("diverged", {"training_iteration": 1, "reward": math.nan, "config": {}})


def test_results_without_the_metric_or_the_count_are_ignored(tmp_path: Path) -> None:
    scheduler: Any
    scheduler, trial = SRMScheduler(3, metric="a/b", mode="max"), a_trial("t", tmp_path)
    scheduler.on_trial_add(None, trial)
    for result in ({"training_iteration": 1}, {"a/b": 0.5}, {"training_iteration": 1, "a/b": None}):
        assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"
    assert scheduler.explain("t") is None
    assert [report(scheduler, trial, epoch, 0.5) for epoch in (1, 2, 3)] == ["CONTINUE", "CONTINUE", "STOP"]  # it is complete
    stopper = SRMStopper(3, metric="a/b", mode="max")
    assert [stopper("t", {"training_iteration": epoch, "a": {"b": 0.5}}) for epoch in (1, 2, 3)] == [False, False, True]
    assert not stopper.stop_all()


def test_a_trial_that_tune_tries_again_continues_and_a_stopped_one_stays_stopped(tmp_path: Path) -> None:
    study = Study(last_seen())
    for number in range(6):
        study.report(f"before-{number}", [0.5, 0.55, 0.6 if number % 2 else 0.4])
    scheduler: Any
    scheduler, good, bad = SRMScheduler(3, study=study, metric="a/b", mode="max"), a_trial("g", tmp_path), a_trial("b", tmp_path)
    for trial in (good, bad):
        scheduler.on_trial_add(None, trial)
    assert (report(scheduler, good, 1, 0.7), report(scheduler, bad, 1, 0.1)) == ("CONTINUE", "STOP")
    scheduler.on_trial_error(None, good)
    scheduler.on_trial_add(None, good)
    assert report(scheduler, good, 1, 0.6) == "CONTINUE"
    assert report(scheduler, good, 2, 0.7) == "CONTINUE"
    again = pickle.loads(pickle.dumps(SRMScheduler(3, study=Study(last_seen()), metric="a/b", mode="max")))  # as Tune does
    again.on_trial_add(None, bad)
    assert report(again, bad, 1, 0.9) == "STOP"
    assert report(again, good, 3, 0.7) == "STOP"  # complete
    again.save(str(tmp_path / "saved"))
    other = SRMScheduler(3, metric="a/b", mode="max", policy="threshold")
    other.restore(str(tmp_path / "saved"))
    assert other.explain("b") == again.explain("b")


@pytest.mark.parametrize("kind", [SRMScheduler, SRMStopper])
def test_a_metric_that_never_comes_is_told_once_and_max_t_holds(
    kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rule = kind(3, metric="acc", mode="max")
    results = [{"training_iteration": n, "mean_accuracy": 0.5, "val": {"loss": 0.1}, "config": {"lr": 0.1}} for n in (1, 2, 3, 4)]
    if kind is SRMStopper:
        ends = [[rule(trial, result) for result in results] for trial in "ab"]
    else:
        ends = [[rule.on_trial_result(None, a_trial(trial, tmp_path), result) == "STOP" for result in results] for trial in "ab"]
    assert ends == [[False, False, True, True]] * 2
    (warning,) = caplog.messages
    assert warning == (
        "trial a: its result has no number 'acc'; while none has, nothing is learnt and nothing stopped before max_t. "
        "It has 'mean_accuracy', 'training_iteration', 'val/loss'"
    )


def test_a_metric_that_comes_now_and_then_is_no_warning_and_the_last_result_ends_its_trial(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopper = SRMStopper(4, metric="val/acc", mode="max")
    results = [{"training_iteration": n, **({"val": {"acc": 0.5}} if n < 3 else {})} for n in (1, 2, 3, 4)]
    assert [stopper("t", result) for result in results] == [False, False, False, True]
    assert caplog.messages == []
    assert stopper._reporter.driver.ended == {"t": "finished"}


@pytest.mark.parametrize("value", [[0.5, 0.6], "high", {"mean": 0.5}])
def test_a_metric_that_is_no_number_does_not_end_the_search(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    stopper = SRMStopper(2, metric="acc", mode="max")
    assert [stopper("t", {"training_iteration": n, "acc": value}) for n in (1, 2)] == [False, True]
    (warning,) = caplog.messages
    assert f"; 'acc' is {value!r}, no number" in warning


def test_a_trial_is_not_stopped_with_its_last_result(tmp_path: Path) -> None:
    study = Study(last_seen())
    for number in range(6):
        study.report(f"before-{number}", [0.5, 0.55, 0.6 if number % 2 else 0.4])
    stopper: Any = SRMStopper(3, study=study, metric="a", mode="max")
    assert stopper("stops", {"training_iteration": 1, "a": 0.1})
    assert not stopper("ends", {"training_iteration": 1, "a": 0.1, "done": True})
    scheduler: Any = SRMScheduler(3, study=study, metric="a/b", mode="max")
    scheduler.on_trial_add(None, a_trial("completes", tmp_path))
    scheduler.on_trial_complete(None, a_trial("completes", tmp_path), {"training_iteration": 1, "a/b": 0.1})
    assert [trial.state for trial in study.trials()[-3:]] == ["stopped", "finished", "finished"]


def test_other_settings_under_the_name_of_a_study_are_an_error(serving: Server) -> None:
    first = SRMStopper(3, metric="a", mode="max", study=serving.address, name="search")
    assert not first("t", {"training_iteration": 1, "a": 0.1})
    second = SRMStopper(5, metric="a", mode="min", study=serving.address, name="search")
    changes = "max_epochs=3, direction='maximize', but got max_epochs=5, direction='minimize'"
    with pytest.raises(ValueError, match=f"study 'search' exists with {changes}: give the new study another name"):
        second("u", {"training_iteration": 1, "a": 0.1})


def test_time_attr_may_be_seconds_of_a_study_of_seconds() -> None:
    stopper = SRMStopper(60, metric="acc", mode="max", time_attr="time_total_s", resource="second", grace_period=5)
    says = [stopper("a", {"time_total_s": seconds, "acc": 0.5}) for seconds in (2.5, 30.25, 60.7)]
    assert says == [False, False, True]  # complete
    decision = stopper.explain("a")
    assert decision is not None
    assert decision.reason == "second 60 is reached: nothing is left to predict"
    assert stopper("b", {"time_total_s": 2.5, "acc": 0.5}) is False
    with pytest.raises(ValueError, match="max_t / time_step must be the study's 60 seconds, but is 50"):
        SRMStopper(50, metric="acc", mode="max", study=Study(StudySettings("s", max_resource=60, resource="second")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "maximum"}, "mode must be 'max' or 'min', but got 'maximum'"),
        ({"max_t": 0}, "max_t must be finite and >= time_step > 0, but got max_t=0 and time_step=1"),
        ({"time_step": math.inf}, "max_t must be finite and >= time_step > 0"),
        ({"max_t": "9"}, "max_t must be finite and >= time_step > 0, but got max_t='9' and time_step=1"),
        ({"max_t": True}, "max_t must be finite and >= time_step > 0, but got max_t=True"),
        ({"grace_period": 20}, "grace_period must be at most max_t = 9, or nothing is stopped, but got 20"),
        ({"policy": "none"}, "policy must be one of"),
        ({"study": Study(last_seen())}, "max_t / time_step must be the study's 3 epochs, but is 9"),
        (
            {"study": Study(last_seen()), "max_t": 3, "mode": "min"},
            "mode must fit the study, whose direction is 'maximize'",
        ),
        (
            {"study": Study(last_seen()), "max_t": 3, "policy": "rank"},
            "must not be given with a study, which has its own, but got policy",
        ),
    ],
)
def test_invalid_settings_are_refused(options: dict[str, Any], message: str) -> None:
    for kind in (SRMScheduler, SRMStopper):
        with pytest.raises(ValueError, match=message):
            kind(**{"max_t": 9, "metric": "a", "mode": "max", **options})


def test_an_unknown_argument_is_told_of_the_class_that_was_called() -> None:
    for kind in (SRMScheduler, SRMStopper):
        with pytest.raises(
            TypeError, match=f"{kind.__name__} got an unexpected keyword argument 'reduction_factor'; of StudySettings"
        ):
            kind(9, metric="a", mode="max", reduction_factor=3)


def test_numbers_of_numpy_are_numbers() -> None:
    stopper = SRMStopper(np.float64(3), metric="a", mode="max", grace_period=np.float64(1))
    assert [stopper("t", {"training_iteration": n, "a": np.float32(0.5)}) for n in (1, 2, 3)] == [False, False, True]


def test_a_scheduler_without_a_metric(tmp_path: Path) -> None:
    scheduler: Any = SRMScheduler(9, metric="a")
    assert not scheduler.set_search_properties("b", "max")
    with pytest.raises(ValueError, match=r"needs a metric and a mode, but got metric='a' and mode=None"):
        scheduler.on_trial_add(None, a_trial("t", tmp_path))
