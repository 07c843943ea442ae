"""A gate between gRPC calls and forks: a fork waits for the calls in progress, and a call waits while the process forks.

In a child that was forked while another thread was inside gRPC, gRPC shares sockets and poller with its parent, and may crash.
So every call of `curvestop.clients.remote.connection` runs inside the process's `FORK_GATE`, and `os.register_at_fork` makes
each `os.fork` pass it.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

LONGEST_WAIT_S = 2.0


class ForkGate:
    """A context manager for calls that must not overlap with a fork of another thread.

    Any number of threads may be inside at the same time. A thread never waits for a call of its own, such as one that was
    interrupted by a signal handler that forks. Neither a call nor a fork waits longer than `longest_wait_s`: a rare crash in a
    child is better than a training that hangs.

    Args:
        longest_wait_s: Longest wait of a call for a fork, and of a fork for calls, in seconds.

    Examples:
        >>> gate = ForkGate()
        >>> with gate:
        ...     answer = "a call"
        >>> gate.fork_begins()
        >>> gate.fork_ended()
    """

    def __init__(self, *, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._longest_wait_s = longest_wait_s
        self._this_thread = _ThreadState()
        self._n_forks = 0
        self._n_calls = 0
        self.forked()

    def __enter__(self) -> None:
        with self._changed:
            # A call inside a call of this thread must not wait: the fork under way may be waiting for the outer one.
            if self._n_forks and not self._this_thread.n_calls:
                self._changed.wait_for(lambda: not self._n_forks, self._longest_wait_s)
            self._this_thread.n_calls += 1
            self._n_calls += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._this_thread.n_calls -= 1
            self._n_calls -= 1
            if self._n_forks:
                self._changed.notify_all()

    def fork_begins(self) -> None:
        """Keep new calls out and wait for those of other threads; runs in the parent, before the fork."""
        with self._changed:
            self._n_forks += 1
            self._changed.wait_for(lambda: self._n_calls <= self._this_thread.n_calls, self._longest_wait_s)

    def fork_ended(self) -> None:
        """Let calls in again; runs in the parent, after the fork."""
        with self._changed:
            # An exception inside `fork_begins` (a signal handler's, say) may have left the fork uncounted: never go below 0.
            self._n_forks = max(0, self._n_forks - 1)
            self._changed.notify_all()

    def forked(self) -> None:
        """Reset the gate in the child: other threads, their calls and whoever held the lock exist in the parent only."""
        self._changed = threading.Condition()  # its lock is reentrant: a signal handler may take it again
        self._n_forks = 0
        self._n_calls = self._this_thread.n_calls  # the forking thread's own calls go on in the child


class _ThreadState(threading.local):
    """The number of nested calls that this thread is inside of."""

    n_calls = 0


FORK_GATE = ForkGate()
"""The gate of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=FORK_GATE.fork_begins, after_in_parent=FORK_GATE.fork_ended, after_in_child=FORK_GATE.forked)
