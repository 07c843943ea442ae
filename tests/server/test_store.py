"""The store: order, one transaction for what waits, and no acknowledgement of what was not written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from curvestop.clients.client import connect
from curvestop.server import tables
from curvestop.server.log import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.server.store import FAILED_EXIT, CurveStore, StoreUnavailable
from curvestop.srm import Decision, Prediction, StoppingRule, StudySettings
from curvestop.srm.study import Question
from tests.contracts import last_seen
from tests.server_process import ServerProcess

ENTRIES: tuple[Entry, ...] = (
    TrialAdded("é", {"flag": False, "n": 3, "lr": 1e-5, "name": "x"}),
    Observed("é", 1, 0.1),
    Observed("é", 2, -1e100),
    Decided("é", Question(2, 9, None), Decision(stop=False, reason="fewer")),
    Decided("é", Question(2, 5, 0.3), Decision(True, "P(...)", 0.97, Prediction(0.1, 0.0), 20, 2)),
    Ended("é", "stopped"),
    TrialAdded("b", {}),
    Ended("b", "failed", 1),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'curves.db'}"


@pytest.fixture
def store(url: str) -> Iterator[CurveStore]:
    with closing(CurveStore(url)) as store:
        yield store


def test_gives_back_what_it_was_given(store: CurveStore, url: str) -> None:
    settings = StudySettings(
        "s", 9, "loss", "minimise", StoppingRule(0.9, 0.01, 2, 7), "nu-svr", {"n_candidates": 5}, ("lr",), 1.5,
        "any", {"rules": [{"name": "rank", "keep": (0.5, 1.0)}, {"name": "risk"}]}, True, 0.1,
    )  # fmt: skip
    store.add_study(settings)
    store.append("s", ENTRIES[:3])
    store.append("s", ENTRIES[3:]).result(10)
    for reader in (store, CurveStore(url)):
        assert reader.studies() == (settings,)
        assert tuple(reader.log("s")) == ENTRIES
        reader.close()


def test_settings_that_were_stored_before_there_were_policies_have_the_default_one(store: CurveStore) -> None:
    store.add_study(last_seen()).result(10)
    with store._engine.begin() as connection:
        stored = connection.execute(sa.select(tables.studies.c.settings)).scalar_one()
        for name in ("policy", "policy_settings", "shadow", "hold_out"):
            del stored[name]
        connection.execute(sa.update(tables.studies).values(settings=stored))
    assert store.studies() == (replace(last_seen(), policy="predictive-rank"),)


def test_each_study_has_its_own_sequence_without_gaps(store: CurveStore) -> None:
    for name in "ab":
        store.add_study(last_seen(name=name))

    def fill(worker: int) -> None:
        for epoch in range(20):
            store.append("ab"[worker % 2], [Observed(f"t{worker}", epoch, 0.5)]).result(10)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fill, range(8)))
    for name in "ab":
        assert [number for number, _ in store.numbered_log(name)] == list(range(1, 81))


def test_the_database_syncs_every_commit_to_disk(store: CurveStore) -> None:
    with store._engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_closing_writes_what_waits(url: str) -> None:
    store = CurveStore(url)
    store.add_study(last_seen())
    written = [store.append("s", [Observed("a", epoch, 0.1)]) for epoch in range(1, 501)]
    store.close()
    assert all(future.done() and future.exception() is None for future in written)
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append("s", [])


def test_a_failed_write_is_told_and_nothing_after_it_is_acknowledged(url: str) -> None:
    failures: list[BaseException] = []
    store = CurveStore(url, on_failure=failures.append)
    store.add_study(last_seen())
    store.append("s", [Observed("a", 1, 0.1)]).result(10)
    twice = store.append("s", [Observed("a", 1, 0.2)])
    with pytest.raises(StoreUnavailable, match="the store failed"):
        twice.result(10)
    assert [type(failure) for failure in failures] == [sa.exc.IntegrityError]
    with pytest.raises(StoreUnavailable):
        store.append("s", [Observed("a", 2, 0.2)])
    assert list(store.log("s")) == [Observed("a", 1, 0.1)]
    store.close()


def test_a_store_of_another_version_is_refused(store: CurveStore, url: str) -> None:
    with store._engine.begin() as connection:
        connection.execute(sa.update(tables.schema).values(version=99))
    with pytest.raises(ValueError, match="the store has schema 99, but this version of curvestop needs 1"):
        CurveStore(url)


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
    with closing(CurveStore(f"sqlite:///{server.folder / 'curves.db'}")) as store:
        stored = [entry.epoch for entry in store.log("s") if isinstance(entry, Observed)]
    assert stored[:acknowledged] == list(range(1, acknowledged + 1))
