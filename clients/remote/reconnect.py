"""A background thread that lives while a server is unreachable, retries until it answers, and then ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

PAUSE_S, LONGEST_PAUSE_S = 0.5, 4.0


class Reconnector:
    """Call `attempt` in a thread until it succeeds, with pauses that double up to `longest_pause_s`.

    Args:
        attempt: Tries to reach the server and returns whether that succeeded. Only one thread calls it at a time.
        pause_s: Pause before the first attempt, in seconds.
        longest_pause_s: Upper bound of the doubled pauses, in seconds.

    Examples:
        >>> tried = threading.Event()
        >>> reconnector = Reconnector(lambda: tried.set() or True, pause_s=0.001)
        >>> reconnector.wake()
        >>> tried.wait(10)
        True
        >>> reconnector.close()
    """

    def __init__(
        self, attempt: Callable[[], bool], *, pause_s: float = PAUSE_S, longest_pause_s: float = LONGEST_PAUSE_S
    ) -> None:
        self._attempt, self._pause_s, self._longest_pause_s = attempt, pause_s, longest_pause_s
        self.forked()

    def forked(self) -> None:
        """Reset in a forked child: the thread and whoever held the lock exist in the parent only."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_closed(self) -> bool:
        """Return whether `stop` or `close` was called."""
        return self._closed.is_set()

    def wake(self) -> None:
        """Start the thread unless it runs already or `close` was called."""
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                # A daemon: the end of a training script must not wait for a server that is gone.
                self._thread = threading.Thread(target=self._run, name="curvestop-reconnector", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Begin no further attempt; the one in progress may go on."""
        self._closed.set()

    def close(self) -> None:
        """Stop retrying, after the attempt in progress."""
        self.stop()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        pause_s = self._pause_s
        # Waiting on the event, not sleeping, lets `close` end a pause at once.
        while not self._closed.wait(pause_s) and not self._attempt():
            pause_s = min(2 * pause_s, self._longest_pause_s)
        with self._lock:
            self._thread = None  # the next `wake` starts a new one
