"""One run of a command: starts it for a job, reads its metrics one by one, and ends it with everything it has started.

This file uses the standard library only, because every worker imports it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from curvestop.hyperband.executors.messages import StartJob
from curvestop.hyperband.executors.metric_pattern import Found, MetricFinder, number_of
from curvestop.hyperband.executors.metric_socket import MetricSocket
from curvestop.hyperband.executors.train_command import PLACEHOLDER
from curvestop.proto.job_metrics import SOCKET_VARIABLE, JobMetric

READ_TIMEOUT_S = 1.0
"""How long `CommandRun.close` waits for the reader thread after the command has ended."""

EXTERNAL_SIGNALS = (9, signal.SIGTERM)  # 9 is SIGKILL, which Windows has no name for
"""A process that dies of one of these was killed by somebody else: the kernel short of memory, an operator, a node shutdown."""

Value = bool | int | float | str

LAST_LINES = 20
"""How many of a command's last lines are looked at to say why no metric was found."""


class Line(NamedTuple):
    """A line that a command printed.

    Attributes:
        text: The line, with its end.
        is_error: Whether it was printed on standard error.
    """

    text: str
    is_error: bool


Output = Line | JobMetric | ValueError | None
"""What a command sends: a line, a metric through the socket, the error of a datagram that has no metric, None at its end."""


class CommandFailed(Exception):
    """A command could not be started, or failed.

    Args:
        reason: The cause, on one line.
        killed: Somebody else killed the command, so that a retry may succeed.
    """

    def __init__(self, reason: str, *, killed: bool = False) -> None:
        super().__init__(reason)
        self.killed = killed


class CommandRun:
    """The running command of one job; iterate over it for its metrics.

    The command's output is copied to this process's. After the first metric that arrives through the socket, lines are no
    longer searched for metrics.

    Args:
        program: `Command.as_json()`.
        job: The job to train.
        finder: Finds the metrics in the output; it learns where they are. Default: a new one.

    Raises:
        CommandFailed: If the command cannot be started. Iterating raises it if the exit status is not 0, a metric is not a
            number, the metric of an epoch is missing, or no metric was found at all.
    """

    def __init__(self, program: Mapping[str, Any], job: StartJob, finder: MetricFinder | None = None) -> None:
        self._finder, self._grace_s = finder or MetricFinder(program["pattern"]), float(program["grace_s"])
        self._next_epoch, self._last_epoch = job.first_epoch, job.last_epoch
        self._n_epochs = job.last_epoch - job.first_epoch + 1
        self._output: queue.SimpleQueue[Output] = queue.SimpleQueue()
        self._values: deque[float] = deque()  # found, but not asked for yet
        self._held: list[list[tuple[Found, str]]] = [[] for _ in range(MetricFinder.N_RANKS)]  # by rank; may turn out to count
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._n_found, self._uses_socket, self._has_ended = 0, False, False
        self._socket = MetricSocket(self._output.put)
        try:
            environment = environment_of(job) | {SOCKET_VARIABLE: str(self._socket.path)}
            self._process = _start_process(filled_in(program["arguments"], job), environment)
        except CommandFailed:
            self._socket.close()
            raise
        # Threads read, so that the command never blocks on a full pipe while the scheduler decides.
        self._error_reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._error_reader.start()
        self._reader.start()

    @property
    def process_group(self) -> int:
        """Process group of the command and of everything it has started."""
        return self._process.pid  # process_group=0 makes the process lead a group of its own number

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        while not self._values and not self._has_ended:
            self._take(self._output.get())
        if self._values:
            return self._values.popleft()
        status = self._process.wait()
        if status:  # a metric that came before the failure has been returned already
            raise CommandFailed(f"the command {how_it_ended(status)}", killed=-status in EXTERNAL_SIGNALS)
        if not self._n_found:
            raise CommandFailed(self._finder.explain(list(self._last_lines)))
        raise StopIteration

    def close(self) -> list[float]:
        """End the command; after the job's last epoch it may first end by itself.

        Returns:
            The metrics that it sent but nobody asked for, in order of their epochs.
        """
        if self._next_epoch <= self._last_epoch or not self._ends_within_grace():
            self._signal(signal.SIGTERM)
            self._ends_within_grace()
        self._signal(signal.SIGKILL)  # also whatever the command has started
        self._process.wait()
        # The reader may outlive this timeout only if a process outside the group still has the output open.
        self._reader.join(READ_TIMEOUT_S)
        with contextlib.suppress(CommandFailed, queue.Empty):  # the job is over: its last output cannot fail it any more
            while not self._has_ended:
                self._take(self._output.get_nowait())
        return list(self._values)

    def _read_output(self) -> None:
        with io.TextIOWrapper(self._process.stdout, errors="replace") as output:  # type: ignore[type-var]
            self._copy(output, sys.stdout, is_error=False)
        # What is on standard error counts only with all of standard output. A process that was left behind may keep it open.
        self._process.wait()
        self._error_reader.join(READ_TIMEOUT_S)
        self._socket.close()  # delivers the metrics still in the socket, before the mark of the end
        self._output.put(None)

    def _read_errors(self) -> None:
        # newline="": the carriage returns of progress bars are kept, see `MetricFinder.find`.
        with io.TextIOWrapper(self._process.stderr, errors="replace", newline="") as output:  # type: ignore[type-var]
            self._copy(output, sys.stderr, is_error=True)

    def _copy(self, output: TextIO, to: TextIO, *, is_error: bool) -> None:
        for line in output:
            to.write(line)
            to.flush()
            self._output.put(Line(line, is_error))

    def _take(self, output: Output) -> None:
        """Add the metrics of an output to those that were found."""
        match output:
            case None:
                self._has_ended = True
                self._release()
            case ValueError():
                raise CommandFailed(str(output))
            case JobMetric(value=value, epoch=epoch):
                self._uses_socket = True  # a program that sends its metrics may also print them
                self._add(value, epoch, repr(output))
            case Line(text, is_error) if not self._uses_socket:
                self._last_lines.append(text)
                ranked = self._finder.find(text, is_error=is_error)
                if ranked is not None:
                    self._hold(*ranked, text)

    def _hold(self, rank: int, found: Found, line: str) -> None:
        if rank == self._finder.rank:
            self._add_found(found, line)
            return
        self._held[rank].append((found, line))
        # Every epoch of the job and one more is there: no better lines will come.
        if len(self._held[rank]) > self._n_epochs:
            self._release()

    def _release(self) -> None:
        """Count the best lines that were held back, if those that should count had no metric."""
        best = next((rank for rank, held in enumerate(self._held) if held), None)
        if self._n_found or best is None:
            return
        self._finder.rank = best
        for found, line in self._held[best]:
            self._add_found(found, line)

    def _add_found(self, found: Found, line: str) -> None:
        shown = f"the command printed {line.rstrip()[:200]!r}"
        self._add(_number(found.text, shown), _number(found.epoch, shown) if found.epoch else None, shown)

    def _add(self, value: float, epoch: float | None, shown: str) -> None:
        self._n_found += 1
        if epoch is not None and epoch < self._next_epoch:
            return  # a program that cannot resume repeats earlier epochs
        if epoch is not None and epoch > self._next_epoch:
            raise CommandFailed(f"the command sent the metric of epoch {epoch:g}, but epoch {self._next_epoch} is next: {shown}")
        self._next_epoch += 1
        self._values.append(value)

    def _ends_within_grace(self) -> bool:
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process_group, number)


def _start_process(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            arguments,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,  # a program that asks a question gets no answer instead of blocking the worker
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # a stop ends the command and what it has started, but not this process
        )
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the command cannot be started: {error}") from None


def filled_in(arguments: Sequence[str], job: StartJob) -> list[str]:
    """Replace the placeholders in a command's arguments.

    Args:
        arguments: Program and arguments.
        job: The job, whose parameters take precedence over its own fields.

    Raises:
        CommandFailed: If the job has no value for a placeholder.

    Examples:
        >>> job = StartJob("a", {"lr": 0.1, "nesterov": True}, "/ckpt", 1, 9, "values", "log")
        >>> filled_in(["--lr={lr}", "--nesterov={nesterov}", "--epochs={last_epoch}", "{}"], job)
        ['--lr=0.1', '--nesterov=true', '--epochs=9', '{}']
    """
    fields = {
        "trial": job.trial,
        "checkpoint_dir": job.checkpoint_dir,
        "first_epoch": job.first_epoch,
        "last_epoch": job.last_epoch,
    }
    names = {**fields, **job.configuration}  # a parameter named like a field of the job wins

    def value(match: re.Match[str]) -> str:
        if match[1] not in names:
            raise CommandFailed(f"the command has {{{match[1]}}}, but the job has only {', '.join(names)}")
        return as_text(names[match[1]])

    return [PLACEHOLDER.sub(value, argument) for argument in arguments]


def environment_of(job: StartJob) -> dict[str, str]:
    """Return the environment variables that describe a job to its command.

    Args:
        job: The job that the command is started for.

    Returns:
        The variables by name, as `Command` lists them; not the variables that the command inherits.
    """
    parameters = {f"CURVESTOP_PARAM_{re.sub(r'[^A-Za-z0-9_]', '_', k)}": as_text(v) for k, v in job.configuration.items()}
    return parameters | {
        "CURVESTOP_CONFIGURATION": json.dumps(job.configuration),
        "CURVESTOP_CHECKPOINT_DIR": job.checkpoint_dir,
        "CURVESTOP_TRIAL": job.trial,
        "CURVESTOP_FIRST_EPOCH": str(job.first_epoch),
        "CURVESTOP_LAST_EPOCH": str(job.last_epoch),
    }


def as_text(value: Value) -> str:
    """Format a parameter for a command line: numbers as Python prints them, booleans as `true` and `false`.

    Args:
        value: Value of a hyperparameter.
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def how_it_ended(returncode: int) -> str:
    """Describe the end of a process.

    Args:
        returncode: As `subprocess.Popen.returncode`; minus the number of the signal if a signal killed the process.

    Examples:
        >>> how_it_ended(3), how_it_ended(-9)
        ('exited with status 3', 'was killed by SIGKILL')
    """
    if returncode >= 0:  # Popen reports death by signal N as -N
        return f"exited with status {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


def last_lines(log: Path, n_lines: int = 40) -> str:
    """Return the last lines that a job printed.

    Args:
        log: File of its output; one that is missing counts as empty.
        n_lines: How many lines to return, at most.
    """
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-n_lines:]) + "\n"


def _number(text: str, shown: str) -> float:
    try:
        return number_of(text)
    except ValueError as error:
        raise CommandFailed(f"{error}; {shown}") from None
