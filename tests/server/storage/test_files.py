"""What is on disk: readable by the owner only, whole at the start, never written through a link."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.proto.entries import Entry, Observed, TrialAdded
from curvestop.server.rpc.server import Server
from curvestop.server.storage.data_folder import DATABASE_FILE, DataFolder
from curvestop.server.storage.new_file import new_file
from curvestop.server.storage.store import CurveStore
from tests.contracts import last_seen
from tests.contracts_store import append

PAGE = 4096


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As most systems have it: what nobody takes care of can be read by all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def filled(folder: Path, n_trials: int = 1) -> Path:
    """A data folder, made by the user, with a study of 100 values for each trial; returns the database."""
    folder.mkdir()
    entries: list[Entry] = []
    for number in range(n_trials):
        entries += [TrialAdded(str(number), {}), *(Observed(str(number), epoch, epoch / 7) for epoch in range(1, 101))]
    with closing(CurveStore(f"sqlite:///{folder / DATABASE_FILE}")) as store:
        append(store, store.add_study(last_seen(max_epochs=100)), *entries)
    return folder / DATABASE_FILE


def said(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and the only line on standard error."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.stderr.count("\n") == 1, result.output
    return result.exit_code, result.stderr


class TestModes:
    def test_a_folder_that_was_there_before_becomes_the_owners(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir()
        with Server(data, host="127.0.0.1", port=0) as server:
            server.registry.create(last_seen())
            found = modes(data)
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert found == dict.fromkeys(("curves.db", "curves.db-shm", "curves.db-wal", "lock", "token"), 0o600)

    def test_a_folder_of_an_earlier_version_is_mended_and_its_token_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = tmp_path / "data"
        filled(data)
        for name, content in {"token": "secret", "tokens.json": "[]", "lock": ""}.items():
            (data / name).write_text(content)
        for path in data.iterdir():
            path.chmod(0o644)
        with Server(data, host="127.0.0.1", port=0), caplog.at_level(logging.WARNING):
            assert set(modes(data).values()) == {0o600}
        assert caplog.messages == [
            f"other users of this machine could read {data / 'token'} (mode 644), now only its owner can: if there are other "
            "users, delete it, and the next start makes a new token"
        ]

    def test_of_a_folder_with_other_things_only_the_servers_files_are_taken(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        (tmp_path / "train.py").touch(0o644)
        (tmp_path / "token").touch(0o644)
        DataFolder(tmp_path).close()
        assert modes(tmp_path) == {"train.py": 0o644, "token": 0o600, "lock": 0o600}
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    @pytest.mark.parametrize("name", ["study.csv", "study.parquet"])
    def test_an_export_and_a_backup_are_the_owners(self, tmp_path: Path, name: str) -> None:
        if name.endswith(".parquet"):
            pytest.importorskip("pyarrow")
        filled(tmp_path / "data")
        out = tmp_path / "out"
        out.mkdir()
        for arguments in (["export", "s", "--to", str(out / name)], ["backup", str(out / "backup.db")]):
            assert CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "data")]).exit_code == 0
        assert modes(out) == {name: 0o600, "backup.db": 0o600}


class TestDamage:
    @pytest.mark.parametrize(
        "command", ["serve --port 0", "export s --to {}/s.csv", "backup {}/s.db", "import {}/none.csv --study n"]
    )
    def test_a_page_of_zeros_is_told_at_the_start(self, tmp_path: Path, command: str) -> None:
        database = filled(tmp_path / "data", n_trials=15)
        for page in range(database.stat().st_size // PAGE // 2, database.stat().st_size // PAGE):
            content = bytearray(database.read_bytes())
            content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
            damaged = tmp_path / f"damaged-{page}"
            damaged.mkdir()
            (damaged / DATABASE_FILE).write_bytes(content)
            status, line = said(*command.format(tmp_path).split(), "--data", damaged)
            assert status == 2
            assert f"{damaged / DATABASE_FILE} is damaged" in line
        assert not list(tmp_path.glob("s.*"))

    @pytest.mark.parametrize(
        "command", ["serve --port 0", "export s --to {}/s.csv", "backup {}/s.db", "import {}/none.csv --study n"]
    )
    def test_an_empty_database_is_not_taken_for_a_new_one(self, tmp_path: Path, command: str) -> None:
        database = filled(tmp_path / "data")
        os.truncate(database, 0)
        status, line = said(*command.format(tmp_path).split(), "--data", tmp_path / "data")
        assert (status, "damaged" in line) == (2, True)
        assert database.stat().st_size == 0

    def test_what_another_version_or_program_made_is_told_as_that(self, tmp_path: Path) -> None:
        database = filled(tmp_path / "data")
        export = ["export", "s", "--to", str(tmp_path / "s.csv"), "--data", str(tmp_path / "data")]
        for statement, says in (
            ("UPDATE alembic_version SET version_num = '0099'", "curvestop knows 0006 and earlier: upgrade curvestop"),
            (
                "UPDATE alembic_version SET version_num = '0002'",
                "schema 0002, but schema 0006 is needed: `curvestop serve` upgrades it",
            ),
            ("DROP TABLE alembic_version", "the store is not a database of curvestop: it has no table of studies"),
        ):
            with closing(sqlite3.connect(database)) as connection:
                connection.execute(statement)
                connection.commit()
            status, line = said(*export)
            assert (status, says in line) == (2, True), line

    def test_a_process_that_dies_while_it_makes_a_database_leaves_none(self, tmp_path: Path) -> None:
        def half_made() -> None:
            with new_file(tmp_path / DATABASE_FILE) as partial:
                assert stat.S_IMODE(partial.parent.stat().st_mode) == 0o700
                assert list(tmp_path.iterdir()) == [partial.parent]
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            half_made()
        assert list(tmp_path.iterdir()) == []


class TestLinks:
    @pytest.mark.parametrize("suffix", [".partial", ".partial-journal", ".partial-wal", "-journal", "-wal"])
    def test_a_backup_follows_no_link_beside_it(self, tmp_path: Path, suffix: str) -> None:
        filled(tmp_path / "data")
        (tmp_path / "precious").write_text("precious")
        (tmp_path / f"b.db{suffix}").symlink_to(tmp_path / "precious")
        result = CliRunner().invoke(app, ["backup", str(tmp_path / "b.db"), "--data", str(tmp_path / "data")])
        assert result.exit_code == 0
        assert (tmp_path / "precious").read_text() == "precious"
        assert not (tmp_path / "b.db").is_symlink()

    @pytest.mark.parametrize("command", ["backup {}", "export s --to {}"])
    def test_a_link_in_place_of_the_file_is_refused(self, tmp_path: Path, command: str) -> None:
        filled(tmp_path / "data")
        link = tmp_path / "link.csv"
        link.symlink_to(tmp_path / "nothing")
        status, line = said(*command.format(link).split(), "--data", tmp_path / "data")
        assert (status, "the file exists and is not overwritten" in line) == (2, True)
        assert link.is_symlink()
        assert not (tmp_path / "nothing").exists()
