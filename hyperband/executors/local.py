"""Runs a scheduler's jobs: worker processes on this machine, and the loop that joins the two."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

from curvestop.hyperband.executors.base import Executor, JobOver, Measured, ScriptError
from curvestop.hyperband.executors.gpus import visible_gpus
from curvestop.hyperband.executors.train_command import Program
from curvestop.hyperband.executors.worker_pool import WorkerPoolExecutor
from curvestop.hyperband.executors.worker_process import Message, WorkerProcess

__all__ = ["Executor", "JobOver", "LocalExecutor", "Measured", "ScriptError"]

_log = logging.getLogger(__name__)


class LocalExecutor(WorkerPoolExecutor):
    """Worker processes on this machine that live for the whole run; a context manager.

    program, n_workers, folder, hang_limit_s, retries: as of `WorkerPoolExecutor`.
    gpus: names as CUDA_VISIBLE_DEVICES takes them; None asks that variable, else nvidia-smi. Each worker sees one GPU; more
    workers than GPUs share them in turn. Without any, the environment stays as it is.
    Each worker has one thread for linear algebra, unless the environment sets OMP_NUM_THREADS and its like.
    """

    def __init__(
        self,
        program: Program | Path,
        n_workers: int,
        *,
        folder: Path,
        gpus: Sequence[str] | None = None,
        hang_limit_s: float | None = None,
        retries: int = 1,
    ) -> None:
        super().__init__(program, n_workers, folder=folder, hang_limit_s=hang_limit_s, retries=retries)
        self.gpus = gpus
        self._seats: list[WorkerProcess] = []

    def _open(self) -> None:
        gpus = visible_gpus() if self.gpus is None else tuple(self.gpus)
        if 0 < len(gpus) < self.n_workers:
            _log.warning("%d workers share %d GPUs", self.n_workers, len(gpus))
        for worker in range(self.n_workers):
            environment = {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {}
            self._seats.append(WorkerProcess(self._launch(worker, **environment)))
        while len(self._idle) < self.n_workers:
            self.wait()

    def close(self) -> None:
        for seat in self._seats:
            seat.request_exit()
        for seat in self._seats:
            seat.join()
        self._seats = []

    def _tell(self, worker: int, message: object) -> None:
        self._seats[worker].tell(message)

    def _messages(self) -> list[tuple[int, Message]]:
        deadlines = [seat.deadline for seat in self._seats if seat.deadline is not None]
        limit_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        ready = set(wait([source for seat in self._seats for source in seat.sources], limit_s))
        now = time.monotonic()
        heard = [
            (worker, seat.hear())
            for worker, seat in enumerate(self._seats)
            if not ready.isdisjoint(seat.sources) or (seat.deadline is not None and now >= seat.deadline)
        ]
        return [(worker, message) for worker, message in heard if message is not None]
