"""The socket to which a command sends its metrics if it does not print them.

This file uses the standard library only, because every worker imports it.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from curvestop.proto.job_metrics import MAX_BYTES, JobMetric

Receive = Callable[[JobMetric | ValueError], None]
"""Called for each datagram, with its metric or with the error of a datagram that has none."""


class MetricSocket:
    """A Unix socket in a folder of its own, read by a thread.

    Args:
        receive: Called by the thread for each datagram, in order.

    Attributes:
        path: Path of the socket.
    """

    def __init__(self, receive: Receive) -> None:
        # A short path: the address of a Unix socket has at most about 100 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="curvestop-"))
        self.path = self._folder / "metrics"
        # Datagrams, as several processes of a command may send: each metric arrives whole.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._receive = receive
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Deliver the datagrams sent so far, then end the thread and delete the socket."""
        if self._folder.exists():
            # An empty datagram ends the thread; it arrives after all that were sent before.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", str(self.path))
            self._thread.join()
            self._socket.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> None:
        while datagram := self._socket.recv(MAX_BYTES):
            try:
                self._receive(JobMetric.decode(datagram))
            except ValueError as error:
                self._receive(error)
