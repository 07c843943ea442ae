"""One run of a command: starts it for a job, reads its metrics one by one, and ends it with everything it has started.

This file uses the standard library only, because every worker imports it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curvestop.hyperband.executors.messages import StartJob
from curvestop.hyperband.executors.metric_socket import MetricSocket
from curvestop.hyperband.executors.train_command import PLACEHOLDER
from curvestop.proto.job_metrics import SOCKET_VARIABLE, JobMetric

READ_TIMEOUT_S = 1.0
"""How long `CommandRun.close` waits for the reader thread after the command has ended."""

EXTERNAL_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
"""A process that dies of one of these was killed by somebody else: the kernel short of memory, an operator, a node shutdown."""

Value = bool | int | float | str

Output = str | JobMetric | ValueError
"""What a command sends: a printed line, a metric through the socket, or the error of a datagram that has no metric."""

END_OF_OUTPUT = ""
"""Marks the end of a command's output in the queue; a printed line has at least its newline."""


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

    The command's output is copied to this process's standard output. After the first metric that arrives through the socket,
    lines are no longer searched for metrics.

    Args:
        program: `Command.as_json()`.
        job: The job to train.

    Raises:
        CommandFailed: If the command cannot be started. Iterating raises it if the exit status is not 0, a metric is not a
            number, or the metric of an epoch is missing.
    """

    def __init__(self, program: Mapping[str, Any], job: StartJob) -> None:
        self._pattern, self._grace_s = re.compile(program["pattern"]), float(program["grace_s"])
        self._next_epoch, self._last_epoch = job.first_epoch, job.last_epoch
        self._output: queue.SimpleQueue[Output] = queue.SimpleQueue()
        self._uses_socket = False
        self._socket = MetricSocket(self._output.put)
        try:
            environment = environment_of(job) | {SOCKET_VARIABLE: str(self._socket.path)}
            self._process = _start_process(filled_in(program["arguments"], job), environment)
        except CommandFailed:
            self._socket.close()
            raise
        # A thread reads, so that the command never blocks on a full pipe while the scheduler decides.
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    @property
    def process_group(self) -> int:
        """Process group of the command and of everything it has started."""
        return self._process.pid  # process_group=0 makes the process lead a group of its own number

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        while output := self._output.get():  # END_OF_OUTPUT is the only false value
            value = self._metric_in(output)
            if value is not None:
                return value
        status = self._process.wait()
        if status:  # a metric that came before the failure has been returned already
            raise CommandFailed(f"the command {how_it_ended(status)}", killed=-status in EXTERNAL_SIGNALS)
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
        ahead = []
        with contextlib.suppress(CommandFailed, queue.Empty):  # the job is over: its last output cannot fail it any more
            while output := self._output.get_nowait():
                value = self._metric_in(output)
                if value is not None:
                    ahead.append(value)
        return ahead

    def _read_output(self) -> None:
        with self._process.stdout as output:  # type: ignore[union-attr]
            for line in output:
                sys.stdout.write(line)
                sys.stdout.flush()
                self._output.put(line)
        self._socket.close()  # delivers the metrics still in the socket, before the mark of the end
        self._output.put(END_OF_OUTPUT)

    def _metric_in(self, output: Output) -> float | None:
        """Return the metric of the next epoch; None if the output has none, or that of an earlier epoch."""
        if isinstance(output, ValueError):
            raise CommandFailed(str(output))
        if isinstance(output, JobMetric):
            self._uses_socket = True  # a program that sends its metrics may also print them
            return self._if_next(output.value, output.epoch, output)
        found = None if self._uses_socket else self._pattern.search(output)
        if found is None:
            return None
        groups = found.groupdict()
        text, epoch = groups["value"] if "value" in groups else found[1], groups.get("epoch")
        return self._if_next(_number(text, output), _number(epoch, output) if epoch else None, output)

    def _if_next(self, value: float, epoch: float | None, output: Output) -> float | None:
        if epoch is not None and epoch < self._next_epoch:
            return None  # a program that cannot resume repeats earlier epochs
        if epoch is not None and epoch > self._next_epoch:
            raise CommandFailed(
                f"the command sent the metric of epoch {epoch:g}, but epoch {self._next_epoch} is next: {output!r}"
            )
        self._next_epoch += 1
        return value

    def _ends_within_grace(self) -> bool:
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process_group, number)


def _start_process(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            arguments,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,  # a program that asks a question gets no answer instead of blocking the worker
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",  # output in another encoding must not fail the trial
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


def _number(text: str, line: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandFailed(f"the metric of an epoch must be a number, but the command printed {line.rstrip()!r}") from None
