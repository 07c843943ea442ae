"""Local workers keep the executor's contract; what only they do; and the loop that drives a scheduler."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.job import current_job
from curvestop.hyperband.executors.base import Job, JobOver, Measured
from curvestop.hyperband.executors.local import LocalExecutor
from curvestop.hyperband.executors.train_command import Command, Program
from curvestop.hyperband.scheduler.asynchronous import AsynchronousHyperband
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.run_loop import run_until_finished
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import Event, TrialEnded
from curvestop.proto.job_metrics import SOCKET_VARIABLE
from tests.contracts_executor import (
    AS_SENDING_COMMAND,
    COUNTING,
    CommandContract,
    Execute,
    ScriptContract,
    command_of,
    job,
    next_of,
    until_idle,
    values_of,
)


def written(tmp_path: Path, text: str) -> Path:
    script = tmp_path / "script.py"
    script.write_text(text)
    return script


class Local:
    """Executors on this machine."""

    @pytest.fixture
    def execute(self, tmp_path: Path) -> Execute:
        def execute(program: Program, n_workers: int, **options: Any) -> LocalExecutor:
            return LocalExecutor(program, n_workers, folder=tmp_path / "run", **options)

        return execute


class TestLocalScripts(Local, ScriptContract):
    pass


class TestLocalCommands(Local, CommandContract):
    pass


class TestCommandsThatSend(Local):
    """Metrics come through the client in place of standard output."""

    def test_metrics_arrive_and_are_resumed(self, execute: Execute, tmp_path: Path) -> None:
        with execute(command_of(tmp_path, COUNTING, AS_SENDING_COMMAND), 1) as executor:
            assert values_of(executor, job("a", 2.0), 2) == [2.0, 4.0]
            assert values_of(executor, job("a", 2.0, first_epoch=3), 2) == [6.0, 8.0]

    def test_what_is_no_metric_fails_the_trial(self, execute: Execute) -> None:
        script = (
            "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
            "s.sendto(b'0.5', os.environ['CURVESTOP_METRICS'])"
        )
        with execute(Command((sys.executable, "-c", script)), 1) as executor:
            executor.start(job("a"))
            over = next_of(executor)
            assert isinstance(over, JobOver)
            assert over.failure == "a metric must be JSON with a value and an epoch, but got b'0.5'"

    def test_lines_are_not_searched_once_a_metric_was_sent(self, execute: Execute, tmp_path: Path) -> None:
        (tmp_path / "command.py").write_text(
            "from curvestop.clients.job import current_job\n"
            "job = current_job()\n"
            "job.report(1.0)\n"
            "while not (job.checkpoint_dir / 'seen').exists(): pass\n"  # the first metric is there
            "print('metric=-1', flush=True)\n"
            "job.report(2.0)\n"
        )
        with execute(Command((sys.executable, str(tmp_path / "command.py"))), 1) as executor:
            executor.start(job("a"))
            assert next_of(executor) == Measured("a", 1.0)
            (executor.folder / "checkpoints" / "a" / "seen").touch()
            executor.train_next_epoch("a")
            assert next_of(executor) == Measured("a", 2.0)

    def test_there_is_no_job_outside_of_a_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
        assert current_job() is None


def test_the_script_is_imported_once_by_each_worker_and_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("import os\nDRAWN = int.from_bytes(os.urandom(6), 'big')\n")
    script = written(tmp_path, "from neighbour import DRAWN\ndef train(c, d):\n    yield DRAWN\n")
    with LocalExecutor(script, 1, folder=tmp_path / "run") as executor:
        assert values_of(executor, job("a"), 1) == values_of(executor, job("b"), 1)


def test_what_the_script_prints_and_its_tracebacks_are_kept_in_the_folder(tmp_path: Path) -> None:
    script = written(tmp_path, "print('importing')\ndef train(c, d):\n    yield 1\n    raise KeyError('lr')\n")
    with LocalExecutor(script, 1, folder=tmp_path / "run") as executor:
        executor.start(job("a"))
        next_of(executor)
        executor.train_next_epoch("a")
        assert next_of(executor) == JobOver("a", "KeyError: 'lr'", (tmp_path / "run" / "failures" / "a.txt").read_text())
    assert "raise KeyError('lr')" in (tmp_path / "run" / "failures" / "a.txt").read_text()
    assert (tmp_path / "run" / "logs" / "worker-0.log").read_text() == "importing\n"


@pytest.mark.parametrize(("set_to", "expected"), [(None, 1.0), ("3", 3.0)])
def test_one_thread_for_linear_algebra_unless_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: str | None, expected: float
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False) if set_to is None else monkeypatch.setenv(name, set_to)
    names = "('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')"
    script = written(tmp_path, f"import os\ndef train(c, d):\n    for name in {names}:\n        yield int(os.environ[name])\n")
    with LocalExecutor(script, 1, folder=tmp_path / "run") as executor:
        assert values_of(executor, job("a"), 3) == [expected] * 3


def test_a_worker_whose_children_outlive_it_is_still_missed(tmp_path: Path) -> None:
    script = written(
        tmp_path,
        "import os, signal, threading\n"
        "def train(c, d):\n"
        "    if os.fork() == 0:\n"
        "        threading.Event().wait()\n"  # a child that keeps the worker's socket open
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "    yield\n",
    )
    with LocalExecutor(script, 1, folder=tmp_path / "run") as executor:
        executor.start(job("a"))
        assert next_of(executor) == JobOver("a", "the worker was killed by SIGKILL")


def test_closing_ends_workers_that_are_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    script = written(tmp_path, "import os, threading\ndef train(c, d):\n    yield os.getpid()\n    threading.Event().wait()\n")
    with LocalExecutor(script, 1, folder=tmp_path / "run") as executor:
        executor.start(job("a"))
        measured = next_of(executor)
        assert isinstance(measured, Measured)
        executor.train_next_epoch("a")
    with pytest.raises(ProcessLookupError):
        os.kill(int(measured.value), 0)


def test_workers_end_when_their_driver_is_killed(tmp_path: Path) -> None:
    script = written(tmp_path, "import os\ndef train(c, d):\n    yield os.getpid()\n")
    driver = written_driver(tmp_path, script)
    with subprocess.Popen([sys.executable, str(driver)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        death = os.pidfd_open(worker)
        process.send_signal(signal.SIGKILL)
    try:
        assert select.select([death], [], [], 10.0)[0] == [death]
    finally:
        os.close(death)


def written_driver(tmp_path: Path, script: Path) -> Path:
    """A program that starts one job, prints the process it runs in, and waits for ever."""
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import threading\n"
        "from pathlib import Path\n"
        "from curvestop.hyperband.executors.local import LocalExecutor\n"
        "from curvestop.hyperband.executors.base import Job\n"
        f"with LocalExecutor(Path({str(script)!r}), 1, folder=Path({str(tmp_path / 'run')!r})) as executor:\n"
        "    executor.start(Job('a', {}, 1, 1))\n"
        "    print(int(executor.wait()[0].value), flush=True)\n"
        "    threading.Event().wait()\n"
    )
    return driver


def scheduler_of(n_iterations: int = 1) -> FHyperband:
    numbers = count()
    return FHyperband(lambda: {"x": float(next(numbers))}, max_epochs=9, n_iterations=n_iterations)


def test_driving_trains_every_rung_and_keeps_the_checkpoints_of_those_trained_to_r(tmp_path: Path) -> None:
    scheduler, events = scheduler_of(), list[Event]()
    with LocalExecutor(written(tmp_path, COUNTING), 3, folder=tmp_path / "run") as executor:
        run_until_finished(scheduler, executor, on_event=events.append)
    assert scheduler.finished
    assert scheduler.epochs_trained == 9 + 6 + 6 + 15 + 6 + 27
    for record in scheduler.records:
        assert record.values == [record.configuration["x"] * epoch for epoch in range(1, record.epochs + 1)]
    finished = {record.trial for record in scheduler.records if record.state == "finished"}
    assert len(finished) == 1 + 1 + 3
    assert {folder.name for folder in (tmp_path / "run" / "checkpoints").iterdir()} == finished
    assert sum(isinstance(event, TrialEnded) for event in events) == len(scheduler.records)


@pytest.mark.parametrize("kind", [FHyperband, AsynchronousHyperband])
def test_checkpoints_go_as_soon_as_their_trials_cannot_be_promoted_any_more(tmp_path: Path, kind: type[BracketScheduler]) -> None:
    numbers, gone, n_kept = count(), set[str](), list[int]()
    scheduler = kind(lambda: {"x": float(next(numbers) % 7)}, max_epochs=9, n_iterations=2)
    checkpoints = tmp_path / "run" / "checkpoints"

    def look(event: Event) -> None:
        if isinstance(event, TrialEnded) and event.record.state != "finished":
            gone.add(event.record.trial)
        kept = {folder.name for folder in checkpoints.iterdir()}
        assert kept.isdisjoint(gone)
        n_kept.append(len(kept - {r.trial for r in scheduler.records if r.state == "finished"}))

    with LocalExecutor(written(tmp_path, COUNTING), 2, folder=tmp_path / "run") as executor:
        run_until_finished(scheduler, executor, on_event=look)
    assert gone
    assert max(n_kept) <= 9 + 2  # those of one rung, and what trains
    assert {folder.name for folder in checkpoints.iterdir()} == {r.trial for r in scheduler.records if r.state == "finished"}


def test_driving_with_several_workers_gives_the_same_run(tmp_path: Path) -> None:
    runs = []
    for n_workers in (1, 3):
        scheduler = scheduler_of()
        with LocalExecutor(written(tmp_path, COUNTING), n_workers, folder=tmp_path / f"run-{n_workers}") as executor:
            run_until_finished(scheduler, executor)
        runs.append([(r.trial, r.values, r.state) for r in scheduler.records])
    assert runs[0] == runs[1]


def test_driving_continues_after_failures_and_kills(tmp_path: Path) -> None:
    script = written(
        tmp_path,
        "import os, signal\n" + COUNTING.replace("def train", "def counting") + "def train(c, d):\n"
        "    if c['x'] == 8: raise ValueError('eight')\n"
        "    if c['x'] == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if c['x'] == 6: yield float('nan')\n"
        "    if c['x'] == 5: return\n"
        "    yield from counting(c, d)\n",
    )
    scheduler = scheduler_of()
    with LocalExecutor(script, 2, folder=tmp_path / "run") as executor:
        run_until_finished(scheduler, executor)
    assert {r.configuration["x"]: r.reason for r in scheduler.records if r.state == "failed"} == {
        5.0: "train ended after 0 epochs, before its rung's end at 1",
        6.0: "the metric of epoch 1 is nan, not a finite number",
        7.0: "the worker was killed by SIGKILL",
        8.0: "ValueError: eight",
    }
    assert max(len(r.values) for r in scheduler.records if r.configuration["x"] == 4.0) == 9  # the best that is left


def test_a_job_without_workers() -> None:
    with pytest.raises(ValueError, match="n_workers must be >= 1, but got 0"):
        LocalExecutor(Path("x.py"), 0, folder=Path("run"))


def printing(code: str, pattern: str = "acc=([0-9.]+)") -> Command:
    """A command that prints something for each epoch of its job, and has `out` and `err` to print with."""
    loop = f"for e in range({{first_epoch}}, {{last_epoch}} + 1):\n    {code}\n    sys.stdout.flush()\n"
    return Command((sys.executable, "-c", f"import sys\nout, err = sys.stdout.write, sys.stderr.write\n{loop}"), pattern)


@pytest.mark.parametrize(
    "code",
    [
        "out(f'acc={e / 10}\\n')",
        "err(f'acc={e / 10}\\n')",
        "err(f'INFO:root:epoch 0: acc={e / 10}\\n')",
        "out(f'\\x1b[32macc\\x1b[0m=\\x1b[36m{e / 10}\\x1b[0m\\n')",
        "out('{' + f'\\n \"epoch\": {e:d},\\n \"acc\": {e / 10}\\n' + '}\\n')",
        "out(f'acc=tensor({e / 10})\\n')",
        "out(f'acc=0,{e:d}\\n')",
        "out(f'\\r 3/9 acc={e / 10}')",
        # A bar on standard error that ends with each epoch.
        "err('\\r 1/2 acc=0.0'); err(f'\\r 2/2 acc={e / 10}\\n')",
        # Each epoch counts once, by the best of the lines: standard output before standard error, the pattern before the name.
        "err('acc=9.9\\n'); out(f'acc={e / 10}\\n')",
        "out('acc: 9.9\\n'); out(f'acc={e / 10}\\n'); err('acc=9.9\\n')",
        "err('acc=9.9\\n'); out(f'acc: {e / 10}\\n')",
    ],
)
def test_a_metric_is_found_wherever_and_however_it_is_printed(tmp_path: Path, code: str) -> None:
    with LocalExecutor(printing(code), 1, folder=tmp_path / "run") as executor:
        for first_epoch in (1, 3):  # the second job knows where the metrics are
            until_idle(executor)
            executor.start(Job("a", {}, first_epoch, first_epoch + 1))
            for epoch in (first_epoch, first_epoch + 1):
                assert next_of(executor) == Measured("a", epoch / 10)
                (executor.train_next_epoch if epoch == first_epoch else executor.stop)("a")
            assert next_of(executor) == JobOver("a")


def test_a_command_that_never_ends_is_read_on_standard_error(tmp_path: Path) -> None:
    """It trains on after the job's last epoch: so it is known that no better lines will come."""
    command = printing("err(f'acc={e / 10}\\n')").arguments
    endless = (*command[:2], command[2].replace("{last_epoch} + 1", "9") + "\nimport threading; threading.Event().wait()")
    with LocalExecutor(Command(endless, "acc=([0-9.]+)", grace_s=0.1), 1, folder=tmp_path / "run") as executor:
        executor.start(Job("a", {}, 1, 2))
        assert next_of(executor) == Measured("a", 0.1)
        executor.train_next_epoch("a")
        assert next_of(executor) == Measured("a", 0.2)


def test_without_a_metric_the_failure_shows_what_was_printed_and_what_to_write(tmp_path: Path) -> None:
    with LocalExecutor(printing("err(f'epoch {e:d}: accuracy: {e / 10}\\n')"), 1, folder=tmp_path / "run") as executor:
        executor.start(Job("a", {}, 1, 2))
        over = next_of(executor)
        assert isinstance(over, JobOver)
        assert over.failure == (
            "the command ended without a metric: no line has 'acc=([0-9.]+)'; the last lines are 'epoch 1: accuracy: 0.1', "
            "'epoch 2: accuracy: 0.2'; numbers follow accuracy: write for example --pattern 'accuracy=([0-9.]+)'"
        )
        printed = (tmp_path / "run" / "failures" / "a.txt").read_text()
        assert printed == over.details == "epoch 1: accuracy: 0.1\nepoch 2: accuracy: 0.2\n"


def test_a_command_that_ends_early_leaves_what_it_printed(tmp_path: Path) -> None:
    with LocalExecutor(printing("out('acc=0.1\\n'); print('enough'); break"), 1, folder=tmp_path / "run") as executor:
        executor.start(Job("a", {}, 1, 3))
        assert next_of(executor) == Measured("a", 0.1)
        executor.train_next_epoch("a")
        assert next_of(executor) == JobOver("a")
        left = (tmp_path / "run" / "failures" / "a.txt").read_text()
        assert left == "ended before epoch 2 of 3; the last lines of its output:\nacc=0.1\nenough\n"


def test_a_metric_that_may_be_two_numbers_fails_its_trial(tmp_path: Path) -> None:
    with LocalExecutor(printing("out('acc=1,234\\n')"), 1, folder=tmp_path / "run") as executor:
        executor.start(Job("a", {}, 1, 2))
        over = next_of(executor)
        assert isinstance(over, JobOver)
        assert over.failure == (
            "the metric '1,234' may be 1.234 or 1234: print it with a decimal point; the command printed 'acc=1,234'"
        )
