"""A proxy that does to connections what networks do: cut, swallow, delay, garble."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from types import TracebackType
from typing import Literal, Self

Fault = Literal["none", "refuse", "swallow", "delay", "garble"]
Cut = Literal["before", "during", "after"]
"""Of one request: before it arrives, before its answer leaves, in the middle of its answer."""

DELAY_S = 5.0
CHUNK = 1 << 16
SMALLEST_ANSWER = 60  # bytes: acknowledgements of HTTP/2 are shorter


class FaultProxy:
    """Between clients, which call `port`, and a server on `target_port`, both on this machine."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.fault: Fault = "none"
        self.n_cuts = 0
        self._cut: Cut | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut_next(self, cut: Cut) -> None:
        """Cut whichever connection is the next to be at this place."""
        with self._lock:
            self._cut = cut

    def start(self, fault: Fault) -> None:
        self.fault = fault
        if fault in ("refuse", "garble"):
            self.hang_up()

    def stop(self) -> None:
        """Serve faithfully again; connections that were swallowed are lost, as after a real outage."""
        self.fault = "none"
        self.hang_up()

    def hang_up(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _reset(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed = True
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.fault == "refuse":
                _reset(client)
                continue
            server = socket.create_connection(("127.0.0.1", self.target_port))
            with self._lock:
                self._open |= {client, server}
            for source, sink, is_request in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, is_request), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if self.fault == "swallow":
                    continue
                if self.fault == "delay":
                    time.sleep(DELAY_S)
                if self.fault == "garble" and not is_request:
                    data = os.urandom(len(data))
                place = self._place(data, is_request)
                if place == "before":
                    break
                sink.sendall(data[: len(data) // 2] if place == "after" else data)
                if place is not None:
                    break
        for connection in (source, sink):
            with self._lock:
                self._open.discard(connection)
            _reset(connection)

    def _place(self, data: bytes, is_request: bool) -> Cut | None:
        """Where this chunk is cut, if it is. A request is forwarded and not answered to be cut during."""
        if len(data) < SMALLEST_ANSWER:
            return None
        with self._lock:
            if self._cut is None or is_request != (self._cut in ("before", "during")):
                return None
            cut, self._cut = self._cut, None
            self.n_cuts += 1
            return cut


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
