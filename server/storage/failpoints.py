"""Failpoints: places at which a test may have the process die, by name, as if it were killed there."""

from __future__ import annotations

import os
import signal

VARIABLE = "CURVESTOP_FAILPOINT"
"""`NAME` or `NAME:N`: die when this place is passed for the first, or N-th, time. Only tests set it."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count or 1)


def failpoint(name: str) -> None:
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
