"""The end of the process: what no server has acknowledged by then is sent, or a warning says how much was not.

A script that ends, whether by its last line, an exception or Ctrl-C, runs this by `atexit`; a process of `multiprocessing`, which
does not, by that module's finalizers. SIGTERM ends a Python process at once. So, from the time that something waits, it is
handled, unless the program handles it itself: what waits is sent, and the process ends by the signal as it would have.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

END_S = 5.0
"""Longest time in seconds that the end of a process, or `close`, waits for a server."""


class Sends(Protocol):
    """What has something to send when the process ends."""

    def send_the_rest(self, timeout_s: float) -> None:
        """Send what waits, or log a warning.

        Args:
            timeout_s: Longest time, in seconds.
        """
        ...


class EndOfProcess:
    """Lets senders send what waits when this process ends, for `END_S` seconds at most, all together."""

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        """Start empty in a forked child: its parent sends what waits there."""
        self._lock = threading.Lock()
        self._senders: list[Sends] = []  # kept alive: a training may have forgotten its study
        self._is_registered = False

    def watch(self, sender: Sends) -> None:
        """Remember who has something to send.

        Args:
            sender: Asked at the end of the process; known already, nothing happens.
        """
        with self._lock:
            if sender in self._senders:
                return
            self._senders.append(sender)
            if not self._is_registered:
                self._is_registered = True
                self._register()
        self._handle_sigterm()

    def forget(self, sender: Sends) -> None:
        """Forget who has sent all.

        Args:
            sender: One that was remembered, or not.
        """
        with self._lock, suppress(ValueError):
            self._senders.remove(sender)

    def send_all(self) -> None:
        """Let all send what waits; each has its share of the time."""
        with self._lock:
            senders, self._senders = self._senders, []
        deadline = time.monotonic() + END_S
        for n_left, sender in zip(range(len(senders), 0, -1), senders, strict=True):
            sender.send_the_rest((deadline - time.monotonic()) / n_left)

    def _register(self) -> None:
        processes: Any = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            # Such a process ends without atexit. It forgets what was registered in its parent.
            sys.modules["multiprocessing.util"].Finalize(None, self.send_all, exitpriority=0)
        else:
            atexit.register(self.send_all)

    def _handle_sigterm(self) -> None:
        # Python lets only the main thread do it. A program's own handler stays.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second signal ends the process at once
        # In another thread: this one may have been interrupted while it held a lock.
        sending = threading.Thread(target=self.send_all, daemon=True)
        with suppress(RuntimeError):  # no thread starts once the interpreter ends
            sending.start()
            sending.join(END_S + 1)
        os.kill(os.getpid(), signal.SIGTERM)


END_OF_PROCESS = EndOfProcess()
"""That of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=END_OF_PROCESS.forked)
