"""Pauses in a long fit, between one model and the next, for whoever runs it beside work that must not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_taken: ContextVar[Callable[[], None] | None] = ContextVar("pause", default=None)


@contextmanager
def pausing(take: Callable[[], None]) -> Iterator[None]:
    """As long as the block lasts, fits of this thread call `take` now and then."""
    token = _taken.set(take)
    try:
        yield
    finally:
        _taken.reset(token)


def pause() -> None:
    """For fits to call; nothing happens where nobody asked for pauses."""
    take = _taken.get()
    if take is not None:
        take()
