"""A run whose driver is killed continues with `hyperband resume` and ends as if not killed: real processes, real SIGKILL."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import optuna
import pytest

from curvestop import __version__
from curvestop.hyperband.run.journal import Journal, JournalBroken, read, replay
from curvestop.hyperband.run.run_folder import run_view

SPACE = '[x]\ntype = "float"\nlow = 0.5\nhigh = 1.0\n'

KILLING = """
import os, signal
from pathlib import Path

HERE = Path(__file__).parent

def train(configuration, checkpoint_dir):
    file = checkpoint_dir / "epoch"
    epoch = int(file.read_text()) if file.exists() else 0
    while True:
        epoch += 1
        with (HERE / "trained").open("a") as log:
            log.write(f"{checkpoint_dir.name} {epoch}\\n")
        file.write_text(str(epoch))
        kill_at = HERE / "kill_at"
        if kill_at.exists() and len((HERE / "trained").read_text().splitlines()) == int(kill_at.read_text()):
            os.kill(os.getppid(), signal.SIGKILL)
        yield configuration["x"] * (1 - 0.5**epoch)
"""
"""Rising curves; kills its driver after the epoch that the file `kill_at` names, counted over the whole run."""

ARGUMENTS = (
    "--mode",
    "sync",
    "--max-epochs",
    "9",
    "--iterations",
    "4",
    "--predictor",
    "ols",
    "--min-curves",
    "6",
    "--sampler",
    "tpe",
)


def hyperband(here: Path, *arguments: str) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))}
    command = [sys.executable, "-m", "curvestop.hyperband.cli", *arguments]
    return subprocess.run(command, cwd=here, env=environment, stdout=subprocess.DEVNULL, timeout=120).returncode


def prepared(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train.py").write_text(KILLING)
    (folder / "space.toml").write_text(SPACE)
    return folder


def start(here: Path) -> int:
    return hyperband(here, "run", "train.py", "--space", "space.toml", "--out", "run", *ARGUMENTS)


def table(here: Path) -> Any:
    return json.loads((here / "run" / "results.json").read_text())["trials"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = prepared(tmp_path_factory.mktemp("undisturbed") / "here")
    assert start(here) == 0
    assert any(trial["stops"] for trial in table(here))
    assert any(trial["resumed_at"] for trial in table(here))
    return here


def test_killed_four_times_it_ends_as_if_never_killed(undisturbed: Path, tmp_path: Path) -> None:
    here = prepared(tmp_path / "here")
    (here / "kill_at").write_text("7")
    assert start(here) == -signal.SIGKILL
    n_epochs = len((undisturbed / "trained").read_text().splitlines())
    for kill_at in ("8", "80", str(n_epochs - 1)):  # the last ones are of second chances
        (here / "kill_at").write_text(kill_at)
        assert hyperband(here, "resume", "run") == -signal.SIGKILL
    (here / "kill_at").unlink()
    assert hyperband(here, "resume", "run") == 0
    assert table(here) == table(undisturbed)
    trained, expected = ((folder / "trained").read_text().splitlines() for folder in (here, undisturbed))
    assert sorted(trained) == sorted(expected)  # no epoch was lost, none trained twice


def test_a_run_that_is_over_resumes_to_itself(undisturbed: Path) -> None:
    before = table(undisturbed)
    assert hyperband(undisturbed, "resume", "run") == 0
    assert table(undisturbed) == before


def test_a_run_can_be_looked_at_without_touching_it(undisturbed: Path) -> None:
    journal = undisturbed / "run" / "journal.jsonl"
    before = journal.read_bytes()
    run = run_view(undisturbed / "run")
    settings, scheduler = run.settings, run.scheduler
    assert (settings.max_epochs, settings.sampler, scheduler.finished) == (9, "tpe", True)
    assert [r.trial for r in scheduler.records] == [trial["trial"] for trial in table(undisturbed)]
    assert hyperband(undisturbed, "show", "run") == 0
    assert journal.read_bytes() == before


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind": "ask", "trial": "a"}\n{"kind": "rep')
    assert read(path) == ({"kind": "ask", "trial": "a"},)
    with Journal(path) as journal:
        journal.append({"kind": "tell", "trial": "a", "failure": None})
    assert read(path) == ({"kind": "ask", "trial": "a"}, {"kind": "tell", "trial": "a", "failure": None})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"kind": "rep', "line 2: this is no entry of a journal"),
        ("\u00ff", "line 2: this is no entry of a journal"),
        ("", "line 2: this is no entry of a journal"),
        ("[1]", "line 2: kind must be one of session, ask, report, tell, decision, prediction, chances, resume, but got None"),
        ('{"kind": "promote", "trial": "a"}', "line 2: kind must be one of .*, but got 'promote': a later curvestop may know it"),
        ('{"kind": ["ask"]}', "line 2: kind must be one of"),
        ('{"kind": "report", "trial": "a"}', "line 2: an entry of kind 'report' needs 'value'"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind": "ask", "trial": "a"}\n' + line.encode("latin-1") + b'\n{"kind": "ask", "trial": "b"}\n')
    with pytest.raises(JournalBroken, match=f"^{path}, {says}"):
        read(path)


def test_two_drivers_of_one_run_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(ValueError, match="another process drives this run"):
        Journal(tmp_path / "journal.jsonl")


def test_a_journal_of_another_run_is_refused(undisturbed: Path) -> None:
    settings = run_view(undisturbed / "run").settings
    scheduler = settings.scheduler(undisturbed / "run" / "space.toml", None)
    with pytest.raises(JournalBroken, match="the journal has trial 'x' where the scheduler starts 'i0-s2-000'"):
        replay(scheduler, [{"kind": "ask", "trial": "x"}])


def test_every_configuration_and_the_versions_are_in_the_journal(undisturbed: Path) -> None:
    entries = read(undisturbed / "run" / "journal.jsonl")
    kept = {entry["trial"]: entry["configuration"] for entry in entries if entry["kind"] == "ask" and entry["trial"]}
    assert kept == {trial["trial"]: trial["configuration"] for trial in table(undisturbed)}
    session = next(entry for entry in entries if entry["kind"] == "session")
    assert session["versions"] == {
        "python": platform.python_version(),
        "curvestop": __version__,
        "numpy": numpy.__version__,
        "optuna": optuna.__version__,
    }


@pytest.mark.parametrize(
    ("file", "before", "after", "cause"),
    [
        ("space.toml", "low = 0.5", "low = 0.4", "with another search space, sampler or seed"),
        ("run.json", '"seed": 0', '"seed": 1', "with another search space, sampler or seed"),
        ("run.json", '"sampler": "tpe"', '"sampler": "random"', "with another search space, sampler or seed"),
        ("journal.jsonl", '"x": 0.', '"x": 0.0', "with another search space, sampler or seed"),
    ],
)
def test_other_configurations_are_refused_and_the_old_ones_shown(
    undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str, before: str, after: str, cause: str
) -> None:
    here = tmp_path / "here"
    shutil.copytree(undisturbed, here)
    changed = here / "run" / file
    changed.write_text(changed.read_text().replace(before, after))
    assert hyperband(here, "resume", "run") == 2
    (line,) = capfd.readouterr().err.splitlines()
    # The samplers draw alike until TPE has seen enough trials.
    trial = "i0-s0-000" if "sampler" in before else "i0-s2-000"
    assert f"trial {trial} was trained with another configuration than is drawn now (x = 0." in line
    assert cause in line
    if file != "journal.jsonl":
        view = run_view(here / "run")
        assert [r.configuration for r in view.scheduler.records] == [trial["configuration"] for trial in table(undisturbed)]


def test_the_versions_that_changed_are_named(undisturbed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    here = tmp_path / "here"
    shutil.copytree(undisturbed, here)
    journal, space = here / "run" / "journal.jsonl", here / "run" / "space.toml"
    journal.write_text(journal.read_text().replace(f'"optuna": "{optuna.__version__}"', '"optuna": "3.0.0"'))
    assert hyperband(here, "resume", "run") == 0  # it draws the same
    space.write_text(space.read_text().replace("low = 0.5", "low = 0.4"))
    journal.write_text(journal.read_text().replace(f'"optuna": "{optuna.__version__}"', '"optuna": "3.0.0"'))
    assert hyperband(here, "resume", "run") == 2
    assert f"the run was started with optuna 3.0.0 (now {optuna.__version__}): restore that" in capfd.readouterr().err


def test_a_folder_of_no_run_is_one_line(tmp_path: Path) -> None:
    assert hyperband(tmp_path, "resume", str(tmp_path)) == 2
