"""The hyperband command with a real server: what it says of a wrong token, and what is kept when the server dies in a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.remote_study import connect
from curvestop.hyperband.run.journal import Journal, JournaledStudy, read
from curvestop.hyperband.run.run_folder import RunSettings
from curvestop.srm.settings import StudySettings
from tests.hyperband_runs import LATE, SPACE
from tests.server_process import ServerProcess

GATED = """
from pathlib import Path

HERE = Path(__file__).parent

def pass_gate(name):
    if not (HERE / f"{name}-passed").exists():
        (HERE / name).read_text()  # a FIFO: returns when the test has opened it and closed it again
        (HERE / f"{name}-passed").touch()

def train(configuration, checkpoint_dir):
    file = checkpoint_dir / "epoch"
    epoch = int(file.read_text()) if file.exists() else 0
    while True:
        epoch += 1
        if epoch == 2:
            pass_gate("killed")
        if epoch == 3 and "-s0-" in checkpoint_dir.name:
            pass_gate("restarted")
        file.write_text(str(epoch))
        yield configuration["x"] * epoch
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "gated.py").write_text(GATED)
    (tmp_path / "space.toml").write_text(SPACE)
    for gate in ("killed", "restarted"):
        os.mkfifo(tmp_path / gate)
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as server:
        yield server


def run(here: Path, server: ServerProcess, token: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "curvestop.hyperband.cli",
        "run",
        "gated.py",
        "--space",
        "space.toml",
        "--max-epochs",
        "3",
        "--mode",
        "sync",
    ]
    return subprocess.Popen(
        [*command, "--server", server.address, "--out", "out"],
        cwd=here,
        env={**os.environ, "CURVESTOP_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SETTINGS = 'max-epochs = 9\nmode = "sync"\niterations = 3\nmin-curves = 8\nsecond-chances = "10%"\nspace = "space.toml"\n'


def test_second_chances_are_the_same_on_a_server(here: Path, server: ServerProcess) -> None:
    (here / "late.py").write_text(LATE)
    (here / "space.toml").write_text(SPACE.replace("0.5", "0.0"))
    (here / "run.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "curvestop.hyperband.cli", "run", "late.py", "--config", "run.toml", "--reproducible"]
    environment = {**os.environ, "CURVESTOP_TOKEN": server.token}
    results = []
    for out, more in (("here", []), ("there", ["--server", server.address])):
        subprocess.run([*command, "--out", out, *more], cwd=here, env=environment, check=True, stdout=subprocess.DEVNULL)
        results.append(json.loads((here / out / "results.json").read_text()))
    assert results[0]["n_resumed"] == results[1]["n_resumed"] > 0
    for one, other in zip(*(result["trials"] for result in results), strict=True):
        assert (one["values"], one["state"], one["resumed_at"]) == (other["values"], other["state"], other["resumed_at"])


def test_a_run_without_its_server_has_no_second_chances(tmp_path: Path) -> None:
    settings = StudySettings("s", 9)
    with connect("127.0.0.1:1", settings, token="0" * 64) as study, Journal(tmp_path / "journal.jsonl") as journal:
        journaled = JournaledStudy(study, settings, (), journal)
        assert journaled.second_chances() == []
    (entry,) = read(tmp_path / "journal.jsonl")
    assert entry == {"kind": "chances", "chances": []}


def settings_of(results: dict[str, Any], folder: Path) -> StudySettings:
    return RunSettings(**results["settings"]).study_settings(folder / "space.toml")


def test_a_wrong_token_is_one_line_and_exit_status_2(here: Path, server: ServerProcess) -> None:
    with run(here, server, token="0" * 64) as process:
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 2
    assert complaints.startswith(f"hyperband: server {server.address} refuses this client")
    assert complaints.count("\n") == 1
    assert not (here / "out").exists()


def test_a_server_that_is_killed_in_a_run_has_every_epoch_in_the_end(here: Path, server: ServerProcess) -> None:
    with run(here, server, server.token) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "rung 2/2" not in process.stdout.readline():
            pass
        server.kill()
        (here / "killed").write_text("")  # training continues without a server
        with ServerProcess(server.folder, port=server.port) as restarted:
            (here / "restarted").write_text("")
            process.stdout.read()
            complaints = process.stderr.read()
            assert process.wait(60) == 0, complaints
            # Only what the outage is: a line when it begins, and one when it is over.
            begins, ends = complaints.splitlines()
            assert begins.startswith(f"server {server.address} does not answer: it cannot be reached: ")
            assert begins.endswith(": training continues without stops; the values are sent later")
            assert re.fullmatch(rf"server {server.address} answers again after \d+ s: what was kept is sent, and .*", ends)
            results = json.loads((here / "out" / "results.json").read_text())
            with connect(restarted.address, settings_of(results, here / "out"), token=restarted.token, deadline_s=10.0) as study:
                stored = {trial.trial: (list(trial.values), trial.state) for trial in study.trials()}
    states = {"finished": "finished", "dropped": "stopped"}
    assert stored == {trial["trial"]: (trial["values"], states[trial["state"]]) for trial in results["trials"]}
    assert results["epochs_trained"] == 3 + 2 + 2 * 3
