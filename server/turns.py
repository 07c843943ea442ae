"""Turns: jobs are done in batches. Who comes and finds nobody at work does all that waits, for the others too.

So one commit serves many callers, without a thread of its own in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """do: does a batch of jobs; must not raise. Never called by two threads at once."""

    def __init__(self, do: Callable[[Sequence[Job]], None]) -> None:
        self._do = do
        self._lock = threading.Lock()  # guards what follows
        self._waiting: list[tuple[Job, _Turn]] = []
        self._at_work = False

    def take(self, job: Job) -> None:
        """Return when the job was done, by this thread or another."""
        turn = _Turn()
        with self._lock:
            self._waiting.append((job, turn))
            mine, self._at_work = not self._at_work, True
        if mine or turn.wait():
            self._work(turn)

    def _work(self, own: _Turn) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._do([job for job, _ in batch])
        finally:
            with self._lock:
                following = self._waiting[0][1] if self._waiting else None
                self._at_work = following is not None
            if following is not None:
                following.end(work=True)
            for _, turn in batch:
                if turn is not own:
                    turn.end(work=False)


class _Turn:
    """What a waiting thread waits for: to be told that its job is done, or to do what waits itself."""

    def __init__(self) -> None:
        self._ended = threading.Lock()
        self._ended.acquire()
        self._work = False

    def wait(self) -> bool:
        """Whether it is to work."""
        self._ended.acquire()
        return self._work

    def end(self, *, work: bool) -> None:
        self._work = work
        self._ended.release()
