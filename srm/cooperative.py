"""Cooperative yielding: long fits call `pause()` between models, so that other threads can run and a budget can be held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Each thread has a context of its own: a fit inside a call, which somebody waits for, does not pause.
_pause: ContextVar[Callable[[int], None] | None] = ContextVar("pause", default=None)


@contextmanager
def pausing(pause: Callable[[int], None]) -> Iterator[None]:
    """While the block lasts, fits of this thread call `pause` now and then.

    Args:
        pause: Called between two models, in the thread that fits, with the bytes that it will need until the next call. It may
            block for as long as others should run, and end the fit by an exception.
    """
    # The token restores what was set before, so blocks may be nested.
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)


def pause(n_bytes: int = 0) -> None:
    """Yield, for fits to call; without a `pausing` block nothing happens.

    Args:
        n_bytes: About so much memory will be allocated until the next call; 0 for little.
    """
    pause = _pause.get()
    if pause is not None:
        pause(n_bytes)
