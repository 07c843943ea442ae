"""The loop: one thread of the process in which all calls begin and end. What takes long is done in other threads."""

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
    """One for all servers of a process, as gRPC wants it; it runs from the first use on."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, name="curvestop-loop", daemon=True).start()
    return made


def run(work: Coroutine[Any, Any, T]) -> T:
    """From another thread: do this in the loop, and wait for it."""
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


class CallbackQueue:
    """What other threads have ready, brought back into the loop: whatever there is by one wake-up, which is what costs."""

    def __init__(self) -> None:
        self._ready: deque[Callable[[], None]] = deque()
        self._is_coming = False

    def add(self, then: Callable[[], None]) -> None:
        """From any thread: have this called in the loop."""
        self._ready.append(then)
        if not self._is_coming:
            self._is_coming = True
            with contextlib.suppress(RuntimeError):  # the loop has ended with the process
                loop().call_soon_threadsafe(self._bring)

    def _bring(self) -> None:
        self._is_coming = False  # first: what is added from here on is seen now or wakes the loop again
        while self._ready:
            self._ready.popleft()()
