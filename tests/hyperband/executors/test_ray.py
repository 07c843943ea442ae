"""Workers on a Ray cluster keep the executor's contract, and lose a node without losing a trial."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curvestop.hyperband.executors.base import Executor, JobOver, Measured, ScriptError
from curvestop.hyperband.executors.ray import RayExecutor, check_answers
from curvestop.hyperband.executors.train_command import Program
from curvestop.hyperband.executors.worker_process import Launch
from curvestop.hyperband.run.run_folder import run_view
from tests.contracts_executor import (
    COUNTING,
    KILLED_ONCE,
    Execute,
    ExecutorContract,
    RunsScripts,
    command_of,
    job,
    next_of,
    script_of,
    values_of,
)
from tests.ray_cluster import RayCluster


class OnRay:
    """Executors on a cluster."""

    @pytest.fixture
    def execute(self, ray_cluster: RayCluster, tmp_path: Path) -> Execute:
        def execute(program: Program, n_workers: int, **options: Any) -> RayExecutor:
            return RayExecutor(program, n_workers, folder=tmp_path / "run", **options)

        return execute


class TestRayScripts(OnRay, RunsScripts, ExecutorContract):
    """What a script itself can do wrong is reported by the worker, as without a cluster."""


class TestOnlyOnACluster(OnRay):
    def test_a_script_that_cannot_be_used_is_said_at_once(self, execute: Execute, tmp_path: Path) -> None:
        script = script_of(tmp_path, "import no_such_module\n")
        with pytest.raises(ScriptError, match="cannot be used: ModuleNotFoundError"), execute(script, 2):
            pass

    def test_a_command_that_is_killed_continues_from_its_checkpoint(self, execute: Execute, tmp_path: Path) -> None:
        with execute(command_of(tmp_path, KILLED_ONCE), 1) as executor:
            assert values_of(executor, job("a"), 4) == [1.0, 2.0, 3.0, 4.0]

    def test_a_node_dies_in_the_middle_of_an_epoch_and_its_trial_continues_elsewhere(
        self, execute: Execute, tmp_path: Path, ray_cluster: RayCluster
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        stuck = STUCK_ONCE.format(pipe=tmp_path / "pipe")
        script = COUNTING.replace("        file.write_text", f"{stuck}        file.write_text")
        with execute(script_of(tmp_path, script), 2, cpus_per_trial=2, retries=1) as executor:
            executor.start(job("a", 1.0))
            executor.start(job("b", 10.0))
            received = values_until(executor, {"a": 2, "b": 2})
            executor.train_next_epoch("a")  # into epoch 3, where it stays
            ray_cluster.kill_node_of(int((tmp_path / "pipe").read_text()))
            try:
                executor.train_next_epoch("b")
                more_values = values_until(executor, {"b": 2})  # the node that is left trains on
                executor.stop("b")
                last_values = values_until(executor, {"a": 3})  # and takes over
                executor.stop("a")
                assert {event.trial for event in over(executor)} == {"a"}
            finally:
                ray_cluster.add_node()
            while executor.n_idle < 2:  # the new node is taken into use
                executor.wait()
            begun = (executor.folder / "checkpoints" / "a" / "begun").read_text().split()
        assert (received["a"], received["b"], more_values["b"]) == ([1.0, 2.0], [10.0, 20.0], [30.0, 40.0])
        assert last_values["a"] == [3.0, 4.0, 5.0]
        assert begun == ["1", "2", "3", "3", "4", "5"]  # the epoch in flight was lost, and no other

    def test_an_idle_worker_that_is_lost_is_replaced_at_no_trial_s_cost(self, execute: Execute, tmp_path: Path) -> None:
        script = "import os\ndef train(c, d):\n    yield os.getppid()\n"
        with execute(script_of(tmp_path, script), 1, retries=0) as executor:
            (actor,) = values_of(executor, job("a"), 1)
            os.kill(int(actor), signal.SIGKILL)
            while executor.n_idle:
                assert executor.wait() == ()
            (other,) = values_of(executor, job("b"), 1)
        assert other != actor

    def test_a_worker_that_is_lost_while_the_scheduler_decides(self, execute: Execute, tmp_path: Path) -> None:
        noted = "(checkpoint_dir / 'actor').write_text(str(os.getppid()))\n        yield"
        with execute(script_of(tmp_path, "import os\n" + COUNTING.replace("yield", noted)), 1) as executor:
            executor.start(job("a"))
            assert next_of(executor) == Measured("a", 1.0)
            os.kill(int((executor.folder / "checkpoints" / "a" / "actor").read_text()), signal.SIGKILL)
            executor.train_next_epoch("a")
            assert next_of(executor) == Measured("a", 2.0)

    def test_without_retries_a_lost_worker_fails_its_trial(self, execute: Execute, tmp_path: Path) -> None:
        script = "import os\ndef train(c, d):\n    if c['x']:\n        os.kill(os.getppid(), 9)\n    yield 1\n"
        with execute(script_of(tmp_path, script), 1, retries=0) as executor:
            executor.start(job("a", 1.0))
            assert next_of(executor) == JobOver("a", "the worker was lost: its actor died")
            assert values_of(executor, job("b", 0.0), 1) == [1.0]

    def test_closing_ends_workers_that_are_in_the_middle_of_an_epoch(self, execute: Execute, tmp_path: Path) -> None:
        script = "import os, threading\ndef train(c, d):\n    yield os.getpid()\n    threading.Event().wait()\n"
        with execute(script_of(tmp_path, script), 1) as executor:
            executor.start(job("a"))
            measured = next_of(executor)
            assert isinstance(measured, Measured)
            death = os.pidfd_open(int(measured.value))
            executor.train_next_epoch("a")
        try:
            assert select.select([death], [], [], 0.0)[0] == [death]
        finally:
            os.close(death)

    def test_workers_without_resources_are_reported_and_the_others_train(
        self, execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("curvestop.hyperband.executors.ray.WAIT_FOR_ALL_S", 0.0)
        with execute(script_of(tmp_path, COUNTING), 3, cpus_per_trial=2) as executor:
            while executor.n_idle < 2:
                executor.wait()
            assert values_of(executor, job("a"), 2) == [1.0, 2.0]
            assert executor.n_idle == 2
        assert "wait for resources of the cluster: each needs {'num_cpus': 2}; the cluster has CPU 4, " in caplog.text

    def test_a_node_without_the_folder(self, tmp_path: Path, ray_cluster: RayCluster) -> None:
        class Elsewhere(RayExecutor):
            def _launch(self, worker: int, **environment: str) -> Launch:
                return replace(super()._launch(worker, **environment), cwd="/not/there")

        executor = Elsewhere(script_of(tmp_path, COUNTING), 1, folder=tmp_path / "run")
        with pytest.raises(ScriptError, match=r"no worker can be started on the cluster: .*No such file.*'/not/there'"), executor:
            pass


def test_the_command_on_a_cluster_killed_and_resumed_ends_as_one_on_this_machine(tmp_path: Path, ray_cluster: RayCluster) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "space.toml").write_text('[x]\ntype = "float"\nlow = 0.5\nhigh = 1.0\n')
    once = STUCK_ONCE.format(pipe=tmp_path / "pipe").replace('configuration["x"] == 1', '"s1-002" in str(checkpoint_dir)')
    script_of(tmp_path, COUNTING.replace("        file.write_text", f"{once}        file.write_text"))
    arguments = ["run", "script.py", "--space", "space.toml", "--max-epochs", "9", "--mode", "sync", "--no-stop"]
    on_ray = ["--engine", "ray", "--address", ray_cluster.address, "--workers", "2", "--out", "on-ray"]
    with hyperband(tmp_path, *arguments, *on_ray) as driver:
        (tmp_path / "pipe").read_text()  # a trial is in the middle of its third epoch
        driver.send_signal(signal.SIGKILL)
    with hyperband(tmp_path, "resume", "on-ray") as driver:
        assert driver.wait() == 0
    with hyperband(tmp_path, *arguments, "--out", "here") as driver:
        assert driver.wait() == 0
    tables = [[(r.trial, r.state, r.values) for r in run_view(tmp_path / run).scheduler.records] for run in ("on-ray", "here")]
    assert tables[0] == tables[1]


def hyperband(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "curvestop.hyperband.cli", *arguments], cwd=folder, stdout=subprocess.DEVNULL)


def test_no_cluster_at_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ScriptError, match=f"there is no Ray cluster at {address}: .*refused"):
            check_answers(address)


@pytest.mark.parametrize("option", [{"cpus_per_trial": -1}, {"gpus_per_trial": float("nan")}, {"resources": {"TPU": -1}}])
def test_resources_are_not_negative(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be >= 0, but got (-1|nan)"):
        RayExecutor(tmp_path / "x.py", 1, folder=tmp_path, **option)


STUCK_ONCE = """        import os, threading
        (checkpoint_dir / "begun").open("a").write(f"{{epoch}}\\n")
        if epoch == 3 and configuration["x"] == 1 and not os.path.exists("{pipe}.used"):
            open("{pipe}.used", "w").close()
            open("{pipe}", "w").write(str(os.getpid()))
            threading.Event().wait()
"""


def values_until(executor: Executor, n_values: dict[str, int]) -> dict[str, list[float]]:
    """Train on until each of these trials has sent so many more values, and waits."""
    received: dict[str, list[float]] = {trial: [] for trial in n_values}
    while any(len(received[trial]) < n for trial, n in n_values.items()):
        for event in executor.wait():
            if isinstance(event, Measured):
                received[event.trial].append(event.value)
                if len(received[event.trial]) < n_values[event.trial]:
                    executor.train_next_epoch(event.trial)
    return received


def over(executor: Executor) -> tuple[Measured | JobOver, ...]:
    while not (happened := executor.wait()):
        pass
    return happened
