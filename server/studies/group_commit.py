"""BatchWriter: jobs are done in batches by another thread, so that one commit serves many callers.

Who brings a job finds a batch under way, or begins one. A batch is dealt in rounds, one job of each party at a time, and is
short while there are several parties, so a party that brings many jobs does not hold up the others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from curvestop.server.rpc.contention import ContentionDetector

Job = TypeVar("Job")

LARGEST_BATCH = 32
LARGEST_SHARED = 1
"""Of a party's jobs in a batch, while there are other parties."""


class BatchWriter(Generic[Job]):
    """do: does a batch of jobs; must not raise. Never called by two threads at once.

    workers: whose threads do it; after their shutdown the bringer's own does. party: whose job it is. contention: of the parties.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Job]], None],
        workers: Executor,
        *,
        party: Callable[[Job], Hashable] = lambda job: None,
        largest: int = LARGEST_BATCH,
        contention: ContentionDetector | None = None,
    ) -> None:
        self._do, self._workers, self._party, self._largest = do, workers, party, largest
        self._lock = threading.Lock()  # guards what follows
        self._waiting: dict[Hashable, deque[tuple[Job, Callable[[], None]]]] = {}
        self._contention = contention or ContentionDetector()
        self._at_work = False

    def submit(self, job: Job, then: Callable[[], None]) -> None:
        """then: called when the job was done, by the thread that did it."""
        party = self._party(job)
        with self._lock:
            self._waiting.setdefault(party, deque()).append((job, then))
            self._contention.seen(party)
            mine, self._at_work = not self._at_work, True
        if mine:
            try:
                self._workers.submit(self._work)
            except RuntimeError:  # they were shut down
                self._work()

    def take(self, job: Job) -> None:
        """Return when the job was done."""
        done = threading.Lock()
        done.acquire()
        self.submit(job, done.release)
        done.acquire()

    @property
    def n_waiting(self) -> int:
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                self._do([job for job, _ in batch])
            finally:
                for _, then in batch:
                    then()

    def _next_batch(self) -> list[tuple[Job, Callable[[], None]]]:
        with self._lock:
            batch: list[tuple[Job, Callable[[], None]]] = []
            n_rounds = LARGEST_SHARED if self._contention.is_contended else self._largest
            while self._waiting and n_rounds and len(batch) < self._largest:
                n_rounds -= 1
                for party, jobs in list(self._waiting.items()):
                    batch.append(jobs.popleft())
                    if not jobs:
                        del self._waiting[party]
            self._at_work = bool(batch)
            return batch
