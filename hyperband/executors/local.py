"""The executor of worker processes on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

from curvestop.hyperband.executors.gpus import visible_gpus
from curvestop.hyperband.executors.messages import Message, Request
from curvestop.hyperband.executors.train_command import Program
from curvestop.hyperband.executors.worker_pool import WorkerPoolExecutor
from curvestop.hyperband.executors.worker_process import WorkerProcess

_log = logging.getLogger(__name__)


class LocalExecutor(WorkerPoolExecutor):
    """Worker processes on this machine that live as long as the context.

    Each worker uses one thread for linear algebra, unless the environment sets OMP_NUM_THREADS and its like.

    Args:
        program: A `Script`, the path of one, or a `Command`.
        n_workers: Number of trials that train at the same time, >= 1.
        folder: Folder of checkpoints, logs and failures; see `WorkerPoolExecutor`.
        gpus: Names of GPUs in the form CUDA_VISIBLE_DEVICES takes. Each worker sees one; more workers than GPUs share them in
            turn. Empty: the workers' environment is not changed. Default: those of CUDA_VISIBLE_DEVICES, or else all that
            nvidia-smi reports.
        hang_limit_s: Seconds an epoch may take before its worker is killed and its trial fails. Default: no limit.
        retries: How often in a row a killed trial is retried from its checkpoint, >= 0.

    Raises:
        ValueError: If an argument is out of range.
        ScriptError: On entering the context, if the program cannot be used.

    Examples:
        >>> import tempfile
        >>> from curvestop.hyperband.executors.base import Job
        >>> folder = tempfile.TemporaryDirectory()
        >>> script = Path(folder.name) / "train.py"
        >>> _ = script.write_text("def train(configuration, checkpoint_dir): yield configuration['x']")
        >>> with LocalExecutor(script, 1, folder=Path(folder.name), gpus=()) as executor:
        ...     executor.start(Job("a", {"x": 0.5}, first_epoch=1, target_epoch=1))
        ...     while not (events := executor.wait()):
        ...         pass
        >>> events[0].trial, events[0].value
        ('a', 0.5)
        >>> folder.cleanup()
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
        self.gpus = gpus  # None: looked up when the workers start, on the machine as it is then
        self._workers: list[WorkerProcess] = []

    def _start_workers(self) -> None:
        gpus = visible_gpus() if self.gpus is None else tuple(self.gpus)
        if 0 < len(gpus) < self.n_workers:
            _log.warning("%d workers share %d GPUs", self.n_workers, len(gpus))
        for number in range(self.n_workers):
            environment = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
            self._workers.append(WorkerProcess(self._launch(number, **environment)))
        # All start side by side; the first wait that returns them all ready ends the loop, a broken program raises.
        while len(self._idle) < self.n_workers:
            self.wait()

    def close(self) -> None:
        """End all workers; epochs in training are lost, checkpoints stay."""
        for worker in self._workers:  # all at once, then wait: grace periods run side by side
            worker.request_exit()
        for worker in self._workers:
            worker.join()
        self._workers = []

    def _send(self, worker: int, request: Request) -> None:
        self._workers[worker].send(request)

    def _receive(self) -> list[tuple[int, Message]]:
        deadlines = [worker.deadline for worker in self._workers if worker.deadline is not None]
        # Wake up for the first worker that would count as hanging.
        limit_s = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        ready = set(wait([source for worker in self._workers for source in worker.wait_objects], limit_s))
        now = time.monotonic()
        # `receive` may return None (CommandStarted): that is nobody's event.
        received = [
            (number, worker.receive())
            for number, worker in enumerate(self._workers)
            if not ready.isdisjoint(worker.wait_objects) or (worker.deadline is not None and now >= worker.deadline)
        ]
        return [(number, message) for number, message in received if message is not None]
