"""The contract of every executor, whatever it runs its jobs on, and whatever the jobs run."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from curvestop.hyperband.executors.base import Executor, Job, JobOver, Measured, OwnedExecutor, ScriptError
from curvestop.hyperband.executors.train_command import Command, Program, Script

COUNTING = """
def train(configuration, checkpoint_dir):
    file = checkpoint_dir / "epoch"
    epoch = int(file.read_text()) if file.exists() else 0
    while True:
        epoch += 1
        file.write_text(str(epoch))
        yield configuration["x"] * epoch
"""
"""Yields x, 2 x, 3 x, ... and keeps the epoch in its checkpoint."""

KILLED_ONCE = """
import os, signal
def train(configuration, checkpoint_dir):
    file, killed = checkpoint_dir / "epoch", checkpoint_dir / "killed"
    epoch = int(file.read_text()) if file.exists() else 0
    while True:
        epoch += 1
        if epoch == 3 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        file.write_text(str(epoch))
        yield epoch
"""

AS_COMMAND = """
import importlib.util, json, os, signal, sys
from pathlib import Path

asked_to_end = []
signal.signal(signal.SIGTERM, lambda number, frame: asked_to_end.append(number))
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
values = script.train(json.loads(os.environ["CURVESTOP_CONFIGURATION"]), Path(os.environ["CURVESTOP_CHECKPOINT_DIR"]))
for epoch, value in enumerate(values, start=int(os.environ["CURVESTOP_FIRST_EPOCH"])):
    print(f"epoch {epoch}: metric={float(value)!r}", flush=True)
    if asked_to_end or epoch == int(os.environ["CURVESTOP_LAST_EPOCH"]):
        break
"""
"""A well-behaved command: trains a script's generator, ends between epochs when it receives SIGTERM, and after the last."""

AS_SENDING_COMMAND = AS_COMMAND.replace(
    'print(f"epoch {epoch}: metric={float(value)!r}", flush=True)',
    'importlib.import_module("curvestop.clients.job").current_job().report(float(value), epoch=epoch)',
)
"""The same, that sends its metrics and prints nothing."""

Execute = Callable[..., AbstractContextManager[OwnedExecutor]]
"""Makes an executor, a context manager, from a program, the number of jobs at a time, and options of the executor."""

Make = Callable[..., AbstractContextManager[OwnedExecutor]]
"""Makes an executor from the text of a training script, the number of jobs at a time, and options of the executor."""


def script_of(folder: Path, text: str) -> Program:
    script = folder / "script.py"
    script.write_text(text)
    return Script(script)


def command_of(folder: Path, text: str, command: str = AS_COMMAND) -> Program:
    """A command that does what the script does."""
    (folder / "script.py").write_text(text)
    (folder / "command.py").write_text(command)
    return Command((sys.executable, str(folder / "command.py"), str(folder / "script.py")))


def job(trial: str, x: float = 1.0, *, first_epoch: int = 1) -> Job:
    return Job(trial, {"x": x}, first_epoch, 9)


def next_of(executor: Executor) -> Measured | JobOver:
    """The next thing that happens, when only one job runs."""
    while not (happened := executor.wait()):
        pass
    (only,) = happened
    return only


def values_of(executor: Executor, started: Job, n_epochs: int) -> list[float]:
    """Run a job for so many epochs, then stop it."""
    until_idle(executor)
    executor.start(started)
    values = []
    for epoch in range(1, n_epochs + 1):
        measured = next_of(executor)
        assert isinstance(measured, Measured), measured
        values.append(measured.value)
        (executor.train_next_epoch if epoch < n_epochs else executor.stop)(started.trial)
    assert next_of(executor) == JobOver(started.trial)
    return values


def until_idle(executor: Executor) -> None:
    while not executor.n_idle:
        assert executor.wait() == ()


class ExecutorContract:
    """Inherit (through `ScriptContract` or `CommandContract`) and define `execute`."""

    who: ClassVar[str]

    @pytest.fixture
    def execute(self) -> Execute:
        raise NotImplementedError

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    def test_a_trial_that_runs_out_of_memory_fails_alone(self, make: Make) -> None:
        script = (
            "import resource\n"
            "def train(configuration, checkpoint_dir):\n"
            "    if configuration['x'] > 1:\n"
            "        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))\n"
            "        bytearray(16 << 30)\n"
            "    yield configuration['x']\n"
        )
        with make(script, 1) as executor:
            executor.start(job("a", 2.0))
            over = next_of(executor)
            assert isinstance(over, JobOver)
            assert over.failure is not None
            assert "MemoryError" in over.details
            assert values_of(executor, job("b"), 1) == [1.0]

    def test_values_come_one_by_one(self, make: Make) -> None:
        with make(COUNTING, 1) as executor:
            assert values_of(executor, job("a", 0.5), 3) == [0.5, 1.0, 1.5]

    def test_a_trial_resumes_from_its_own_checkpoint(self, make: Make) -> None:
        with make(COUNTING, 1) as executor:
            assert values_of(executor, job("a"), 2) == [1.0, 2.0]
            assert values_of(executor, job("b", 10.0), 1) == [10.0]
            assert values_of(executor, job("a", first_epoch=3), 2) == [3.0, 4.0]

    def test_a_forgotten_trial_begins_again(self, make: Make) -> None:
        with make(COUNTING, 1) as executor:
            values_of(executor, job("a"), 2)
            executor.delete_checkpoint("a")
            executor.delete_checkpoint("never seen")
            assert values_of(executor, job("a"), 1) == [1.0]

    def test_jobs_run_side_by_side(self, make: Make) -> None:
        with make(COUNTING, 2) as executor:
            assert executor.n_idle == 2
            executor.start(job("a", 1.0))
            executor.start(job("b", 10.0))
            assert executor.n_idle == 0
            with pytest.raises(ValueError, match="a job needs an idle worker, but all 2 are busy"):
                executor.start(job("c"))
            received: dict[str, list[float]] = {"a": [], "b": []}
            over: set[str] = set()
            while over != {"a", "b"}:
                for event in executor.wait():
                    if isinstance(event, JobOver):
                        over.add(event.trial)
                    else:
                        received[event.trial].append(event.value)
                        (executor.stop if len(received[event.trial]) == 3 else executor.train_next_epoch)(event.trial)
            assert received == {"a": [1.0, 2.0, 3.0], "b": [10.0, 20.0, 30.0]}
            assert executor.n_idle == 2

    def test_the_configuration_arrives_as_it_is(self, make: Make) -> None:
        script = "def train(c, d):\n    assert c == {'x': 0.1, 'n': 3, 'flag': True, 'name': 'sgd'}, c\n    yield 1\n"
        with make(script, 1) as executor:
            executor.start(Job("a", {"x": 0.1, "n": 3, "flag": True, "name": "sgd"}, 1, 1))
            assert next_of(executor) == Measured("a", 1.0)

    def test_a_generator_that_ends_is_over_without_a_failure(self, make: Make) -> None:
        with make("def train(c, d):\n    yield 1\n", 1) as executor:
            executor.start(job("a"))
            assert next_of(executor) == Measured("a", 1.0)
            executor.train_next_epoch("a")
            assert next_of(executor) == JobOver("a")

    def test_not_a_number_arrives_as_such(self, make: Make) -> None:
        with make("def train(c, d):\n    yield float('nan')\n", 1) as executor:
            executor.start(job("a"))
            measured = next_of(executor)
            assert isinstance(measured, Measured)
            assert math.isnan(measured.value)

    @pytest.mark.parametrize(
        ("death", "how"),
        [
            ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
            ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
            ("os._exit(7)", "exited with status 7"),
        ],
    )
    def test_a_death_fails_its_trial_and_the_worker_is_replaced(self, make: Make, death: str, how: str) -> None:
        script = f"import os, signal\ndef train(c, d):\n    yield 1\n    {death}\n"
        with make(script, 1, retries=0) as executor:
            for trial in ("a", "b"):
                until_idle(executor)
                executor.start(job(trial))
                assert next_of(executor) == Measured(trial, 1.0)
                executor.train_next_epoch(trial)
                over = next_of(executor)
                assert isinstance(over, JobOver)
                assert (over.trial, over.failure) == (trial, f"the {self.who} {how}")

    def test_what_is_killed_from_outside_continues_from_its_checkpoint(self, make: Make) -> None:
        with make(KILLED_ONCE, 1) as executor:
            assert values_of(executor, job("a"), 4) == [1.0, 2.0, 3.0, 4.0]

    def test_what_is_killed_again_at_the_same_epoch_fails(self, make: Make) -> None:
        script = "import os, signal\ndef train(c, d):\n    os.kill(os.getpid(), signal.SIGKILL)\n    yield\n"
        with make(script, 1, retries=2) as executor:
            executor.start(job("a"))
            over = next_of(executor)
            assert isinstance(over, JobOver)
            assert over.failure == f"the {self.who} was killed by SIGKILL"
            until_idle(executor)

    def test_what_hangs_is_killed_and_fails(self, make: Make) -> None:
        script = "import threading\ndef train(c, d):\n    yield 1\n    threading.Event().wait(1e9 * c['x'])\n    yield 2\n"
        with make(script, 1, hang_limit_s=3.0) as executor:
            executor.start(job("a", 1.0))
            assert next_of(executor) == Measured("a", 1.0)
            executor.train_next_epoch("a")
            over = next_of(executor)
            assert isinstance(over, JobOver)
            assert over.failure == "no epoch ended within 3 s: the worker was killed"
            assert values_of(executor, job("b", 0.0), 2) == [1.0, 2.0]

    def test_an_epoch_that_never_reached_the_parent_comes_first(self, make: Make) -> None:
        with make(COUNTING, 1) as executor:
            assert values_of(executor, job("a"), 3) == [1.0, 2.0, 3.0]
            assert values_of(executor, job("a", first_epoch=2), 3) == [2.0, 3.0, 4.0]

    def test_the_output_of_a_trial_is_in_its_log(self, make: Make) -> None:
        script = "import sys\ndef train(c, d):\n    print('training')\n    print('warning', file=sys.stderr)\n    yield 1\n"
        with make(script, 1) as executor:
            values_of(executor, job("a"), 1)
            log = (executor.folder / "logs" / "a.log").read_text()
        assert "training\n" in log
        assert "warning\n" in log

    def test_nothing_of_a_forgotten_trial_but_its_log_is_left(self, make: Make) -> None:
        with make(COUNTING, 1) as executor:
            values_of(executor, job("a"), 2)
            assert (executor.folder / "checkpoints" / "a").is_dir()
            executor.delete_checkpoint("a")
            left = {str(path.relative_to(executor.folder)) for path in executor.folder.rglob("*") if path.is_file()}
        assert {path for path in left if not path.startswith("logs/worker-")} == {"logs/a.log"}

    @pytest.mark.parametrize("answer", ["train_next_epoch", "stop"])
    def test_answers_for_a_trial_that_does_not_train(self, make: Make, answer: str) -> None:
        with make(COUNTING, 1) as executor, pytest.raises(ValueError, match="trial must be one that is training, but got 'x'"):
            getattr(executor, answer)("x")


class RunsScripts:
    """Jobs of a contract that are training scripts."""

    who = "worker"

    @pytest.fixture
    def make(self, execute: Execute, tmp_path: Path) -> Make:
        return lambda text, n_workers, **options: execute(script_of(tmp_path, text), n_workers, **options)


class ScriptContract(RunsScripts, ExecutorContract):
    """The contract of executors that run a training script, with all that a script can do wrong."""

    def test_a_generator_is_closed_when_its_job_is_stopped(self, make: Make) -> None:
        script = "def train(c, d):\n    try:\n        yield 1\n    finally:\n        (d / 'closed').touch()\n    yield 2\n"
        resumed = "def train(c, d):\n    yield 1.0 if (d / 'closed').exists() else 0.0\n"
        with make(script + resumed.replace("train", "again") + "first = train\n"
                  "def train(c, d):\n    return again(c, d) if any(d.iterdir()) else first(c, d)\n", 1) as executor:  # fmt: skip
            assert values_of(executor, job("a"), 1) == [1.0]
            assert values_of(executor, job("a"), 1) == [1.0]

    @pytest.mark.parametrize(
        ("body", "failure"),
        [
            ("yield 1 / 0", "ZeroDivisionError: division by zero"),
            ("raise RuntimeError('two\\nlines')\n    yield", "RuntimeError: two lines"),
            ("import sys; sys.exit('enough')\n    yield", "SystemExit: enough"),
            ("yield 'good'", "TypeError: train must yield a number after each epoch, but yielded 'good' (str)"),
            ("yield None", "TypeError: train must yield a number after each epoch, but yielded 'None' (NoneType)"),
            ("yield True", "TypeError: train must yield a number after each epoch, but yielded 'True' (bool)"),
            ("return 0.9", "TypeError: train must be a generator that yields a number after each epoch, but returned 0.9"),
        ],
    )
    def test_a_failure_is_named_and_the_worker_continues(self, make: Make, body: str, failure: str) -> None:
        script = f"def broken(c, d):\n    {body}\ndef good(c, d):\n    yield 1\n"
        script += "def train(c, d):\n    return good(c, d) if c['x'] else broken(c, d)\n"
        with make(script, 1) as executor:
            executor.start(job("a", 0.0))
            over = next_of(executor)
            assert isinstance(over, JobOver)
            assert (over.trial, over.failure) == ("a", failure)
            assert "Traceback" in over.details
            assert values_of(executor, job("b"), 1) == [1.0]

    @pytest.mark.parametrize(
        ("expression", "value"),
        [("3", 3.0), ("1e-300", 1e-300), ("__import__('fractions').Fraction(1, 4)", 0.25), ("float('-inf')", -math.inf)],
    )
    def test_anything_that_is_a_number_is_a_metric(self, make: Make, expression: str, value: float) -> None:
        with make(f"def train(c, d):\n    yield {expression}\n", 1) as executor:
            executor.start(job("a"))
            assert next_of(executor) == Measured("a", value)

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("import no_such_module\n", "cannot be used: ModuleNotFoundError: No module named 'no_such_module'"),
            ("def trian(c, d): ...\n", r"a training script must define train\(configuration, checkpoint_dir\)"),
            ("train = 3\n", r"a training script must define train\(configuration, checkpoint_dir\)"),
            ("def train(:\n", "cannot be used: SyntaxError"),
            ("import os\nos._exit(3)\n", "the worker exited with status 3 while it imported the program"),
        ],
    )
    def test_a_script_that_cannot_be_used_is_said_at_once(self, make: Make, script: str, message: str) -> None:
        with pytest.raises(ScriptError, match=message), make(script, 2):
            pass

    def test_a_third_parameter_is_the_first_epoch(self, make: Make) -> None:
        script = "def train(c, d, first_epoch):\n    yield from range(first_epoch, 99)\n"
        with make(script, 1) as executor:
            assert values_of(executor, job("a"), 2) == [1.0, 2.0]
            assert values_of(executor, job("a", first_epoch=3), 2) == [3.0, 4.0]


class CommandContract(ExecutorContract):
    """The contract of executors that run a command."""

    who = "command"

    @pytest.fixture
    def make(self, execute: Execute, tmp_path: Path) -> Make:
        return lambda text, n_workers, **options: execute(command_of(tmp_path, text), n_workers, **options)

    def test_a_failure_comes_with_what_the_command_printed_last(self, make: Make) -> None:
        with make("def train(c, d):\n    yield 1 / c['x']\n", 1) as executor:
            executor.start(job("a", 0.0))
            over = next_of(executor)
            assert isinstance(over, JobOver)
            assert over.failure == "the command exited with status 1"
            assert over.details.endswith("ZeroDivisionError: float division by zero\n")
            assert (executor.folder / "failures" / "a.txt").read_text() == over.details
            assert values_of(executor, job("b"), 1) == [1.0]

    def test_placeholders_are_filled_in(self, execute: Execute) -> None:
        shown = "print('metric=1', '{x}', '{flag}', '{trial}', '{first_epoch}', '{last_epoch}', {'a': 1})"
        configuration: dict[str, Any] = {"x": 0.1, "flag": True}
        with execute(Command((sys.executable, "-c", shown)), 1) as executor:
            executor.start(Job("a", configuration, 4, 9))
            assert next_of(executor) == Measured("a", 1.0)
            assert (executor.folder / "logs" / "a.log").read_text() == "metric=1 0.1 true a 4 9 {'a': 1}\n"

    def test_a_program_that_is_not_there_is_said_at_once(self, execute: Execute) -> None:
        with (
            pytest.raises(ScriptError, match="program not found: no-such-program"),
            execute(Command(("no-such-program", "{x}")), 1),
        ):
            pass
