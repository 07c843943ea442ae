"""The sender: a thread that lives while a server is away, tries to reach it, and ends when it has."""

from __future__ import annotations

import threading
from collections.abc import Callable

PAUSE_S, LONGEST_PAUSE_S = 0.5, 4.0


class Reconnector:
    """Tries until it succeeds, with pauses that double up to `longest_pause_s`.

    attempt: returns whether it succeeded; called by one thread at a time.
    """

    def __init__(
        self, attempt: Callable[[], bool], *, pause_s: float = PAUSE_S, longest_pause_s: float = LONGEST_PAUSE_S
    ) -> None:
        self._attempt, self._pause_s, self._longest_pause_s = attempt, pause_s, longest_pause_s
        self.forked()

    def forked(self) -> None:
        """In a fork: the thread and what held the lock have stayed behind."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Begin to try, unless that goes on already."""
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="curvestop-sender", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Try no more; an attempt that is under way is waited for."""
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        pause_s = self._pause_s
        while not self._closed.wait(pause_s) and not self._attempt():
            pause_s = min(2 * pause_s, self._longest_pause_s)
        with self._lock:
            self._thread = None
