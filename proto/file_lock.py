"""Locks on files, which the operating system drops when the process dies; Linux and macOS have them."""

from __future__ import annotations

from typing import IO, Any

NEEDS_POSIX = (
    "this needs Linux or macOS; on Windows run it in WSL. What trains and asks works on Windows itself: connect, Epochs, the "
    "pruners, `curvestop ask`, `report` and `backtest`"
)


def lock_file(file: int | IO[Any], *, wait: bool = False) -> None:
    """Lock a file for this process alone, until it is closed or the process ends.

    Args:
        file: An open file or its descriptor.
        wait: Whether to wait while another process has the lock.

    Raises:
        BlockingIOError: If another process has it, and this one does not wait.
        ValueError: On Windows, which has no such locks.
    """
    try:
        import fcntl  # here, so that all else can be imported on Windows
    except ModuleNotFoundError:
        raise ValueError(NEEDS_POSIX) from None
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
