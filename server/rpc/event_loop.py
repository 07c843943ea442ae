"""The event loop: one thread of the process in which all calls begin and end. Whatever takes long runs in other threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process; the first call starts it in a daemon thread.

    All servers of a process share it, because grpc.aio supports one loop per process only.
    """
    event_loop = asyncio.new_event_loop()
    threading.Thread(target=event_loop.run_forever, name="curvestop-loop", daemon=True).start()
    return event_loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop and wait for it.

    Args:
        work: The coroutine.

    Returns:
        What the coroutine returns; what it raises is raised here.
    """
    # Called from any thread but the loop's own, which would wait for itself.
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


class CallbackQueue:
    """Callbacks from worker threads, run in the event loop; one wake-up runs them all.

    Waking the loop is what costs (a system call and a switch of threads), so it is done once for many callbacks.
    """

    def __init__(self) -> None:
        self._callbacks: deque[Callable[[], None]] = deque()  # appending and popping are atomic: no lock
        self._wake_up_pending = False

    def add(self, callback: Callable[[], None]) -> None:
        """Have a callback called in the event loop. Any thread may call this.

        Args:
            callback: Called once, without arguments; it must not raise.
        """
        self._callbacks.append(callback)
        if not self._wake_up_pending:
            self._wake_up_pending = True
            with contextlib.suppress(RuntimeError):  # the loop has ended with the process
                loop().call_soon_threadsafe(self._run_callbacks)

    def _run_callbacks(self) -> None:
        # Cleared first: a callback that is added from here on is seen by the loop below or wakes the event loop again.
        self._wake_up_pending = False
        while self._callbacks:
            self._callbacks.popleft()()
