"""A run is an Optuna study: what Optuna, its command and its dashboard find in the storage."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.trial import TrialState

from curvestop.hyperband.run.optuna_storage import STATES, RunStorage
from curvestop.hyperband.scheduler.sampler import SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import TrialRecord
from tests.contracts_scheduler import SimulatedRun, rising_study

N_DATABASES = 8
SPACE = '[x]\ntype = "float"\nlow = 0.0\nhigh = 100.0\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage")
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> tuple[TrialRecord, ...]:
    """Of a run with all ways to end."""
    sampler = SpaceSampler(load_space(folder / "space.toml"), seed=0)
    scheduler = FHyperband(sampler.draw, learn=sampler.learn, max_epochs=9, n_iterations=3, study=rising_study(9), kappa=0.5)
    SimulatedRun(scheduler, 2, fails=lambda trial, epoch: trial == "i1-s1-002").run()
    assert {r.state for r in scheduler.records} == {"finished", "stopped", "dropped", "failed"}
    return scheduler.records


@pytest.fixture(scope="module")
def url(folder: Path, records: tuple[TrialRecord, ...]) -> str:
    url = f"sqlite:///{folder / 'optuna.db'}"
    with opened(url, folder) as storage:
        storage.update(records)
    assert storage.error is None
    return url


def opened(url: str, folder: Path) -> RunStorage:
    return RunStorage(url, "my-run", load_space(folder / "space.toml"), "maximize")


def loaded(url: str) -> Iterator[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(url)
    yield from optuna.load_study(storage=storage, study_name="my-run").trials
    storage.engine.dispose()


def test_optuna_loads_every_trial_with_its_curve_its_state_and_why(url: str, records: tuple[TrialRecord, ...]) -> None:
    trials = list(loaded(url))
    assert len(trials) == len(records)
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    for trial, record in zip(trials, records, strict=True):
        assert (trial.number, trial.params, trial.state) == (record.number, record.configuration, STATES[record.state])
        assert trial.intermediate_values == dict(enumerate(record.values, start=1))
        stored = {name: trial.user_attrs.get(name) for name in ("trial", "iteration", "bracket", "rung", "state", "reason")}
        assert stored == {name: getattr(record, name) for name in stored}
        assert trial.user_attrs.get("predicted_value") == record.predicted_final
        if record.state == "finished":
            assert trial.value == record.values[-1]
    assert any("P(no better than" in t.user_attrs["reason"] for t in trials)
    assert any("predicted_value" in t.user_attrs for t in trials)


def test_a_trial_that_may_get_a_second_chance_stays_open(folder: Path) -> None:
    url = f"sqlite:///{folder / 'chances.db'}"
    record = TrialRecord("i0-s2-000", {"x": 1.0}, 0, 2, [0.5], 1, state="dropped", reason="not among the best", may_resume=True)
    with opened(url, folder) as storage:
        storage.update([record])
    assert [trial.state for trial in loaded(url)] == [TrialState.RUNNING]
    record.values, record.epochs, record.state = [0.5, 0.9], 2, "finished"
    record.may_resume, record.resumed_at = False, 2
    with opened(url, folder) as storage:
        storage.update([record])
    (trial,) = loaded(url)
    assert (trial.state, trial.value, trial.user_attrs["resumed_at"]) == (TrialState.COMPLETE, 0.9, 2)


def test_the_optuna_command_shows_them(url: str, records: tuple[TrialRecord, ...]) -> None:
    command = [sys.executable, "-c", "from optuna.cli import main; main()", "trials", "--storage", url, "--study-name", "my-run"]
    shown = json.loads(subprocess.run([*command, "-f", "json"], capture_output=True, check=True, text=True).stdout)
    assert [t["user_attrs"]["trial"] for t in shown] == [r.trial for r in records]
    assert {t["state"] for t in shown} == {"COMPLETE", "PRUNED", "FAIL"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the dashboard's frameworks
def test_the_dashboard_opens_it(url: str, records: tuple[TrialRecord, ...]) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    storage = optuna.storages.RDBStorage(url)
    answer: dict[str, Any] = {}
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = f"/api/studies/{storage.get_study_id_from_name('my-run')}"
    body = b"".join(dashboard.wsgi(storage)(environ, lambda status, headers, *error: answer.update(status=status, error=error)))
    storage.remove_session()
    storage.engine.dispose()
    assert answer["status"].startswith("200"), answer
    assert len(json.loads(body)["trials"]) == len(records)


def test_what_is_missing_is_written_when_a_run_continues(tmp_path: Path, folder: Path, records: tuple[TrialRecord, ...]) -> None:
    url = f"sqlite:///{tmp_path / 'late.db'}"
    early = [TrialRecord(r.trial, r.configuration, r.iteration, r.bracket, r.values[:1], 1, number=r.number) for r in records[:9]]
    for record in early:
        record.state = "running"
    with opened(url, folder) as storage:
        storage.update(early)
    assert [t.state for t in loaded(url)] == [TrialState.RUNNING] * 9
    for _ in range(2):  # the second time there is nothing to write
        with opened(url, folder) as storage:
            storage.update(records)
        assert [t.intermediate_values for t in loaded(url)] == [dict(enumerate(r.values, start=1)) for r in records]
    assert [t.state for t in loaded(url)] == [STATES[r.state] for r in records]


def test_a_storage_that_is_not_there_is_said_at_once(folder: Path) -> None:
    with pytest.raises(ValueError, match="storage must be the URL of a database that answers, but got"):
        opened("sqlite:////none/x.db", folder)


def test_training_continues_when_the_storage_is_lost(tmp_path: Path, folder: Path, records: tuple[TrialRecord, ...]) -> None:
    with opened(f"sqlite:///{tmp_path / 'lost.db'}", folder) as storage:
        (tmp_path / "lost.db").write_bytes(b"")
        storage.update(records[:1])
    assert storage.error is not None


def open_new_databases(folder: Path, barrier: Barrier, answers: Queue[str]) -> None:
    """Open one new database after another, each at the same moment as the other processes do."""
    for number in range(N_DATABASES):
        barrier.wait()
        try:
            with opened(f"sqlite:///{folder}/{number}.db", folder) as storage:
                answers.put(storage.error or "")
        except ValueError as error:
            answers.put(str(error))


def test_four_processes_open_a_database_that_does_not_exist_yet(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text((folder / "space.toml").read_text())
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=open_new_databases, args=(tmp_path, barrier, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [answers.get() for _ in range(4 * N_DATABASES)]
    for process in processes:
        process.join()
    assert found == [""] * (4 * N_DATABASES)
