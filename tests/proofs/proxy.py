"""A proxy that does to connections what networks do: cut, swallow, delay, garble."""

from __future__ import annotations

import contextlib
import os
import queue
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
    """Between clients, which call `port`, and a server on `target_port`, both on this machine.

    round_trip_s: of the link. Each way takes half of it; the first bytes of a connection wait for a whole one more, which is what
    the handshake of TCP takes on a real link.
    """

    def __init__(self, target_port: int, *, round_trip_s: float = 0.0) -> None:
        self.target_port, self.round_trip_s = target_port, round_trip_s
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
        send = _Link(sink, self.round_trip_s, is_request).send if self.round_trip_s else sink.sendall
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
                send(data[: len(data) // 2] if place == "after" else data)
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


class _Link:
    """One way of a link: what is sent arrives half a round trip later, in order, however much is on its way."""

    def __init__(self, sink: socket.socket, round_trip_s: float, connects: bool) -> None:
        self._sink, self._one_way_s = sink, round_trip_s / 2
        self._open_at = time.monotonic() + (round_trip_s if connects else 0.0)
        self._on_its_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._deliver, daemon=True).start()

    def send(self, data: bytes) -> None:
        self._on_its_way.put((max(time.monotonic(), self._open_at) + self._one_way_s, data))

    def _deliver(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                arrives, data = self._on_its_way.get()
                time.sleep(max(0.0, arrives - time.monotonic()))
                self._sink.sendall(data)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
