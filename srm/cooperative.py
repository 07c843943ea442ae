"""Cooperative yielding: long fits call `pause()` between models, so that other threads can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Each thread has a context of its own: a fit inside a call, which somebody waits for, does not pause.
_pause: ContextVar[Callable[[], None] | None] = ContextVar("pause", default=None)


@contextmanager
def pausing(pause: Callable[[], None]) -> Iterator[None]:
    """While the block lasts, fits of this thread call `pause` now and then.

    Args:
        pause: Called between two models, in the thread that fits; it may block for as long as others should run.
    """
    # The token restores what was set before, so blocks may be nested.
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)


def pause() -> None:
    """Yield, for fits to call; without a `pausing` block nothing happens."""
    pause = _pause.get()
    if pause is not None:
        pause()
