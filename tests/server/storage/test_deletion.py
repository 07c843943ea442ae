"""What is deleted is gone for good, a record of it stays, and all the rest is as it was, in SQLite and in PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.proto.endpoint import UnknownStudy
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.rpc.tokens import add_token, list_tokens
from curvestop.server.storage.data_folder import DATABASE_FILE, DataFolder
from curvestop.server.storage.deletion import Content, Target, content_of, delete, deletions_of
from curvestop.server.storage.store import CurveStore
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.trial import UnknownTrial
from tests.contracts import last_seen
from tests.contracts_store import append, stored_log
from tests.postgres import Postgres

DECISION = Decision(False, "P(...)", 0.5, Prediction(0.1, 0.2), 20, 2)
# Of three trials at once, one entry each in turn.
LOG: tuple[Entry, ...] = (
    TrialAdded("a", {"lr": 0.1}),
    TrialAdded("Ann Onym", {"who": "ann@example.com"}),
    Observed("a", 1, 0.1),
    Observed("Ann Onym", 1, 0.2),
    Observed("Ann Onym", 2, 0.25),
    TrialAdded("b", {}),
    Decided("a", Question(1, 3, None), DECISION),
    Decided("Ann Onym", Question(2, 3, None), DECISION),
    Ended("a", "stopped"),
    Resumed("a", "a key"),
    Ended("Ann Onym", "finished"),
    Observed("b", 1, 0.3),
    Ended("a", "failed", 2),
)
AT = "2026-11-30T12:00:00+00:00"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / DATABASE_FILE}"
    database: str = request.getfixturevalue("postgres").database()
    return database


@pytest.fixture
def store(url: str) -> Iterator[CurveStore]:
    """Studies "s" and "t" of the default tenant, and "s" of vision."""
    with closing(CurveStore(url)) as store:
        for name, tenant in (("s", "default"), ("t", "default"), ("s", "vision")):
            append(store, store.add_study(last_seen(name=name), tenant=tenant), *LOG)
        yield store


def logs(store: CurveStore) -> dict[tuple[str, str], tuple[Entry, ...]]:
    return {(stored.tenant, stored.settings.name): tuple(store.log(stored.id)) for stored in store.studies()}


def test_a_trial_goes_and_the_log_has_no_gap(store: CurveStore) -> None:
    target = Target("default", "s", "Ann Onym")
    assert content_of(store, target) == Content(n_studies=0, n_trials=1, n_entries=5)
    done = delete(store, target, deleted_by="root", at=AT)
    rest = tuple(entry for entry in LOG if entry.trial != "Ann Onym")
    assert logs(store) == {("default", "s"): rest, ("default", "t"): LOG, ("vision", "s"): LOG}
    assert store.n_entries("default") == 8 + 13
    study = store.find("s")
    assert study is not None
    assert [number for number, _ in store.numbered_log(study.id)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert append(store, study, Observed("b", 2, 0.4)) == 9
    assert deletions_of(store) == (done,)


@pytest.mark.parametrize(("trial", "n"), [("a", 6), ("b", 2)])
def test_the_first_and_the_last_trial_go_as_well(store: CurveStore, trial: str, n: int) -> None:
    assert delete(store, Target("default", "s", trial), deleted_by="root", at=AT).content == Content(0, 1, n)
    assert logs(store)["default", "s"] == tuple(entry for entry in LOG if entry.trial != trial)


def test_a_study_goes_and_its_name_is_free(store: CurveStore) -> None:
    delete(store, Target("default", "s"), deleted_by="root", at=AT)
    assert logs(store) == {("default", "t"): LOG, ("vision", "s"): LOG}
    assert store.n_entries("default") == 13
    other = store.add_study(last_seen(max_epochs=7))
    assert (other.settings.max_epochs, list(store.log(other.id))) == (7, [])


def test_a_tenant_goes_and_the_other_stays(store: CurveStore) -> None:
    done = delete(store, Target("default"), deleted_by="root", at=AT)
    assert done.content == Content(n_studies=2, n_trials=6, n_entries=26)
    assert logs(store) == {("vision", "s"): LOG}
    assert store.n_entries("default") == 0


def test_what_is_not_there_is_an_error_and_nothing_is_recorded(store: CurveStore) -> None:
    for target, error, says in (
        (Target("default", "s", "c"), UnknownTrial, "study 's' of tenant 'default' has no trial 'c'"),
        (Target("default", "u"), UnknownStudy, "tenant 'default' has no study 'u'"),
        (Target("vision", "t"), UnknownStudy, "tenant 'vision' has no study 't'"),
        (Target("nobody"), UnknownStudy, "tenant 'nobody' has no study"),
    ):
        with pytest.raises(error, match=f"^{says}$"):
            content_of(store, target)
        with pytest.raises(error, match=f"^{says}$"):
            delete(store, target, deleted_by="root", at=AT)
    assert deletions_of(store) == ()
    assert list(logs(store).values()) == [LOG, LOG, LOG]


def test_a_server_that_shares_the_database_forgets_what_another_process_deleted(postgres: Postgres) -> None:
    url = postgres.database()
    with closing(Registry(CurveStore(url))) as registry, closing(CurveStore(url)) as store:
        for name in ("s", "t"):
            registry.create(last_seen(name=name))
            for trial in ("a", "b"):
                registry[name].report(trial, [0.1])
        delete(store, Target("default", "s"), deleted_by="root", at=AT)
        with pytest.raises(UnknownStudy):
            registry["s"].report("a", [0.2], first_epoch=2)
        registry.create(last_seen())
        registry["s"].report("c", [0.1])
        assert [trial.trial for trial in registry["s"].trials()] == ["c"]
        delete(store, Target("default", "t", "a"), deleted_by="root", at=AT)
        with pytest.raises(UnknownStudy):  # once: the study is read again
            registry["t"].trials()
        assert [trial.trial for trial in registry["t"].trials()] == ["b"]
        registry["t"].report("b", [0.2], first_epoch=2)


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        with closing(CurveStore(f"sqlite:///{folder / DATABASE_FILE}")) as store:
            append(store, store.add_study(last_seen()), *LOG)
            store.add_study(last_seen(), tenant="vision")
        return folder

    def run(self, folder: Path, *arguments: str, answer: str = "") -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["delete", *arguments, "--data", str(folder)], input=answer)
        return result.exit_code, result.stdout, result.stderr

    def test_asks_before_it_deletes(self, folder: Path) -> None:
        question = "delete study 's' of tenant 'default' for good (3 trials, 13 log entries)? [y/N]: "
        for answer in ("", "n\n", "\n"):
            status, out, error = self.run(folder, "study", "s", answer=answer)
            assert (status, error) == (2, "curvestop: nothing was deleted: answer y, or add --yes\n")
            assert out.startswith(question)
        status, out, _ = self.run(folder, "study", "s", answer="y\n")
        assert (status, out.count("deleted: 3 trials, 13 log entries")) == (0, 1)
        assert self.run(folder, "study", "s", "--yes")[2] == "curvestop: tenant 'default' has no study 's'\n"
        listed = self.run(folder, "list")[1]
        assert listed.count("\n") == 1
        assert "study 's' of tenant 'default': 3 trials, 13 log entries" in listed

    def test_what_is_deleted_is_in_no_backup_and_no_export_that_follows(self, folder: Path, tmp_path: Path) -> None:
        assert b"ann@example.com" in (folder / DATABASE_FILE).read_bytes()
        assert self.run(folder, "trial", "s", "Ann Onym", "--yes")[0] == 0
        for command in (["backup", str(tmp_path / "b.db")], ["export", "s", "--to", str(tmp_path / "s.csv")]):
            assert CliRunner().invoke(app, [*command, "--data", str(folder)]).exit_code == 0
        for file in (folder / DATABASE_FILE, tmp_path / "b.db", tmp_path / "s.csv"):
            assert b"ann@example.com" not in file.read_bytes()
        assert stored_log(f"sqlite:///{tmp_path / 'b.db'}") == tuple(entry for entry in LOG if entry.trial != "Ann Onym")

    def test_a_tenant_loses_its_tokens_too(self, folder: Path) -> None:
        for name, tenant in (("alice", "vision"), ("bob", "default")):
            add_token(folder, name, tenant=tenant)
        status, out, _ = self.run(folder, "tenant", "vision", "--yes")
        assert (status, out.splitlines()[0]) == (0, "token alice revoked")
        assert [caller.name for caller in list_tokens(folder)] == ["bob"]

    def test_a_study_that_cannot_be_loaded_can_be_deleted(self, folder: Path) -> None:
        with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
            connection.execute("""UPDATE study SET settings = '{"max_epochs": 1e30}' WHERE tenant = 'default'""")
            connection.commit()
        assert self.run(folder, "trial", "s", "a", "--yes")[0] == 0
        assert self.run(folder, "study", "s", "--yes")[0] == 0

    def test_a_server_must_be_stopped_and_a_mistyped_folder_is_not_made(self, folder: Path, tmp_path: Path) -> None:
        with closing(DataFolder(folder)):
            status, _, error = self.run(folder, "study", "s", "--yes")
        assert (status, "another server uses" in error) == (2, True)
        status, _, error = self.run(tmp_path / "typo", "study", "s", "--yes")
        assert (status, "the data folder has no database of curvestop" in error) == (2, True)
        assert not (tmp_path / "typo").exists()
