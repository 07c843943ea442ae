"""Group commit: concurrent writes share one transaction, fairly by tenant.

Who submits a job finds a batch under way, which it waits for, or begins one. A batch takes one job of each key (tenant) in
turn and is short under contention, so a tenant that submits many jobs does not hold up the others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from curvestop.server.rpc.contention import ContentionDetector

Job = TypeVar("Job")

MAX_BATCH_JOBS = 32
MAX_JOBS_PER_KEY_CONTENDED = 1
"""Maximum number of jobs of one key in a batch while several keys submit."""


class BatchWriter(Generic[Job]):
    """Collects jobs while a batch is written, and writes them together as the next one.

    Args:
        write: Writes a batch of jobs; must not raise. It is never called by two threads at once.
        workers: Their threads call `write`. After their shutdown the submitting thread does.
        key: Says whose job it is; jobs of different keys take turns. Default: all jobs have one key.
        max_jobs: Maximum number of jobs in a batch, >= 1.
        contention: Knows whether several keys submit jobs; default: one of its own.

    Examples:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> batches = []
        >>> with ThreadPoolExecutor(1) as workers:
        ...     BatchWriter(batches.append, workers).submit_and_wait("a job")
        >>> batches
        [['a job']]
    """

    def __init__(
        self,
        write: Callable[[Sequence[Job]], None],
        workers: Executor,
        *,
        key: Callable[[Job], Hashable] = lambda job: None,
        max_jobs: int = MAX_BATCH_JOBS,
        contention: ContentionDetector | None = None,
    ) -> None:
        self._write, self._workers, self._key, self._max_jobs = write, workers, key, max_jobs
        self._lock = threading.Lock()  # guards the three below
        self._waiting: dict[Hashable, deque[tuple[Job, Callable[[], None]]]] = {}
        self._contention = contention or ContentionDetector()
        self._is_writing = False

    def submit(self, job: Job, on_done: Callable[[], None]) -> None:
        """Submit a job and return at once.

        Args:
            job: The job.
            on_done: Called when the job was written, by the thread that wrote it.
        """
        key = self._key(job)
        with self._lock:
            self._waiting.setdefault(key, deque()).append((job, on_done))
            self._contention.record_call(key)
            begins_batch, self._is_writing = not self._is_writing, True
        if begins_batch:
            try:
                self._workers.submit(self._write_batches)
            except RuntimeError:  # they were shut down
                self._write_batches()

    def submit_and_wait(self, job: Job) -> None:
        """Submit a job and return when it was written.

        Args:
            job: The job. Not in the event loop, which would stand still meanwhile.
        """
        written = threading.Lock()  # cheaper than an Event: this is the path of every call that writes
        written.acquire()
        self.submit(job, written.release)
        written.acquire()

    def _write_batches(self) -> None:
        # One thread goes on until nothing waits: what is submitted meanwhile is its next batch.
        while batch := self._next_batch():
            try:
                self._write([job for job, _ in batch])
            finally:
                for _, on_done in batch:
                    on_done()

    def _next_batch(self) -> list[tuple[Job, Callable[[], None]]]:
        with self._lock:
            batch: list[tuple[Job, Callable[[], None]]] = []
            n_rounds = MAX_JOBS_PER_KEY_CONTENDED if self._contention.is_contended else self._max_jobs
            # A round takes the oldest job of each key. A round is never cut short, so a batch may exceed max_jobs.
            while self._waiting and n_rounds and len(batch) < self._max_jobs:
                n_rounds -= 1
                for key, jobs in list(self._waiting.items()):
                    batch.append(jobs.popleft())
                    if not jobs:
                        del self._waiting[key]
            self._is_writing = bool(batch)
            return batch
