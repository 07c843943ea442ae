"""Calls and forks keep out of each other's way: a fork waits for the calls under way, and a call waits while a fork is made.

In a child that was forked while another thread was inside gRPC, gRPC shares sockets and poller with its parent, and may crash.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

LONGEST_WAIT_S = 2.0


class ForkGate:
    """Inside it (`with gate:`) are calls, those of any number of threads at once.

    Neither a call nor a fork waits longer than `longest_wait_s`, nor a thread for a call of its own, such as one that forks in a
    signal's handler.
    """

    def __init__(self, *, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self._longest_wait_s = longest_wait_s
        self._own = _Own()
        self._n_forks = 0
        self._n_calls = 0
        self.forked()

    def __enter__(self) -> None:
        with self._changed:
            if self._n_forks and not self._own.n_calls:
                self._changed.wait_for(lambda: not self._n_forks, self._longest_wait_s)
            self._own.n_calls += 1
            self._n_calls += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._own.n_calls -= 1
            self._n_calls -= 1
            if self._n_forks:
                self._changed.notify_all()

    def fork_begins(self) -> None:
        with self._changed:
            self._n_forks += 1
            self._changed.wait_for(lambda: self._n_calls <= self._own.n_calls, self._longest_wait_s)

    def fork_ended(self) -> None:
        """In the process that forked."""
        with self._changed:
            self._n_forks = max(0, self._n_forks - 1)  # of a beginning that was interrupted nothing is known
            self._changed.notify_all()

    def forked(self) -> None:
        """In a fork: other threads, their calls and what held the lock have stayed behind."""
        self._changed = threading.Condition()  # with a lock that a signal's handler may take again
        self._n_forks = 0
        self._n_calls = self._own.n_calls


class _Own(threading.local):
    """n_calls: of this thread, one inside the other."""

    n_calls = 0


FORK_GATE = ForkGate()
"""Of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=FORK_GATE.fork_begins, after_in_parent=FORK_GATE.fork_ended, after_in_child=FORK_GATE.forked)
