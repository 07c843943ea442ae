"""What executors with workers of their own have in common: who trains what, and what is tried again."""

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
from curvestop.hyperband.executors.train_command import Program, as_program
from curvestop.hyperband.executors.worker_process import Launch, Message


@dataclass
class _Task:
    """A job that is not over. state: what it waits for. next_epoch: the first that was not handed in. losses: since then."""

    job: Job
    next_epoch: int
    state: Literal["training", "measured", "stopping"] = "training"
    worker: int | None = None
    losses: int = 0


class WorkerPoolExecutor(ABC):
    """An executor of n_workers workers, numbered from 0; a context manager.

    program: a `Script`, the path of one, or a `Command`. Where it runs it finds this process's current folder.
    folder: keeps `checkpoints/TRIAL/`, `values/TRIAL` (its metrics), the output in `logs/TRIAL.log` and `logs/worker-N.log`,
    and failed trials' tracebacks in `failures/`.
    hang_limit_s: > 0; a worker that takes longer for an epoch is killed, and its trial fails; None has no limit.
    retries: >= 0; how often in a row, without a new epoch, a trial whose worker was killed (SIGKILL or SIGTERM, as for want
    of memory) or lost with its node is tried again from its checkpoint. All other ends are the program's own and fail it.
    Entering raises ScriptError when the program is not usable. A worker that dies is replaced.
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
        self._tasks: dict[str, _Task] = {}
        self._trials: dict[int, str] = {}  # of the workers that have one
        self._again: deque[_Task] = deque()  # lost, and waiting for any idle worker
        self._over_already: list[JobOver] = []  # to be told by the next wait

    def __enter__(self) -> Self:
        for name in ("checkpoints", "values", "logs", "failures"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # The executor's verbs.

    @property
    def n_idle(self) -> int:
        return len(self._idle)

    def start(self, job: Job) -> None:
        if not self._idle:
            raise ValueError(f"a job needs an idle worker, but all {self.n_workers} are busy")
        self._checkpoint_dir(job.trial).mkdir(exist_ok=True)
        self._tasks[job.trial] = _Task(job, job.first_epoch)
        self._begin(self._tasks[job.trial])

    def wait(self) -> tuple[Measured | JobOver, ...]:
        if self._over_already:
            told, self._over_already = tuple(self._over_already), []
            return told
        events = [self._heard(worker, message) for worker, message in self._messages()]
        return tuple(event for event in events if event is not None)

    def train_next_epoch(self, trial: str) -> None:
        task = self._task(trial)
        task.state = "training"
        if task.worker is None:
            self._try_again(task)
        else:
            self._tell(task.worker, "go")

    def stop(self, trial: str) -> None:
        task = self._task(trial)
        task.state = "stopping"
        if task.worker is None:
            self._over_already.append(self._over(task))
        else:
            self._tell(task.worker, "stop")

    def delete_checkpoint(self, trial: str) -> None:
        shutil.rmtree(self._checkpoint_dir(trial), ignore_errors=True)
        self._values(trial).unlink(missing_ok=True)

    @abstractmethod
    def close(self) -> None:
        """End all workers; epochs under way are lost, checkpoints stay."""

    # What a kind of worker has to say.

    @abstractmethod
    def _open(self) -> None:
        """Start the workers and wait until they are ready."""

    @abstractmethod
    def _tell(self, worker: int, message: object) -> None:
        """Send a worker a job or an answer."""

    @abstractmethod
    def _messages(self) -> list[tuple[int, Message]]:
        """Block until there may be messages, and return them by worker."""

    # Keeping the books.

    def _launch(self, worker: int, **environment: str) -> Launch:
        log = self.folder / "logs" / f"worker-{worker}.log"
        return Launch(self.program.as_json(), os.getcwd(), str(log), self.hang_limit_s, environment)

    def _heard(self, worker: int, message: Message) -> Measured | JobOver | None:
        match message["kind"]:
            case "refused":
                raise ScriptError(f"{self.program}: cannot be used: {message['reason']}")
            case "ready":
                self._free(worker)
                return None
            case "value":
                return self._measured(self._tasks[self._trials[worker]], message["value"], message["seconds"])
            case "died":
                if worker in self._idle:
                    self._idle.remove(worker)
                return self._lost(worker, message["reason"], try_again=message["from_outside"])
            case "killed":
                event = self._lost(worker, message["reason"], message["traceback"])
                self._free(worker)
                return event
            case _:
                task = self._tasks[self._trials.pop(worker)]
                self._free(worker)
                return self._over(task, message.get("reason"), message.get("traceback", ""))

    def _measured(self, task: _Task, value: float, seconds: float) -> Measured:
        task.state, task.losses = "measured", 0
        task.next_epoch += 1
        return Measured(task.job.trial, value, seconds)

    def _lost(self, worker: int, reason: str, details: str = "", *, try_again: bool = True) -> JobOver | None:
        """What trained was killed."""
        trial = self._trials.pop(worker, None)
        if trial is None:
            return None
        task = self._tasks[trial]
        task.worker = None
        task.losses += 1
        if task.state == "stopping":
            return self._over(task)
        if not try_again or task.losses > self.retries:
            return self._over(task, reason, details)
        if task.state == "training":
            self._try_again(task)
        return None

    def _try_again(self, task: _Task) -> None:
        self._again.append(task)
        if self._idle:
            self._begin(self._again.popleft())

    def _free(self, worker: int) -> None:
        self._idle.append(worker)
        if self._again:
            self._begin(self._again.popleft())

    def _begin(self, task: _Task) -> None:
        task.worker = self._idle.pop(0)
        trial = task.job.trial
        self._trials[task.worker] = trial
        message = {
            "trial": trial,
            "configuration": dict(task.job.configuration),
            "checkpoint_dir": str(self._checkpoint_dir(trial)),
            "first_epoch": task.next_epoch,
            "last_epoch": task.job.target_epoch,
            "values": str(self._values(trial)),
            "log": str(self.folder / "logs" / f"{trial}.log"),
        }
        self._tell(task.worker, message)

    def _over(self, task: _Task, failure: str | None = None, details: str = "") -> JobOver:
        trial = task.job.trial
        del self._tasks[trial]
        if failure is not None:
            (self.folder / "failures" / f"{trial}.txt").write_text(details or failure + "\n", encoding="utf-8")
        return JobOver(trial, failure, details)

    def _task(self, trial: str) -> _Task:
        if trial not in self._tasks:
            raise ValueError(f"trial must be one that is training, but got {trial!r}")
        return self._tasks[trial]

    def _checkpoint_dir(self, trial: str) -> Path:
        return self.folder / "checkpoints" / trial

    def _values(self, trial: str) -> Path:
        return self.folder / "values" / trial
