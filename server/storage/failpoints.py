"""Failpoints: named places in the code where a test may have the process die, as if it were killed there."""

from __future__ import annotations

import os
import signal

VARIABLE = "CURVESTOP_FAILPOINT"
"""`NAME` or `NAME:N`: die when this place is passed for the first, or N-th, time. Only tests set it."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_passes_left = int(_count or 1)


def failpoint(name: str) -> None:
    """Kill this process here if the environment says so.

    Args:
        name: Name of this place in the code.
    """
    global _passes_left
    if name == _name:
        _passes_left -= 1
        if _passes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)  # no handler runs, nothing is flushed: as in a crash
