"""`curvestop backup`, `restore`, `export` and `import`: what comes back, beside a server at work too, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

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
from curvestop.server.storage.schema import settings_to_json
from curvestop.server.storage.store import CurveStore
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import BracketPosition, Question
from tests.contracts import last_seen
from tests.contracts_store import append, stored_log
from tests.postgres import Postgres
from tests.server_process import ServerProcess

QUOTED = 'é, "quoted"'
ENTRIES: tuple[Entry, ...] = (
    TrialAdded(QUOTED, {"flag": False, "n": 3, "lr": 1e-5, "name": "x\ny"}),
    Observed(QUOTED, 1, 0.1 + 0.2),
    Observed(QUOTED, 3, -1e100),
    Decided(QUOTED, Question(1, 3, None), Decision(stop=False, reason="")),
    Decided(QUOTED, Question(1, 2, 0.3), Decision(True, "P(...)", 0.97, Prediction(1 / 3, 0.0), 20, 2)),
    Ended(QUOTED, "stopped"),
    TrialAdded("b", {}, BracketPosition(0, 1, ((3, 1), (1, 3)))),
    Ended("b", "failed", 1),
    Resumed(QUOTED, "a key"),
    Ended(QUOTED, "stopped"),
    Resumed(QUOTED, "another key"),
    Ended(QUOTED, "finished"),
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
        ({"value": "high"}, "line 5: column value must hold a number, but got 'high'"),
        ({"epoch": "1.5"}, "line 5: column epoch must hold a whole number, but got '1.5'"),
        ({"epoch": "-1"}, "row 4: first_epoch must be >= 1, but got -1"),
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
    assert says in refused_import(folder, tmp_path, 3, change)


HUGE = 10**30
TRIAL, DECISION, TRIAL_IN_A_BRACKET, DIVERGED, RESUME = 1, 5, 7, 8, 9
"""Rows of ENTRIES after the first, which has the settings."""


@pytest.mark.parametrize(
    ("row", "change", "says"),
    [
        (
            DECISION,
            {"epoch": str(HUGE)},
            f"row 6: a decision's epoch must be one of the 3 that trial {QUOTED!r} reported, but got {HUGE}",
        ),
        (DECISION, {"epoch": "-5"}, f"row 6: a decision's epoch must be one of the 3 that trial {QUOTED!r} reported, but got -5"),
        (DECISION, {"target_epoch": str(HUGE)}, f"row 6: target_epoch must be at most max_epochs = 3, but got {HUGE}"),
        (DECISION, {"value_to_beat": "nan"}, "row 6: value_to_beat must be finite and within +-1e+100, but got nan"),
        (DECISION, {"mean": "inf"}, "row 6: mean must be finite, but got inf"),
        (DECISION, {"sigma": "-1"}, "row 6: sigma must be finite and >= 0, but got -1.0"),
        (DECISION, {"sigma": "nan"}, "row 6: sigma must be finite and >= 0, but got nan"),
        (
            DECISION,
            {"sigma": ""},
            "row 6: a decision has both a mean and a sigma or neither, but got 0.3333333333333333 and None",
        ),
        (DECISION, {"mean": ""}, "row 6: a decision has both a mean and a sigma or neither, but got None and 0.0"),
        (DECISION, {"probability": "nan"}, "row 6: probability must be in 0..1, but got nan"),
        (DECISION, {"probability": "1.01"}, "row 6: probability must be in 0..1, but got 1.01"),
        (DECISION, {"chance": "-0.1"}, "row 6: chance must be in 0..1, but got -0.1"),
        (DECISION, {"n_curves": str(HUGE)}, f"row 6: n_curves must be in 0..2^63 - 1, but got {HUGE}"),
        (DECISION, {"model_epoch": "-1"}, "row 6: model_epoch must be in 0..2^63 - 1, but got -1"),
        (DECISION, {"stop": "yes"}, "line 7: column stop must hold True or False, but got 'yes'"),
        (TRIAL, {"configuration": f'{{"n": {HUGE}}}'}, f"row 2: n must fit in 64 bits, but got {HUGE}"),
        (TRIAL, {"configuration": '{"lr": NaN}'}, "row 2: lr must be finite and within +-1e+100, but got nan"),
        (TRIAL, {"trial": "x" * 257}, "row 2: a trial name must be 1 to 256 bytes long, but got 257"),
        (TRIAL, {"configuration": '{"": 1}'}, "row 2: a configuration name must be 1 to 256 bytes long, but got 0"),
        (TRIAL, {"configuration": '{"a": {"b": 1}}'}, "row 2: a configuration must be flat, without null, lists and objects"),
        (TRIAL, {"configuration": "[" * 100_000}, "row 2: maximum recursion depth exceeded"),
        (TRIAL_IN_A_BRACKET, {"bracket": "[0, -1, []]"}, "row 8: the numbers of a bracket must be in 0..2^63 - 1"),
        (DIVERGED, {"epoch": "0"}, "row 9: the epoch whose value was not finite must be >= 1, but got 0"),
        (DIVERGED, {"state": "finished"}, "row 9: a trial that diverged has state 'failed', but got 'finished'"),
        (RESUME, {"reason": "a\nb"}, "row 10: a key name must have no control characters, but got 'a\\nb'"),
    ],
)
def test_an_import_checks_each_row_as_a_call_is_checked(
    folder: Path, tmp_path: Path, row: int, change: dict[str, str], says: str
) -> None:
    assert says in refused_import(folder, tmp_path, row, change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_epochs": HUGE}, f"row 1: max_epochs must be at most 10^9, but got {HUGE}: count in larger steps"),
        (
            {"rule": {"rank": HUGE}},
            f"row 1: study settings must have numbers of at most 64 bits and valid Unicode: Value out of range: {HUGE}",
        ),
        ({"metric": "\ud800"}, "row 1: study settings must have numbers of at most 64 bits and valid Unicode: 'utf-8' codec"),
        ({"metric": 5}, "row 1: this version of curvestop does not understand the stored study settings"),
        ({"predictor_settings": "x"}, "row 1: this version of curvestop does not understand the stored study settings"),
        ({"refit_growth": math.inf}, "row 1: refit_growth must be > 1, but got inf"),
        ({"name": 5}, "row 1: a study name must be text, but got 5"),
    ],
)
def test_an_import_checks_the_settings(folder: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    configuration = json.dumps({**settings_to_json(last_seen()), **change})
    assert says in refused_import(folder, tmp_path, 0, {"configuration": configuration})


def refused_import(folder: Path, tmp_path: Path, row: int, change: dict[str, str]) -> str:
    """What an import says of an export in which a row was changed; nothing is stored."""
    file = tmp_path / "study.csv"
    run("export", "s", "--to", file, "--data", folder)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    rows[row].update(change)
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = refused("import", file, "--study", "again", "--data", folder)
    with closing(CurveStore(url_of(folder))) as store:
        assert [stored.settings.name for stored in store.studies()] == ["s"]
    return said


@pytest.mark.parametrize("text", ["{", "", "[1]", "null", "[" * 100_000])
def test_settings_that_are_no_json_object_are_refused(folder: Path, tmp_path: Path, text: str) -> None:
    assert ", row 1: the " in refused_import(folder, tmp_path, 0, {"configuration": text})


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_configuration_of_any_size_comes_back(folder: Path, tmp_path: Path, kind: str) -> None:
    added = TrialAdded("long", {"text": 'x",\n' * 50_000})
    with closing(CurveStore(url_of(folder))) as store:
        append(store, store.add_study(last_seen(name="long")), added)
    run("export", "long", "--to", tmp_path / f"long.{kind}", "--data", folder)
    run("import", tmp_path / f"long.{kind}", "--study", "again", "--data", folder)
    assert stored_log(url_of(folder), "again") == (added,)


def test_a_file_that_is_no_csv_is_one_line(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.csv"
    file.write_bytes(b"kind,trial,configuration\nstudy,,\xff\n")
    assert "codec can't decode byte 0xff" in refused("import", file, "--study", "again", "--data", folder)


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
