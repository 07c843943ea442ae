"""The store on SQLite: the contract, what a file adds to it, and a database of the first version."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from curvestop.clients.remote.remote_study import connect
from curvestop.proto.entries import Decided, Observed, TrialAdded
from curvestop.server.rpc.contention import ContentionDetector
from curvestop.server.storage.migrations.versions.v0003_would_stop import with_current_names
from curvestop.server.storage.store import FAILED_EXIT, CurveStore, StoreUnavailable, StudyUnavailable
from curvestop.server.studies.group_commit import BatchWriter
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Decision, Prediction
from tests.contracts import last_seen
from tests.contracts_store import FITTED_S, StoreContract, append, stored_log
from tests.server_process import ServerProcess

FIRST_VERSION = Path(__file__).parents[2] / "golden" / "store-v1.sql"


class TestStore(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'curves.db'}"

    def test_the_database_syncs_every_commit_to_disk(self, store: CurveStore) -> None:
        assert store._writer is not None
        for connection in (store._writer, store._engine.connect()):
            with connection:
                assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
                assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2  # FULL

    def test_a_failed_write_is_reported_and_nothing_after_it_is_acknowledged(
        self, store: CurveStore, url: str, failures: list[BaseException]
    ) -> None:
        study = store.add_study(last_seen())
        append(store, study, TrialAdded("a", {}))
        with pytest.raises(StoreUnavailable, match="the store failed"):
            append(store, study, TrialAdded("a", {}))
        assert [type(failure) for failure in failures] == [sa.exc.IntegrityError]
        with pytest.raises(StoreUnavailable, match="the store failed"):
            append(store, study, Observed("a", 1, 0.2))
        assert stored_log(url) == (TrialAdded("a", {}),)

    def test_a_long_read_holds_up_no_writer(self, store: CurveStore) -> None:
        study = store.add_study(last_seen())
        append(store, study, Observed("a", 1, 0.1))
        reading = store.log(study.id)
        assert next(reading) == Observed("a", 1, 0.1)
        append(store, study, Observed("a", 2, 0.1))
        assert list(reading) == []  # one state of the log, as it was when reading began


def test_a_study_that_cannot_be_loaded_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "curves.db"
    with closing(Registry(CurveStore(f"sqlite:///{path}"))) as registry:
        for name in ("huge", "s"):
            registry.create(last_seen(name=name))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE study SET settings = json_set(settings, '$.max_epochs', 1000000000000) WHERE name = 'huge'")
        connection.commit()
    with closing(Registry(CurveStore(f"sqlite:///{path}"))) as registry:
        assert [settings.name for settings in registry.settings()] == ["s"]
        assert not registry["s"].report("a", [0.1]).stop
        for ask in (lambda: registry.create(last_seen(name="huge")), lambda: registry["huge"]):
            with pytest.raises(StudyUnavailable, match=r"^study 'huge' cannot be loaded: max_epochs must be at most"):
                ask()
    assert "of tenant 'default', study 'huge' cannot be loaded: max_epochs must be at most" in caplog.text


def test_a_database_of_the_first_version_is_upgraded_with_all_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "curves.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_VERSION.read_text())
    with closing(Registry(CurveStore(f"sqlite:///{path}"))) as registry:
        assert [settings.name for settings in registry.settings()] == ["b", "s"]
        assert registry.wait_fitted(FITTED_S)
        trials = {trial.trial: trial for trial in registry["s"].trials()}
        assert list(trials) == [*(f"complete-{number}" for number in range(6)), "stopped", "open", "gap"]
        assert trials["complete-1"].values == (0.5, 0.55, 0.4)
        assert trials["complete-1"].configuration == {"lr": 1e-05, "n": 1, "flag": False, "name": "é"}
        assert trials["open"].state == "finished"
        assert registry["s"].report("gap", [0.1]).n_curves == 6
        assert registry["s"].report("stopped", [], first_epoch=1) == Decision(
            stop=True,
            reason="P(no better than 0.6 at epoch 3) = 0.977, stops at 0.95: "
            "predicted 0.4 +- 0.1 from 1 epochs and 6 complete curves",
            probability=0.9772498680518208,
            prediction=Prediction(mean=0.4, sigma=0.09999999999999998),
            n_curves=6,
            model_epoch=1,
        )
        assert registry["b"].trials()[0].state == "failed"
        numbers = [number for number, _ in registry._store.numbered_log(registry["s"].id)]
    assert numbers == list(range(1, 43))
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"alembic_version", "study", "trial", "observation", "decision", "finish", "resume", "deletion"}


def test_an_upgrade_marks_the_shadow_stops_that_only_their_reasons_told(tmp_path: Path) -> None:
    path = tmp_path / "curves.db"
    reasons = ["shadow mode, would have stopped: behind", "held out, would have stopped: behind", "behind 58% of 19 others"]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_VERSION.read_text())
        for number, reason in enumerate(reasons, start=100):
            row = ("default", "s", number, "open", 1, 3, None, 0, reason, None, None, None, 0, 0)
            connection.execute(f"INSERT INTO decisions VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("UPDATE studies SET last_sequence = 102 WHERE study = 's'")
        connection.commit()
    with closing(CurveStore(f"sqlite:///{path}")) as store:
        study = store.find("s")
        assert study is not None
        decisions = [entry.decision for entry in store.log(study.id) if isinstance(entry, Decided)]
    assert not any(decision.would_stop for decision in decisions[:-3])
    assert [(decision.reason, decision.would_stop) for decision in decisions[-3:]] == list(
        zip(reasons, (True, True, False), strict=True)
    )


PLACED = {"name": "risk", "place": 0.1}


@pytest.mark.parametrize(
    ("policy", "options", "name", "now"),
    [
        ("successive-halving", {}, "asha", {}),
        ("successive-halving", {"pool": 1, "eta": 3}, "asha", {"eta": 3}),
        ("successive-halving", {"pool": 2, "eta": 3}, "successive-halving", {"pool": 2, "eta": 3}),
        ("rank", {"pool": 1}, "rank", {"pool": 1}),
        (
            "any",
            {"rules": [{"name": "successive-halving"}, PLACED]},
            "any",
            {"rules": [{"name": "asha"}, {"name": "risk", "ranking": 0.1}]},
        ),
        (
            "watched",
            {"rule": {"name": "successive-halving", "pool": 8}},
            "shadow",
            {"rule": {"name": "successive-halving", "pool": 8}},
        ),
    ],
)
def test_an_upgrade_gives_policies_the_names_they_have_now(policy: str, options: Any, name: str, now: Any) -> None:
    stored = {"max_epochs": 3, "direction": "minimise", "policy": policy, "policy_settings": options}
    expected = {"max_epochs": 3, "direction": "minimize", "policy": name, "policy_settings": now}
    assert with_current_names(stored) == expected


def test_an_upgrade_that_dies_half_way_changed_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_VERSION.read_text())
        connection.execute("CREATE TABLE finish (in_the_way INTEGER)")
        connection.commit()
        before = list(connection.iterdump())
    with pytest.raises(sa.exc.OperationalError, match="table finish already exists"):
        CurveStore(f"sqlite:///{path}")
    assert list(tmp_path.iterdir()) == [path]  # its log is gone with the last connection, so none was left open
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_a_full_disk_ends_the_server_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"
    with ServerProcess(tmp_path / "data", prepare=limit) as server:
        acknowledged = 0
        with connect(server.address, last_seen(max_epochs=10_000), token=server.token, deadline_s=2.0) as study:
            for epoch in range(1, 10_001):
                if "does not answer" in study.report("a", [0.5], first_epoch=epoch).reason:
                    break
                acknowledged = epoch
            assert server.wait() == FAILED_EXIT
        assert "a write to the store failed" in server.errors
    assert 10 < acknowledged < 10_000
    log = stored_log(f"sqlite:///{server.folder / 'curves.db'}")
    stored = [entry.epoch for entry in log if isinstance(entry, Observed)]
    assert stored[:acknowledged] == list(range(1, acknowledged + 1))


def test_jobs_that_come_during_a_batch_are_the_next_batch() -> None:
    batches: list[list[str]] = []
    is_writing, may_continue = threading.Event(), threading.Event()

    def write(jobs: Sequence[str]) -> None:
        batches.append(list(jobs))
        is_writing.set()
        may_continue.wait(10)

    workers = ThreadPoolExecutor(1)
    batch_writer = BatchWriter(write, workers)
    first = threading.Thread(target=batch_writer.submit_and_wait, args=("a",))
    first.start()
    assert is_writing.wait(10)
    others = [threading.Thread(target=batch_writer.submit_and_wait, args=(job,)) for job in "bcd"]
    for other in others:
        other.start()
    while sum(map(len, batch_writer._waiting.values())) < 3:
        time.sleep(0.001)
    may_continue.set()
    for thread in (first, *others):
        thread.join(10)
        assert not thread.is_alive()
    assert [sorted(batch) for batch in batches] == [["a"], ["b", "c", "d"]]
    batch_writer.submit_and_wait("e")
    assert batches[-1] == ["e"]
    workers.shutdown()


def test_a_batch_takes_a_job_of_each_key_in_turn_and_the_busiest_key_waits() -> None:
    batches: list[list[str]] = []
    ended: list[str] = []
    is_writing, may_continue = threading.Event(), threading.Event()

    def write(jobs: Sequence[str]) -> None:
        batches.append(list(jobs))
        is_writing.set()
        may_continue.wait(10)

    with ThreadPoolExecutor(1) as workers:
        batch_writer = BatchWriter(write, workers, key=lambda job: job[0], max_jobs=8, contention=ContentionDetector(lambda: 0.0))
        batch_writer.submit("a1", partial(ended.append, "a1"))
        assert is_writing.wait(10)
        for job in ("a2", "a3", "a4", "a5", "a6", "a7", "b1", "c1", "c2"):
            batch_writer.submit(job, partial(ended.append, job))
        may_continue.set()
    assert [sorted(batch) for batch in batches[:3]] == [["a1"], ["a2", "b1", "c1"], ["a3", "c2"]]
    assert batches[3:] == [["a4"], ["a5"], ["a6"], ["a7"]]  # short batches: others submitted a moment ago
    assert ended == [job for batch in batches for job in batch]


def test_after_the_shutdown_of_the_workers_the_submitting_thread_writes() -> None:
    workers = ThreadPoolExecutor(1)
    workers.shutdown()
    done_by: list[threading.Thread] = []
    batch_writer: BatchWriter[str] = BatchWriter(lambda jobs: done_by.append(threading.current_thread()), workers)
    batch_writer.submit_and_wait("a")
    assert done_by == [threading.current_thread()]
