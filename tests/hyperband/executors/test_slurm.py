"""Workers on a real Slurm: a trial goes on from its checkpoint when its job is cancelled, requeued or at its end."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curvestop.hyperband.cli import app
from curvestop.hyperband.executors.base import Measured, ScriptError
from curvestop.hyperband.executors.factory import ExecutorConfig, make_executor
from curvestop.hyperband.executors.train_command import Program, Script
from curvestop.hyperband.executors.worker_process import Launch
from curvestop.hyperband.run.run_folder import run_view
from tests.contracts_executor import COUNTING, KILLED_ONCE, Execute, command_of, job, next_of, script_of, values_of
from tests.slurm_cluster import SlurmCluster
from tests.system_programs import skip_without

STUCK_ONCE = """
import os, threading
def train(configuration, checkpoint_dir):
    file, used = checkpoint_dir / "epoch", checkpoint_dir / "used"
    (checkpoint_dir / "job").write_text(os.environ["SLURM_JOB_ID"])
    epoch = int(file.read_text()) if file.exists() else 0
    while True:
        epoch += 1
        if epoch == 3 and not used.exists():
            used.touch()
            open("{pipe}", "w").write(str(os.getpid()))
            threading.Event().wait()
        file.write_text(str(epoch))
        yield epoch
"""
"""Counts, and stays in its third epoch once."""


@pytest.fixture(scope="module", autouse=True)
def slurm() -> Iterator[None]:
    """A Slurm of two nodes with two CPUs each."""
    skip_without("munged", "slurmctld", "slurmd", "sbatch", "submitit")
    if os.getuid() != 0:
        pytest.skip("slurmd needs root")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, SlurmCluster(Path(folder)):
        yield


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    from curvestop.hyperband.executors import slurm

    monkeypatch.setattr(slurm, "LOOK_EVERY_S", 0.25)

    def execute(program: Program, n_workers: int, **options: Any) -> slurm.SlurmExecutor:
        return slurm.SlurmExecutor(program, n_workers, folder=tmp_path / "run", **options)

    return execute


def test_jobs_train_side_by_side_and_resume_from_their_checkpoints(execute: Execute, tmp_path: Path) -> None:
    script = "import os\n" + COUNTING.replace('configuration["x"] * epoch', 'epoch * int(os.environ["SLURM_CPUS_PER_TASK"])')
    with execute(script_of(tmp_path, script), 2, cpus_per_trial=2) as executor:
        assert executor.n_idle == 2
        assert values_of(executor, job("a"), 2) == [2.0, 4.0]
        assert values_of(executor, job("b"), 1) == [2.0]
        assert values_of(executor, job("a", first_epoch=3), 2) == [6.0, 8.0]
    assert in_queue() == []


@pytest.mark.parametrize("command", ["scancel", "scontrol requeue"])
def test_a_job_that_is_ended_in_the_middle_of_an_epoch(execute: Execute, tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with execute(script_of(tmp_path, STUCK_ONCE.replace("{pipe}", str(tmp_path / "pipe"))), 1) as executor:
        executor.start(job("a"))
        for value in (1.0, 2.0):
            assert next_of(executor) == Measured("a", value)
            executor.train_next_epoch("a")
        (tmp_path / "pipe").read_text()  # it is in its third epoch
        note = executor.folder / "checkpoints" / "a" / "job"
        first = note.read_text()
        subprocess.run([*command.split(), first], check=True)
        while not (happened := executor.wait()):  # Slurm would let a requeued job wait for two minutes
            subprocess.run(["scontrol", "update", f"JobId={first}", "StartTime=now"], check=False, capture_output=True)
        assert happened == (Measured("a", 3.0),)
        if command == "scancel":
            assert note.read_text() != first
        assert len(in_queue()) == 1


def test_a_worker_and_a_command_that_are_killed(execute: Execute, tmp_path: Path) -> None:
    with execute(command_of(tmp_path, KILLED_ONCE), 1) as executor:
        assert values_of(executor, job("a"), 4) == [1.0, 2.0, 3.0, 4.0]
        assert "epoch 4: metric=4" in (executor.folder / "logs" / "a.log").read_text()


def test_closing_ends_what_trains_and_what_waits_in_the_queue(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curvestop.hyperband.executors.slurm.WAIT_FOR_ALL_S", 0.0)
    script = "import os, threading\ndef train(c, d):\n    yield os.getpid()\n    threading.Event().wait()\n"
    with execute(script_of(tmp_path, script), 3, cpus_per_trial=2) as executor:
        executor.start(job("a"))
        measured = next_of(executor)
        assert isinstance(measured, Measured)
        death = os.pidfd_open(int(measured.value))
        executor.train_next_epoch("a")
        assert len(in_queue()) == 3
    with os.fdopen(death):
        assert select.select([death], [], [], 0.0)[0] == [death]
    assert in_queue() == []


def test_what_cannot_run_is_said(execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ScriptError, match="cannot be used: ModuleNotFoundError"),
        execute(script_of(tmp_path, "import no_such_module\n"), 1),
    ):
        pass
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    with (
        pytest.raises(ScriptError, match=r"cannot submit a job to Slurm: .*invalid partition specified: nowhere"),
        execute(Script(tmp_path / "script.py"), 1),
    ):
        pass


def test_a_node_without_the_folder(execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = execute(script_of(tmp_path, COUNTING), 1)
    launch = Launch(executor.program.as_json(), "/not/there", str(tmp_path / "worker.log"))  # type: ignore[attr-defined]
    monkeypatch.setattr(executor, "_launch", lambda worker, **environment: launch)
    with pytest.raises(ScriptError, match=r"3 jobs of Slurm ended before the worker was ready; .*: '/not/there'"), executor:
        pass


def test_a_machine_without_slurm(execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = 'cannot submit a job to Slurm: Could not detect "srun"'
    with pytest.raises(ScriptError, match=message), execute(script_of(tmp_path, COUNTING), 1):
        pass


@pytest.mark.parametrize(
    ("cpus", "gpus", "message"),
    [
        (0.5, 0.0, "cpus_per_trial must be a whole number >= 1 on Slurm, but got 0.5"),
        (1.0, -1.0, "gpus_per_trial must be a whole number >= 0 on Slurm, but got -1.0"),
    ],
)
def test_resources_are_whole_numbers(tmp_path: Path, cpus: float, gpus: float, message: str) -> None:
    config = ExecutorConfig(Script(tmp_path / "x.py"), engine="slurm", cpus_per_trial=cpus, gpus_per_trial=gpus)
    with pytest.raises(ValueError, match=message):
        make_executor(config, tmp_path)


def test_the_command_trains_on_slurm(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('[x]\ntype = "float"\nlow = 0.5\nhigh = 1.0\n')
    script_of(tmp_path, COUNTING)
    of_run = ["script.py", "--space", "space.toml", "--max-epochs", "3", "--mode", "sync", "--no-stop", "--out", "run"]
    with chdir(tmp_path):
        ended = CliRunner().invoke(app, ["run", *of_run, "--engine", "slurm", "--workers", "2"])
    assert ended.exit_code == 0, ended.output
    records = run_view(tmp_path / "run").scheduler.records
    assert sorted(len(record.values) for record in records) == [1, 1, 3, 3, 3]
    for record in records:
        assert record.values == pytest.approx([record.configuration["x"] * epoch for epoch in range(1, len(record.values) + 1)])


def in_queue() -> list[str]:
    """The jobs that wait or run; those that are being cleaned up are over."""
    states = ["--states=PENDING,RUNNING,SUSPENDED"]
    return subprocess.check_output(["squeue", "--noheader", "--array", *states], text=True).splitlines()
