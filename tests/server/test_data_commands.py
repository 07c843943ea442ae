"""`curvestop backup`, `restore`, `export` and `import`: what comes back, beside a server at work too, and what is refused."""

from __future__ import annotations

import csv
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.remote.remote_study import connect
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.storage.data_folder import DATABASE_FILE
from curvestop.server.storage.export_import import format_of, import_study
from curvestop.server.storage.rows import entry_from_row, entry_to_row
from curvestop.server.storage.store import CurveStore
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import BracketPosition, Question
from tests.contracts import last_seen
from tests.contracts_store import append, stored_log
from tests.postgres import Postgres
from tests.server_process import ServerProcess

ENTRIES: tuple[Entry, ...] = (
    TrialAdded('é, "quoted"', {"flag": False, "n": 3, "lr": 1e-5, "name": "x\ny"}),
    Observed('é, "quoted"', 1, 0.1 + 0.2),
    Observed('é, "quoted"', 3, -1e100),
    Decided('é, "quoted"', Question(1, 3, None), Decision(stop=False, reason="")),
    Decided('é, "quoted"', Question(1, 2, 0.3), Decision(True, "P(...)", 0.97, Prediction(1 / 3, 0.0), 20, 2)),
    Ended('é, "quoted"', "stopped"),
    TrialAdded("b", {}, BracketPosition(0, 1, ((3, 1), (1, 3)))),
    Ended("b", "failed", 1),
    Resumed('é, "quoted"', "a key"),
    Ended('é, "quoted"', "stopped"),
    Resumed('é, "quoted"', "another key"),
    Ended('é, "quoted"', "finished"),
)


def run(*arguments: str | Path) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    """What a command says when it exits with 2."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one study."""
    (tmp_path / "data").mkdir()
    with closing(CurveStore(url_of(tmp_path / "data"))) as store:
        append(store, store.add_study(last_seen()), *ENTRIES)
    return tmp_path / "data"


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / DATABASE_FILE}"


def test_a_backup_taken_under_load_has_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup.db", tmp_path / "restored"
    with ServerProcess(tmp_path / "data") as server:
        with connect(server.address, last_seen(max_epochs=1000), token=server.token, deadline_s=10.0) as study:
            for epoch in range(1, 301):
                study.report("a", [epoch / 7], first_epoch=epoch)
                if epoch == 200:
                    assert "bytes, checked" in run("backup", backup, "--data", server.folder)
        server.kill()
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    run("restore", backup, "--data", restored)
    values = [entry.value for entry in stored_log(url_of(restored)) if isinstance(entry, Observed)]
    assert values == [epoch / 7 for epoch in range(1, 201)]
    with ServerProcess(restored) as server:
        with connect(server.address, last_seen(max_epochs=1000), token=server.token, deadline_s=10.0) as study:
            assert len(study.trials()[0].values) == 200
        status = CliRunner().invoke(app, ["restore", str(backup), "--data", str(restored)])
        assert (status.exit_code, status.stderr) == (
            2,
            f"curvestop: another server uses {restored}: stop it, or choose another folder with --data\n",
        )


def test_what_is_no_backup_is_refused_and_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    before = (folder / DATABASE_FILE).read_bytes()
    backup, empty = tmp_path / "backup.db", tmp_path / "empty"
    run("backup", backup, "--data", folder)
    assert "the file exists and is not overwritten" in refused("backup", backup, "--data", folder)
    assert "the file exists and is not overwritten" in refused("restore", backup, "--data", folder)
    assert "the data folder has no database of curvestop" in refused("backup", tmp_path / "other.db", "--data", empty)
    assert "the backup does not exist" in refused("restore", tmp_path / "none.db", "--data", empty)
    assert "pg_dump" in refused("backup", tmp_path / "x.db", "--store", "postgresql://localhost/x")
    (tmp_path / "text.db").write_text("no database " * 1000)
    assert "is damaged or not a database of curvestop" in refused("restore", tmp_path / "text.db", "--data", empty)
    broken = bytearray(backup.read_bytes())
    broken[5000:9000] = bytes(4000)
    (tmp_path / "broken.db").write_bytes(broken)
    assert "damaged" in refused("restore", tmp_path / "broken.db", "--data", empty)
    assert (folder / DATABASE_FILE).read_bytes() == before
    assert [file.name for file in empty.iterdir()] == ["lock"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_export_comes_back_as_it_was(folder: Path, tmp_path: Path, kind: str, postgres: Postgres) -> None:
    file = tmp_path / f"study.{kind}"
    with ServerProcess(folder):  # reading does not need the server to stop
        assert run("export", "s", "--to", file, "--data", folder) == f"{file}: 12 rows and the study's settings\n"
        assert "another server uses" in refused("import", file, "--study", "again", "--data", folder)
    run("import", file, "--study", "again", "--data", folder)
    assert stored_log(url_of(folder), "again") == ENTRIES
    with closing(CurveStore(url_of(folder))) as store:
        assert [stored.settings for stored in store.studies()] == [last_seen(name="again"), last_seen()]
    shared = postgres.database()
    run("import", file, "--study", "s", "--store", shared)
    run("export", "s", "--to", tmp_path / f"again.{kind}", "--store", shared)
    assert stored_log(shared) == ENTRIES
    assert list(format_of(file).read(file)) == list(format_of(file).read(tmp_path / f"again.{kind}"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "curve"}, "row 4: kind must be one of trial, value, decision, end, resume, but got 'curve'"),
        ({"value": ""}, "row 4: a row of kind 'value' needs a value in column value"),
        ({"value": "high"}, "line 5: could not convert string to float: 'high'"),
        ({"value": "nan"}, "row 4: epoch 3 of trial"),
        ({"value": "1e101"}, "row 4: a value must be within"),
        ({"epoch": "1"}, "row 4: epoch 1 of trial"),
        ({"epoch": "4"}, "row 4: first_epoch must be at most max_epochs = 3, but got 4"),
        ({"kind": "resume", "reason": ""}, "row 4: a row of kind 'resume' needs a value in column reason"),
        ({"kind": "resume", "reason": "key"}, "row 4: only a stopped trial can be resumed, but trial"),
        ({"trial": "nobody"}, "row 4: trial 'nobody' must have exactly one row of kind 'trial', before its other rows"),
    ],
)
def test_an_import_with_a_wrong_row_leaves_nothing(folder: Path, tmp_path: Path, change: dict[str, str], says: str) -> None:
    file = tmp_path / "study.csv"
    run("export", "s", "--to", file, "--data", folder)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    rows[3].update(change)
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert says in refused("import", file, "--study", "again", "--data", folder)
    with closing(CurveStore(url_of(folder))) as store:
        assert [stored.settings.name for stored in store.studies()] == ["s"]


def test_mistakes_of_export_and_import_are_one_line(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.csv"
    assert "there is no study 'other'" in refused("export", "other", "--to", file, "--data", folder)
    assert "must end with .csv or .parquet" in refused("export", "s", "--to", tmp_path / "study.json", "--data", folder)
    run("export", "s", "--to", file, "--data", folder)
    assert "the file exists and is not overwritten" in refused("export", "s", "--to", file, "--data", folder)
    assert "a study named 's' already exists: choose another name" in refused("import", file, "--study", "s", "--data", folder)
    file.write_text("a,b\n1,2\n")
    assert "has no column kind" in refused("import", file, "--study", "again", "--data", folder)
    (tmp_path / "no.parquet").write_text("PAR1")
    assert "is not a Parquet file" in refused("import", tmp_path / "no.parquet", "--study", "again", "--data", folder)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
numbers = st.floats(-1e100, 1e100)
predictions = st.none() | st.builds(Prediction, numbers, numbers)
entries = st.one_of(
    st.builds(TrialAdded, names, st.dictionaries(names, st.one_of(st.booleans(), st.integers(-9, 9), numbers, names))),
    st.builds(Observed, names, st.integers(1, 9), numbers),
    st.builds(Resumed, names, names),
    st.builds(Ended, names, st.sampled_from(["finished", "stopped", "failed"]), st.none() | st.integers(1, 9)),
    st.builds(
        Decided,
        names,
        st.builds(Question, st.integers(0, 9), st.integers(1, 9), st.none() | numbers),
        st.builds(Decision, st.booleans(), names, st.none() | st.floats(0, 1), predictions),
    ),
)


@given(st.lists(entries, max_size=8), st.sampled_from(["csv", "parquet"]))
@settings(max_examples=40, deadline=None)
def test_any_entry_comes_back_from_a_table(written: Sequence[Entry], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows.{kind}"
        format_of(file).write(file, map(entry_to_row, written))
        read: Iterator[Entry] = map(entry_from_row, format_of(file).read(file))
        assert list(read) == list(written)


def test_a_long_import_is_appended_in_pieces(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study.csv"
    run("export", "s", "--to", file, "--data", folder)
    monkeypatch.setattr("curvestop.server.storage.export_import.IMPORT_BATCH_ENTRIES", 3)
    with closing(CurveStore(url_of(folder))) as store:
        assert import_study(store, file, "again") == len(ENTRIES)
    assert stored_log(url_of(folder), "again") == ENTRIES
