"""Runs a scheduler's jobs: what an executor can do, worker processes on this machine, and the loop that joins the two."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from curvestop.hyperband.fhyperband import FHyperband
from curvestop.hyperband.trials import Event, Job, TrialEnded

CLOSE_TIMEOUT_S = 5.0
"""How long a worker may take to end before it is killed."""


class ScriptError(ValueError):
    """The training script cannot be used: it cannot be imported, or has no `train`."""


@dataclass(frozen=True)
class Measured:
    """A trial finished an epoch and waits for `go_on` or `stop`."""

    trial: str
    value: float


@dataclass(frozen=True)
class JobOver:
    """A trial's worker is free again. failure: None when `train` was stopped or returned. details: a traceback."""

    trial: str
    failure: str | None = None
    details: str = ""


class Executor(Protocol):
    """Trains jobs, several at a time, one epoch after the other; every trial keeps its checkpoint between its jobs."""

    @property
    def n_idle(self) -> int:
        """How many jobs can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Begin (or resume) a trial. Raises ValueError without an idle worker."""
        ...

    def wait(self) -> tuple[Measured | JobOver, ...]:
        """Block until something happened; empty when a worker became idle."""
        ...

    def go_on(self, trial: str) -> None:
        """Train a measured trial for another epoch."""
        ...

    def stop(self, trial: str) -> None:
        """End a measured trial's job; its `JobOver` follows. Its checkpoint stays."""
        ...

    def forget(self, trial: str) -> None:
        """Delete the checkpoint of a trial whose job is over."""
        ...


def drive(scheduler: FHyperband, executor: Executor, *, on_event: Callable[[Event], None] = lambda event: None) -> None:
    """Run a scheduler to its end. on_event is told what happens, in order. Checkpoints of trials not trained to R go."""
    while not scheduler.finished:
        while executor.n_idle and (job := scheduler.ask()) is not None:
            executor.start(job)
        _pass_on(scheduler, executor, on_event)
        if scheduler.finished:
            return
        for happened in executor.wait():
            if isinstance(happened, Measured):
                stop = scheduler.report(happened.trial, happened.value).stop
                (executor.stop if stop else executor.go_on)(happened.trial)
            else:
                scheduler.tell(happened.trial, failure=happened.failure)
            _pass_on(scheduler, executor, on_event)


def _pass_on(scheduler: FHyperband, executor: Executor, on_event: Callable[[Event], None]) -> None:
    for event in scheduler.take_events():
        if isinstance(event, TrialEnded) and event.record.state != "finished":
            executor.forget(event.record.trial)
        on_event(event)


@dataclass
class _Worker:
    """A process and the driver's end of the sockets to it."""

    process: subprocess.Popen[bytes]
    connection: Connection
    death: tuple[int, ...]  # descriptors that are ready when the process has ended, even if children keep its socket open
    state: Literal["starting", "idle", "busy"] = "starting"
    trial: str = ""

    @property
    def sources(self) -> tuple[Connection | int, ...]:
        return (self.connection, *self.death)

    def send(self, message: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died: the next wait says so
            self.connection.send_bytes(json.dumps(message).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the process has ended."""
        try:
            message: dict[str, Any] = json.loads(self.connection.recv_bytes())
            return message
        except (EOFError, ConnectionResetError):
            return None

    def let_go(self) -> None:
        """Ask the process to end: an idle one does when its socket closes."""
        self.connection.close()
        if self.state != "idle":
            self._kill_group(signal.SIGTERM)

    def join(self) -> None:
        try:
            self.process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill_group(signal.SIGKILL)
            self.process.wait()
        for descriptor in self.death:
            os.close(descriptor)
        self.death = ()

    def _kill_group(self, number: signal.Signals) -> None:
        """The worker and what it has started: it leads its own group until it is waited for."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class LocalExecutor:
    """Worker processes on this machine that live for the whole run; a context manager.

    script: defines train(configuration: dict, checkpoint_dir: Path) -> Iterator[float], a generator that yields the metric
    after each epoch and resumes from what it left in checkpoint_dir; each worker imports it once.
    folder: keeps `checkpoints/TRIAL/`, the workers' output in `logs/` and failed trials' tracebacks in `failures/`.
    Each worker has one thread for linear algebra, unless the environment sets OMP_NUM_THREADS and its like.
    Entering raises ScriptError when the script is not usable. A worker that is killed fails its trial and is replaced.
    """

    def __init__(self, script: Path, n_workers: int, *, folder: Path) -> None:
        if n_workers < 1:
            raise ValueError(f"n_workers must be >= 1, but got {n_workers!r}")
        self.script, self.n_workers, self.folder = script.resolve(), n_workers, folder.resolve()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        for name in ("checkpoints", "logs", "failures"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        try:
            for index in range(self.n_workers):
                self._workers.append(self._spawn(index))
            while any(worker.state == "starting" for worker in self._workers):
                self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def n_idle(self) -> int:
        return sum(worker.state == "idle" for worker in self._workers)

    def start(self, job: Job) -> None:
        worker = next((w for w in self._workers if w.state == "idle"), None)
        if worker is None:
            raise ValueError(f"a job needs an idle worker, but all {self.n_workers} are busy")
        worker.state, worker.trial = "busy", job.trial
        checkpoint_dir = self._checkpoint_dir(job.trial)
        checkpoint_dir.mkdir(exist_ok=True)
        worker.send({"train": dict(job.configuration), "checkpoint_dir": str(checkpoint_dir)})

    def wait(self) -> tuple[Measured | JobOver, ...]:
        ready = set(wait([source for worker in self._workers for source in worker.sources]))
        happened = []
        for index, worker in enumerate(self._workers):
            if not ready.isdisjoint(worker.sources):
                happened.append(self._hear(index, worker))
        return tuple(event for event in happened if event is not None)

    def go_on(self, trial: str) -> None:
        self._worker_of(trial).send("go")

    def stop(self, trial: str) -> None:
        self._worker_of(trial).send("stop")

    def forget(self, trial: str) -> None:
        shutil.rmtree(self._checkpoint_dir(trial), ignore_errors=True)

    def close(self) -> None:
        """End all workers; epochs under way are lost, checkpoints stay."""
        for worker in self._workers:
            worker.let_go()
        for worker in self._workers:
            worker.join()
        self._workers = []

    def _spawn(self, index: int) -> _Worker:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-uP", "-m", "curvestop.hyperband.worker", str(self.script), str(theirs.fileno())]
        with theirs, (self.folder / "logs" / f"worker-{index}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=_one_thread(os.environ),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the driver only
            )
        return _Worker(process, Connection(ours.detach()), _death_of(process.pid))

    def _hear(self, index: int, worker: _Worker) -> Measured | JobOver | None:
        message = worker.receive() if worker.connection.poll() else None
        if message is None:
            return self._replace(index, worker)
        match message["kind"]:
            case "ready":
                worker.state = "idle"
                return None
            case "refused":
                raise ScriptError(f"{self.script}: cannot be used: {message['reason']}")
            case "value":
                return Measured(worker.trial, message["value"])
            case _:
                worker.state = "idle"
                return self._over(worker.trial, message.get("reason"), message.get("traceback", ""))

    def _replace(self, index: int, worker: _Worker) -> JobOver | None:
        state = worker.state
        worker.state = "busy"  # whatever is left of its group is killed
        worker.let_go()
        worker.join()
        end = _how_it_ended(worker.process.returncode)
        if state == "starting":
            raise ScriptError(f"{self.script}: cannot be used: the worker {end} while it was imported")
        self._workers[index] = self._spawn(index)
        return self._over(worker.trial, f"the worker {end}") if state == "busy" else None

    def _over(self, trial: str, failure: str | None, details: str = "") -> JobOver:
        if failure is not None:
            (self.folder / "failures" / f"{trial}.txt").write_text(details or failure + "\n", encoding="utf-8")
        return JobOver(trial, failure, details)

    def _worker_of(self, trial: str) -> _Worker:
        for worker in self._workers:
            if worker.state == "busy" and worker.trial == trial:
                return worker
        raise ValueError(f"trial must be one that is training, but got {trial!r}")

    def _checkpoint_dir(self, trial: str) -> Path:
        return self.folder / "checkpoints" / trial


def _one_thread(environment: Mapping[str, str]) -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environment}


def _death_of(pid: int) -> tuple[int, ...]:
    return (os.pidfd_open(pid),) if hasattr(os, "pidfd_open") else ()


def _how_it_ended(returncode: int) -> str:
    if returncode >= 0:
        return f"exited with status {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"
