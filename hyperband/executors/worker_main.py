"""A worker process: loads the program once and trains whatever its driver sends, one epoch at a time.

Only the standard library is imported here, so that a worker starts as fast as the script's own imports.
Messages are JSON objects over one pair of sockets. From the driver: {"trial", "configuration", "checkpoint_dir", "first_epoch",
"last_epoch", "values" and "log" (files)}, then "go" or "stop" after every value. To the driver:
{"kind": "ready" | "refused" | "group" | "value" | "ended" | "failed" | "killed", ...}.
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
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from curvestop.hyperband.executors.command import CommandFailed, CommandRun
from curvestop.hyperband.executors.train_command import missing_program

Train = Callable[..., Iterator[float]]
Job = Mapping[str, Any]

CLOSE_S = 2.0
"""How long a job may take to end when its driver is gone, beyond a command's own grace."""


class Run(Protocol):
    """One job in training: an iterator of metrics."""

    def __iter__(self) -> Iterator[float]: ...

    def close(self) -> list[float]:
        """End it; returns metrics that are known already of epochs that were not asked for."""
        ...


class DriverGone(Exception):
    """The driver closed its end, or is gone."""


class Terminated(BaseException):
    """SIGTERM."""


class Driver:
    """The worker's end of the sockets. A driver that is gone takes the job with it: another may resume the trial at once."""

    def __init__(self, connection: Connection, grace_s: float) -> None:
        self._connection, self._grace_s = connection, grace_s
        self.group: int | None = None  # of the command that runs
        self.busy = False
        threading.Thread(target=self._watch, daemon=True).start()

    def send(self, **message: object) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except (BrokenPipeError, ConnectionResetError):
            raise DriverGone from None

    def receive(self) -> Any:
        try:
            return json.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            raise DriverGone from None

    def wants_more(self, value: float, seconds: float = 0.0) -> bool:
        """Hand in the metric of an epoch that took so long and wait for the answer."""
        self.send(kind="value", value=value, seconds=seconds)
        return bool(self.receive() == "go")

    def _watch(self) -> None:
        hang_up = select.poll()
        hang_up.register(self._connection.fileno(), 0)  # 0: only that the other end is closed
        hang_up.poll()
        if self.busy:
            os.killpg(0, signal.SIGTERM)
            time.sleep(self._grace_s + CLOSE_S)
            if self.group is not None:
                os.killpg(self.group, signal.SIGKILL)
            os.killpg(0, signal.SIGKILL)


def main(program: str, descriptor: str) -> None:
    os.set_inheritable(int(descriptor), False)
    spec = json.loads(program)
    driver = Driver(Connection(int(descriptor)), spec.get("grace_s", 0.0))
    with contextlib.suppress(DriverGone, Terminated):
        try:
            start = LOADERS[spec["kind"]](spec, driver)
        except Exception as error:
            traceback.print_exc()
            driver.send(kind="refused", reason=one_line(error))
            return
        driver.send(kind="ready")
        while True:
            _serve(start, driver)


def load_script(spec: Mapping[str, Any], driver: Driver) -> Callable[[Job], Run]:
    return partial(ScriptRun, load_train(Path(spec["path"])))


def load_command(spec: Mapping[str, Any], driver: Driver) -> Callable[[Job], Run]:
    problem = missing_program(spec["arguments"])
    if problem is not None:
        raise FileNotFoundError(problem)

    def terminate(number: int, frame: object) -> None:
        raise Terminated  # on its way out the command is ended

    def start(job: Job) -> Run:
        run = CommandRun(spec, job)
        driver.group = run.group
        driver.send(kind="group", group=run.group)
        return run

    signal.signal(signal.SIGTERM, terminate)
    return start


LOADERS: Mapping[str, Callable[[Mapping[str, Any], Driver], Callable[[Job], Run]]] = {
    "script": load_script,
    "command": load_command,
}


def load_train(script: Path) -> Train:
    """Import a script by its path, as if it were run from its folder; raises when it has no `train`."""
    sys.path.insert(0, str(script.resolve().parent))
    name = script.stem if script.stem not in sys.modules else f"_script_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    train = getattr(module, "train", None)
    if not callable(train):
        raise AttributeError("a training script must define train(configuration, checkpoint_dir)")
    found: Train = train
    return found


def takes_first_epoch(train: Train) -> bool:
    return len(inspect.signature(train).parameters) == 3


class ScriptRun:
    """A script's generator."""

    def __init__(self, train: Train, job: Job) -> None:
        arguments = (dict(job["configuration"]), Path(job["checkpoint_dir"]), int(job["first_epoch"]))
        self._values = train(*arguments[: 3 if takes_first_epoch(train) else 2])
        if not hasattr(self._values, "__next__"):
            raise TypeError(f"train must be a generator that yields a number after each epoch, but returned {self._values!r}")

    def __iter__(self) -> Iterator[float]:
        return map(_number, self._values)

    def close(self) -> list[float]:
        if hasattr(self._values, "close"):
            self._values.close()
        return []


class ValueLog:
    """A trial's metrics on disk, as soon as they are known.

    When a worker, its node or the driver dies, the checkpoint may be an epoch further than what the driver heard; the next
    job of the trial hands that epoch in from here, and trains on behind it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the last line was cut off
            path.write_text(whole, encoding="utf-8")
        self._values = dict(json.loads(line) for line in whole.splitlines())

    def get(self, epoch: int) -> float | None:
        return self._values.get(epoch)

    def add(self, epoch: int, value: float) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([epoch, value]) + "\n")


def one_line(error: BaseException) -> str:
    """The exception's name and message, as they end a traceback."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _serve(start: Callable[[Job], Run], driver: Driver) -> None:
    """One job: values go out one by one until the driver says stop, the program ends or fails."""
    job = driver.receive()
    driver.busy = True
    try:
        with _output_to(Path(job["log"])):
            try:
                _train(start, job, driver)
            except CommandFailed as error:
                kind = "killed" if error.from_outside else "failed"
                driver.send(kind=kind, reason=str(error), traceback=_tail(Path(job["log"])))
            except (Exception, SystemExit) as error:
                if isinstance(error, DriverGone):
                    raise
                trace = traceback.format_exc()
                print(trace, file=sys.stderr)
                driver.send(kind="failed", reason=one_line(error), traceback=trace)
            else:
                driver.send(kind="ended")
    finally:
        driver.busy, driver.group = False, None


def _train(start: Callable[[Job], Run], job: Job, driver: Driver) -> None:
    log, epoch = ValueLog(Path(job["values"])), int(job["first_epoch"])
    while (known := log.get(epoch)) is not None:
        if not driver.wants_more(known):
            return
        epoch += 1
    began = time.monotonic()
    run = start({**job, "first_epoch": epoch})
    epochs = count(epoch)
    try:
        for value in run:
            log.add(next(epochs), value)
            if not driver.wants_more(value, time.monotonic() - began):
                break
            began = time.monotonic()
    finally:
        for ahead in run.close():
            log.add(next(epochs), ahead)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """What this process and its children write goes to the end of a file."""
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


def _tail(log: Path, n_lines: int = 40) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-n_lines:]) + "\n"


def _number(value: object) -> float:
    if not isinstance(value, bool) and hasattr(type(value), "__float__"):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(f"train must yield a number after each epoch, but yielded {str(value)[:80]!r} ({type(value).__name__})")


if __name__ == "__main__":
    main(*sys.argv[1:])
