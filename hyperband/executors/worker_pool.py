"""The base class of executors that own their workers: which worker trains which trial, retries, checkpoint folders."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from curvestop.hyperband.executors.base import Job, JobOver, Measured, ScriptError
from curvestop.hyperband.executors.command import last_lines
from curvestop.hyperband.executors.messages import (
    Died,
    Ended,
    Failed,
    Message,
    NextEpoch,
    Ready,
    Request,
    StartJob,
    StopJob,
    Unusable,
    Value,
)
from curvestop.hyperband.executors.train_command import Program, as_program
from curvestop.hyperband.executors.worker_process import Launch


@dataclass
class _Task:
    """A job that is not over.

    Attributes:
        job: The job.
        next_epoch: First epoch whose value has not arrived.
        state: "training", "measured" (waits for the scheduler) or "stopping".
        worker: Number of its worker; None while it waits for one.
        n_losses: How often in a row its worker was killed or lost since the last value.
    """

    job: Job
    next_epoch: int
    state: Literal["training", "measured", "stopping"] = "training"
    worker: int | None = None
    n_losses: int = 0


class WorkerPoolExecutor(ABC):
    """An executor of `n_workers` workers, numbered from 0; a context manager.

    A worker that dies is replaced. Subclasses start the workers and exchange messages with them.

    Args:
        program: A `Script`, the path of one, or a `Command`. It runs in this process's current directory.
        n_workers: Number of workers, >= 1.
        folder: Folder for `checkpoints/TRIAL/`, `values/TRIAL` (the trial's metrics), the output in `logs/TRIAL.log` and
            `logs/worker-N.log`, and failed trials' tracebacks in `failures/`.
        hang_limit_s: Seconds, > 0: a worker that takes longer for an epoch is killed, and its trial fails. None: no limit.
        retries: How often in a row, without a new epoch, a trial is retried from its checkpoint if its worker was killed
            (SIGKILL or SIGTERM, for example by the kernel short of memory) or lost with its node; >= 0. All other failures
            are the program's own and fail the trial.

    Raises:
        ValueError: If an argument is out of range.
        ScriptError: On entering the context or in `wait`, if the program cannot be used.
    """

    def __init__(
        self,
        program: Program | Path,
        n_workers: int,
        *,
        folder: Path,
        hang_limit_s: float | None = None,
        retries: int = 1,
    ) -> None:
        if n_workers < 1:
            raise ValueError(f"n_workers must be >= 1, but got {n_workers!r}")
        if hang_limit_s is not None and not hang_limit_s > 0:
            raise ValueError(f"hang_limit_s must be > 0, but got {hang_limit_s!r}")
        if retries < 0:
            raise ValueError(f"retries must be >= 0, but got {retries!r}")
        self.program, self.n_workers, self.folder = as_program(program), n_workers, folder.resolve()
        self.hang_limit_s, self.retries = hang_limit_s, retries
        self._idle: list[int] = []
        self._tasks: dict[str, _Task] = {}  # by trial
        self._trial_of: dict[int, str] = {}  # by worker, if it has one
        self._retry_queue: deque[_Task] = deque()  # lost their worker, and wait for any idle one
        self._pending_events: list[JobOver] = []  # returned by the next wait

    def __enter__(self) -> Self:
        for name in ("checkpoints", "values", "logs", "failures"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        try:
            self._start_workers()
        except BaseException:  # also Ctrl-C: no worker may outlive this process
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # The interface of an executor, see `Executor`.

    @property
    def n_idle(self) -> int:
        """Number of jobs that can be started now."""
        return len(self._idle)

    def start(self, job: Job) -> None:
        """Start a trial, or resume it from its checkpoint; see `Executor.start`."""
        if not self._idle:
            raise ValueError(f"a job needs an idle worker, but all {self.n_workers} are busy")
        self._checkpoint_dir(job.trial).mkdir(exist_ok=True)  # it exists if the trial resumes
        self._tasks[job.trial] = _Task(job, job.first_epoch)
        self._assign(self._tasks[job.trial])

    def wait(self) -> tuple[Measured | JobOver, ...]:
        """Block until something happened; see `Executor.wait`."""
        if self._pending_events:
            pending, self._pending_events = tuple(self._pending_events), []
            return pending
        events = [self._handle(worker, message) for worker, message in self._receive()]
        return tuple(event for event in events if event is not None)

    def train_next_epoch(self, trial: str) -> None:
        """Train one more epoch of a measured trial.

        Args:
            trial: Name of a measured trial. If its worker died since, it is retried on another.

        Raises:
            ValueError: If the trial has no job.
        """
        task = self._task(trial)
        task.state = "training"
        if task.worker is None:  # its worker died while the scheduler decided
            self._retry(task)
        else:
            self._send(task.worker, NextEpoch())

    def stop(self, trial: str) -> None:
        """End a measured trial's job and keep its checkpoint.

        Args:
            trial: Name of a measured trial. If its worker died since, the next `wait` returns its `JobOver`.

        Raises:
            ValueError: If the trial has no job.
        """
        task = self._task(trial)
        task.state = "stopping"
        if task.worker is None:  # its worker died while the scheduler decided: nothing is left to stop
            self._pending_events.append(self._end(task))
        else:
            self._send(task.worker, StopJob())

    def delete_checkpoint(self, trial: str) -> None:
        """Delete the checkpoint and the value log of a trial without a job.

        Args:
            trial: Name of the trial; what does not exist is not an error.
        """
        shutil.rmtree(self._checkpoint_dir(trial), ignore_errors=True)
        self._value_log(trial).unlink(missing_ok=True)

    @abstractmethod
    def close(self) -> None:
        """End all workers; epochs in training are lost, checkpoints stay."""

    # What a subclass implements.

    @abstractmethod
    def _start_workers(self) -> None:
        """Start the workers and wait until they are ready."""

    @abstractmethod
    def _send(self, worker: int, request: Request) -> None:
        """Send a request to a worker."""

    @abstractmethod
    def _receive(self) -> list[tuple[int, Message]]:
        """Block until there may be messages; return them with the number of their worker."""

    # Bookkeeping.

    def _launch(self, worker: int, **environment: str) -> Launch:
        log = self.folder / "logs" / f"worker-{worker}.log"
        return Launch(self.program.as_json(), os.getcwd(), str(log), self.hang_limit_s, environment)

    def _handle(self, worker: int, message: Message) -> Measured | JobOver | None:
        match message:
            case Unusable(reason):
                raise ScriptError(f"{self.program}: cannot be used: {reason}")
            case Ready():
                self._set_idle(worker)
            case Value(value, seconds):
                return self._measured(self._tasks[self._trial_of[worker]], value, seconds)
            case Died(reason, killed):
                if worker in self._idle:
                    self._idle.remove(worker)  # until its successor is ready
                return self._lost(worker, reason, retry=killed)
            case Failed(reason, details, killed=True):
                event = self._lost(worker, reason, details)  # before the worker is idle: it takes the retry queue's first
                self._set_idle(worker)
                return event
            case Failed(reason, details):
                return self._job_over(worker, reason, details)
            case Ended():
                return self._job_over(worker)
        return None

    def _job_over(self, worker: int, failure: str | None = None, details: str = "") -> JobOver:
        task = self._tasks[self._trial_of.pop(worker)]
        self._set_idle(worker)
        return self._end(task, failure, details)

    def _measured(self, task: _Task, value: float, seconds: float) -> Measured:
        task.state, task.n_losses = "measured", 0  # an epoch of progress makes retries available again
        task.next_epoch += 1
        return Measured(task.job.trial, value, seconds)

    def _lost(self, worker: int, reason: str, details: str = "", *, retry: bool = True) -> JobOver | None:
        """Retry or end the task of a worker that was killed, if it has one."""
        trial = self._trial_of.pop(worker, None)
        if trial is None:
            return None
        task = self._tasks[trial]
        task.worker = None
        task.n_losses += 1
        if task.state == "stopping":
            return self._end(task)  # it was to end anyway
        if not retry or task.n_losses > self.retries:
            return self._end(task, reason, details)
        if task.state == "training":
            self._retry(task)
        # A measured task is retried only if the scheduler decides to train it on.
        return None

    def _retry(self, task: _Task) -> None:
        self._retry_queue.append(task)
        if self._idle:
            self._assign(self._retry_queue.popleft())

    def _set_idle(self, worker: int) -> None:
        self._idle.append(worker)
        if self._retry_queue:
            self._assign(self._retry_queue.popleft())

    def _assign(self, task: _Task) -> None:
        """Send a task to the worker that has been idle for longest."""
        task.worker = self._idle.pop(0)
        trial = task.job.trial
        self._trial_of[task.worker] = trial
        request = StartJob(
            trial=trial,
            configuration=dict(task.job.configuration),
            checkpoint_dir=str(self._checkpoint_dir(trial)),
            first_epoch=task.next_epoch,
            last_epoch=task.job.target_epoch,
            value_log=str(self._value_log(trial)),
            log=str(self._log(trial)),
        )
        self._send(task.worker, request)

    def _end(self, task: _Task, failure: str | None = None, details: str = "") -> JobOver:
        trial = task.job.trial
        del self._tasks[trial]
        if failure is None and task.state == "training" and task.next_epoch <= task.job.target_epoch:
            # No error, but the trial cannot be ranked: what it printed may say why it ended.
            details = f"ended before epoch {task.next_epoch} of {task.job.target_epoch}; the last lines of its output:\n"
            details += last_lines(self._log(trial))
        if failure is not None or details:
            (self.folder / "failures" / f"{trial}.txt").write_text(details or f"{failure}\n", encoding="utf-8")
        return JobOver(trial, failure, details if failure else "")

    def _task(self, trial: str) -> _Task:
        if trial not in self._tasks:
            raise ValueError(f"trial must be one that is training, but got {trial!r}")
        return self._tasks[trial]

    def _checkpoint_dir(self, trial: str) -> Path:
        return self.folder / "checkpoints" / trial

    def _log(self, trial: str) -> Path:
        return self.folder / "logs" / f"{trial}.log"

    def _value_log(self, trial: str) -> Path:
        return self.folder / "values" / trial
