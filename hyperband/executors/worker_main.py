"""The main program of a worker process: loads the training program once, then trains the jobs that its parent sends.

`python -m curvestop.hyperband.executors.worker_main PROGRAM DESCRIPTOR` is started by `WorkerProcess`. PROGRAM is the training
program as JSON, DESCRIPTOR the number of the inherited socket that carries the messages of `messages.py`.
This file uses the standard library only, so that a worker starts as fast as the script's own imports.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from curvestop.hyperband.executors.command import CommandFailed, CommandRun, last_lines
from curvestop.hyperband.executors.messages import (
    CommandStarted,
    Ended,
    Failed,
    Message,
    NextEpoch,
    Ready,
    StartJob,
    Unusable,
    Value,
    decode,
    encode,
)
from curvestop.hyperband.executors.metric_pattern import MetricFinder
from curvestop.hyperband.executors.train_command import missing_program

Train = Callable[..., Iterator[float]]
"""The `train` of a script."""

CLOSE_S = 2.0
"""How long a job may take to end when the parent is gone, in addition to a command's own grace period."""


class Run(Protocol):
    """One job in training: an iterator of metrics."""

    def __iter__(self) -> Iterator[float]: ...

    def close(self) -> list[float]:
        """End the job.

        Returns:
            Metrics of later epochs that are known already.
        """
        ...


StartRun = Callable[[StartJob], Run]
"""Starts the loaded program on a job."""


class ParentGone(Exception):
    """The parent closed its end of the socket, or died."""


class Terminated(BaseException):
    """This process received SIGTERM."""


class Parent:
    """The worker's end of the socket.

    If the parent dies, a thread ends the running job: another run may resume the trial at once, and two processes must not
    write one checkpoint.

    Args:
        connection: The socket.
        grace_s: Seconds that a command may take to end.

    Attributes:
        process_group: Process group of the running command; None without one.
        is_training: Whether a job is running.
    """

    def __init__(self, connection: Connection, grace_s: float) -> None:
        self._connection, self._grace_s = connection, grace_s
        self.process_group: int | None = None
        self.is_training = False
        threading.Thread(target=self._end_job_when_parent_dies, daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message.

        Args:
            message: The answer to the parent's last request.

        Raises:
            ParentGone: If nobody can receive it.
        """
        try:
            self._connection.send_bytes(encode(message))
        except (BrokenPipeError, ConnectionResetError):
            raise ParentGone from None

    def receive(self) -> Any:
        """Wait for the parent's next request.

        Raises:
            ParentGone: If there is no parent any more.
        """
        try:
            return decode(self._connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            raise ParentGone from None

    def wants_next_epoch(self, value: float, seconds: float = 0.0) -> bool:
        """Send the metric of an epoch, wait for the answer and return whether to train another epoch.

        Args:
            value: The metric after the epoch; may be NaN or infinite.
            seconds: Training time of the epoch; 0 for a metric read from the value log.

        Returns:
            True for `NextEpoch`, False for `StopJob`.

        Raises:
            ParentGone: If the parent is gone before it answers.
        """
        self.send(Value(value, seconds))
        return isinstance(self.receive(), NextEpoch)

    def _end_job_when_parent_dies(self) -> None:
        # poll instead of reading: the main thread reads this socket.
        hang_up = select.poll()
        hang_up.register(self._connection.fileno(), 0)  # event mask 0: wake up only when the other end is closed
        hang_up.poll()
        if self.is_training:
            os.killpg(0, signal.SIGTERM)  # group 0 is this process's own, with the script's children
            time.sleep(self._grace_s + CLOSE_S)
            # The job had its time: kill the command, which leads a group of its own, then this process's group.
            if self.process_group is not None:
                os.killpg(self.process_group, signal.SIGKILL)
            os.killpg(0, signal.SIGKILL)


def main(program: str, descriptor: str) -> None:
    """Run a worker until its parent closes the socket.

    Args:
        program: The training program as JSON, from `Program.as_json`.
        descriptor: Number of the inherited socket.
    """
    os.set_inheritable(int(descriptor), False)  # what the program starts must not keep the socket open
    spec = json.loads(program)
    parent = Parent(Connection(int(descriptor)), spec.get("grace_s", 0.0))
    with contextlib.suppress(ParentGone, Terminated):
        try:
            start = LOADERS[spec["kind"]](spec, parent)
        except Exception as error:  # whatever the import of a script raises
            traceback.print_exc()
            parent.send(Unusable(one_line(error)))
            return
        parent.send(Ready())
        while True:
            _serve_job(start, parent)


def load_script(spec: Mapping[str, Any], parent: Parent) -> StartRun:
    """Load a training script; see `load_train` for what it raises.

    Args:
        spec: `Script.as_json()`.
        parent: Not read: a script runs in this process, so there is no process group to tell.
    """
    return partial(ScriptRun, load_train(Path(spec["path"])))


def load_command(spec: Mapping[str, Any], parent: Parent) -> StartRun:
    """Prepare to start a command for each job.

    Args:
        spec: `Command.as_json()`.
        parent: Receives the process group of each started command.

    Returns:
        A function that starts the command for a job. SIGTERM then raises `Terminated` in this process.

    Raises:
        FileNotFoundError: If there is no such program.
    """
    problem = missing_program(spec["arguments"])
    if problem is not None:
        raise FileNotFoundError(problem)

    def terminate(number: int, frame: object) -> None:
        raise Terminated  # unwinds `_train`, which ends the command

    finder = MetricFinder(spec["pattern"])  # one for all jobs: it learns where the metrics are

    def start(job: StartJob) -> Run:
        run = CommandRun(spec, job, finder)
        parent.process_group = run.process_group
        parent.send(CommandStarted(run.process_group))
        return run

    signal.signal(signal.SIGTERM, terminate)
    return start


LOADERS: Mapping[str, Callable[[Mapping[str, Any], Parent], StartRun]] = {"script": load_script, "command": load_command}
"""Functions that load a program, by its `kind`."""


def load_train(script: Path) -> Train:
    """Import a script by its path, as if it were run from its folder, and return its `train`.

    Args:
        script: Path of the Python file; its folder comes first on `sys.path`.

    Raises:
        ImportError: If the path is not that of a Python file.
        AttributeError: If the script does not define `train`.
    """
    # As `python script.py` does, so that the script finds its neighbours.
    sys.path.insert(0, str(script.resolve().parent))
    # A script named like a loaded module (json.py) gets another name instead of replacing that module.
    name = script.stem if script.stem not in sys.modules else f"_script_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: pickling and dataclasses look the module up there
    spec.loader.exec_module(module)
    train = getattr(module, "train", None)
    if not callable(train):
        raise AttributeError("a training script must define train(configuration, checkpoint_dir)")
    loaded: Train = train
    return loaded


def takes_first_epoch(train: Train) -> bool:
    """Return whether `train` has the optional third parameter, the first epoch to yield.

    Args:
        train: A script's `train(configuration, checkpoint_dir)` or `train(configuration, checkpoint_dir, first_epoch)`.
    """
    return len(inspect.signature(train).parameters) == 3


class ScriptRun:
    """A script's generator in training.

    Args:
        train: The script's `train`.
        job: The job to train.

    Raises:
        TypeError: If `train` is not a generator. Iterating raises it if a yielded value is not a number.
    """

    def __init__(self, train: Train, job: StartJob) -> None:
        arguments = (dict(job.configuration), Path(job.checkpoint_dir), job.first_epoch)
        self._values = train(*arguments[: 3 if takes_first_epoch(train) else 2])
        if not hasattr(self._values, "__next__"):
            raise TypeError(f"train must be a generator that yields a number after each epoch, but returned {self._values!r}")

    def __iter__(self) -> Iterator[float]:
        return map(_number, self._values)

    def close(self) -> list[float]:
        """Close the generator; a generator is never ahead."""
        if hasattr(self._values, "close"):
            self._values.close()
        return []


class ValueLog:
    """A trial's metrics on disk, written as soon as each is known.

    If a worker, its node or the parent dies, the checkpoint may be one epoch ahead of what the parent received. The trial's
    next job sends that epoch from here and trains the one after it.

    Args:
        path: The file; one JSON array `[epoch, value]` a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        if complete != text:  # a kill cut off the last line
            path.write_text(complete, encoding="utf-8")
        self._values = dict(json.loads(line) for line in complete.splitlines())

    def get(self, epoch: int) -> float | None:
        """Return the metric after an epoch; None if the log has none."""
        return self._values.get(epoch)

    def add(self, epoch: int, value: float) -> None:
        """Append the metric after an epoch.

        Args:
            epoch: The epoch, 1-based.
            value: The metric after it; NaN and infinities are written as Python's json reads them.
        """
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([epoch, value]) + "\n")


def one_line(error: BaseException) -> str:
    r"""Return an exception's name and message on one line, as they end a traceback.

    Args:
        error: What a training program, or its import, raised.

    Examples:
        >>> one_line(RuntimeError("two\nlines"))
        'RuntimeError: two lines'
    """
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _serve_job(start: StartRun, parent: Parent) -> None:
    """Receive one job and train it until the parent stops it, or the program ends or fails."""
    job: StartJob = parent.receive()
    parent.is_training = True
    try:
        with _output_to(Path(job.log)):
            try:
                _train(start, job, parent)
            except CommandFailed as error:
                parent.send(Failed(str(error), last_lines(Path(job.log)), killed=error.killed))
            except (Exception, SystemExit) as error:  # sys.exit in a script fails the trial, not the worker
                if isinstance(error, ParentGone):
                    raise
                trace = traceback.format_exc()
                print(trace, file=sys.stderr)
                parent.send(Failed(one_line(error), trace))
            else:
                parent.send(Ended())
    finally:
        parent.is_training, parent.process_group = False, None


def _train(start: StartRun, job: StartJob, parent: Parent) -> None:
    log, epoch = ValueLog(Path(job.value_log)), job.first_epoch
    # First the epochs that were trained but never reached the parent.
    while (known := log.get(epoch)) is not None:
        if not parent.wants_next_epoch(known):
            return
        epoch += 1
    began = time.monotonic()  # loading the checkpoint counts towards the first epoch's time
    run = start(replace(job, first_epoch=epoch))
    epochs = count(epoch)
    try:
        for value in run:
            log.add(next(epochs), value)  # before the parent has it: the checkpoint of this epoch exists already
            if not parent.wants_next_epoch(value, time.monotonic() - began):
                break
            began = time.monotonic()
    finally:
        # A command trains on while the scheduler decides, so it may have finished epochs that nobody asked for.
        for value in run.close():
            log.add(next(epochs), value)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append what this process and its children write to a file."""
    # By file descriptor: sys.stdout alone would miss what child processes and C libraries write.
    before = [(number, os.dup(number)) for number in (1, 2)]
    with path.open("ab") as file:
        for number, _ in before:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for number, copy in before:
            os.dup2(copy, number)
            os.close(copy)


def _number(value: object) -> float:
    # __float__ is looked up on the type so that a string, which float() would accept, is refused.
    if not isinstance(value, bool) and hasattr(type(value), "__float__"):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(f"train must yield a number after each epoch, but yielded {str(value)[:80]!r} ({type(value).__name__})")


if __name__ == "__main__":
    main(*sys.argv[1:])
