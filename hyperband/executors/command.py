"""One run of a command: started for a job, its metric lines read one by one, ended with everything it has started."""

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

from curvestop.hyperband.executors.metric_socket import MetricSocket
from curvestop.hyperband.executors.train_command import PLACEHOLDER
from curvestop.proto.job_metrics import SOCKET_VARIABLE, JobMetric

READ_TIMEOUT_S = 1.0

EXTERNAL_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
"""Whoever dies by these was killed by somebody: a shortage of memory, an operator, a node that goes down."""

Value = bool | int | float | str

Line = str | JobMetric | ValueError
"""What a command tells: a line that it prints, a metric that it sends, or something else that it sends."""


class CommandFailed(Exception):
    """What went wrong, on one line. from_outside: somebody else killed it."""

    def __init__(self, why: str, *, from_outside: bool = False) -> None:
        super().__init__(why)
        self.from_outside = from_outside


class CommandRun:
    """An iterator of metrics. program: a `Command` as JSON. job: what the worker was sent (`worker.py`).

    Its output goes to this process's standard output as it comes; from the first metric that it sends (`MetricSocket`), no line
    is searched for one any more. Starting and iterating raise CommandFailed: it cannot be started, its exit status is not 0,
    a metric is no number, an epoch is missing.
    """

    def __init__(self, program: Mapping[str, Any], job: Mapping[str, Any]) -> None:
        self._pattern, self._grace_s = re.compile(program["pattern"]), float(program["grace_s"])
        self._next_epoch, self._last_epoch = int(job["first_epoch"]), int(job["last_epoch"])
        self._told: queue.SimpleQueue[Line] = queue.SimpleQueue()  # "" when there is no more
        self._sends = False
        self._socket = MetricSocket(self._told.put)
        try:
            environment = environment_of(job) | {SOCKET_VARIABLE: str(self._socket.path)}
            self._process = _started(filled_in(program["arguments"], job), environment)
        except CommandFailed:
            self._socket.close()
            raise
        self._reader = threading.Thread(target=self._read, daemon=True)  # so that it never waits for us to read
        self._reader.start()

    @property
    def group(self) -> int:
        """Its process group, which can be ended from outside."""
        return self._process.pid

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        while told := self._told.get():
            value = self._metric(told)
            if value is not None:
                return value
        status = self._process.wait()
        if status:
            raise CommandFailed(f"the command {how_it_ended(status)}", from_outside=-status in EXTERNAL_SIGNALS)
        raise StopIteration

    def close(self) -> list[float]:
        """End it; returns the metrics that it had told ahead. After the job's last epoch it may first end by itself."""
        if self._next_epoch <= self._last_epoch or not self._ends_within_grace():
            self._signal(signal.SIGTERM)
            self._ends_within_grace()
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join(READ_TIMEOUT_S)  # longer only if something outside its group still has its output open
        ahead = []
        with contextlib.suppress(CommandFailed, queue.Empty):  # the job is over: what it printed last cannot fail it
            while told := self._told.get_nowait():
                value = self._metric(told)
                if value is not None:
                    ahead.append(value)
        return ahead

    def _read(self) -> None:
        with self._process.stdout as output:  # type: ignore[union-attr]
            for line in output:
                sys.stdout.write(line)
                sys.stdout.flush()
                self._told.put(line)
        self._socket.close()
        self._told.put("")

    def _metric(self, told: Line) -> float | None:
        """The metric of the next epoch; None when there is none in it, or that of an earlier epoch."""
        if isinstance(told, ValueError):
            raise CommandFailed(str(told))
        if isinstance(told, JobMetric):
            self._sends = True
            return self._of_next_epoch(told.value, told.epoch, told)
        found = None if self._sends else self._pattern.search(told)
        if found is None:
            return None
        groups = found.groupdict()
        text, epoch = groups["value"] if "value" in groups else found[1], groups.get("epoch")
        return self._of_next_epoch(_number(text, told), _number(epoch, told) if epoch else None, told)

    def _of_next_epoch(self, value: float, epoch: float | None, told: Line) -> float | None:
        if epoch is not None and epoch < self._next_epoch:
            return None
        if epoch is not None and epoch > self._next_epoch:
            raise CommandFailed(f"the command's metric is of epoch {epoch:g}, but {self._next_epoch} is the next: {told!r}")
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
            os.killpg(self.group, number)


def _started(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            arguments,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,  # a stop ends it and what it has started, not this process
        )
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the command cannot be started: {error}") from None


def filled_in(arguments: Sequence[str], job: Mapping[str, Any]) -> list[str]:
    """The arguments with values for placeholders. Raises CommandFailed for a placeholder that has none."""
    names = {**{name: job[name] for name in ("trial", "checkpoint_dir", "first_epoch", "last_epoch")}, **job["configuration"]}

    def value(match: re.Match[str]) -> str:
        if match[1] not in names:
            raise CommandFailed(f"the command has {{{match[1]}}}, but the job has only {', '.join(names)}")
        return as_text(names[match[1]])

    return [PLACEHOLDER.sub(value, argument) for argument in arguments]


def environment_of(job: Mapping[str, Any]) -> dict[str, str]:
    """A job as environment variables."""
    parameters = {f"CURVESTOP_PARAM_{re.sub(r'[^A-Za-z0-9_]', '_', k)}": as_text(v) for k, v in job["configuration"].items()}
    return parameters | {
        "CURVESTOP_CONFIGURATION": json.dumps(job["configuration"]),
        "CURVESTOP_CHECKPOINT_DIR": job["checkpoint_dir"],
        "CURVESTOP_TRIAL": job["trial"],
        "CURVESTOP_FIRST_EPOCH": str(job["first_epoch"]),
        "CURVESTOP_LAST_EPOCH": str(job["last_epoch"]),
    }


def as_text(value: Value) -> str:
    """As on a command line: numbers as Python writes them, `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def how_it_ended(returncode: int) -> str:
    if returncode >= 0:
        return f"exited with status {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


def _number(text: str, line: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandFailed(f"the metric of an epoch must be a number, but the command printed {line.rstrip()!r}") from None
