"""Where a command sends its metrics to, if it does not print them. Standard library only: workers import it."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from curvestop.proto.job_metrics import MAX_BYTES, JobMetric

Receive = Callable[[JobMetric | ValueError], None]


class MetricSocket:
    """A Unix socket of its own folder, and a thread that hands on what comes, in order; what is no metric as a ValueError."""

    def __init__(self, receive: Receive) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="curvestop-"))  # short: a socket's path has at most about 100 bytes
        self.path = self._folder / "metrics"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._receive = receive
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hand on what was sent by now, then end."""
        if self._folder.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", str(self.path))
            self._thread.join()
            self._socket.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        while datagram := self._socket.recv(MAX_BYTES):
            try:
                self._receive(JobMetric.decode(datagram))
            except ValueError as error:
                self._receive(error)
