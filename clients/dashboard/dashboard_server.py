"""A running dashboard: its socket, the application behind its guard, and the link that opens it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from curvestop.clients.dashboard.app import Dashboard, application
from curvestop.clients.dashboard.guard import Guard, LoginLinks
from curvestop.proto.endpoint import LOOPBACK, with_port

REQUEST_S = 10.0
"""Longest time that a request's head may take to arrive; then its connection is closed."""


class PromptRequests(H11Protocol):
    """HTTP connections that are closed when a request does not arrive in time, which uvicorn waits for without end."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take what came; a part of a request gets no more time than none of it."""
        super().data_received(data)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _wait_for_request(self) -> None:
        if self.conn.their_state is not h11.IDLE:  # the request is there
            self._stop_waiting()
        elif self._timer is None:
            self._timer = self.loop.call_later(REQUEST_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class DashboardServer:
    """The dashboard's HTTP server. It listens at once, and answers in `run`, or in a thread of its own inside `with`.

    Args:
        dashboard: What it shows.
        host: Address to listen on: 127.0.0.1, ::1 or localhost; any other one needs `public_name`.
        port: Port to listen on; 0 picks a free one.
        public_name: Host name by which other machines reach this one. Default: serve this machine only.
        on_link: Called with the next link whenever one was used.

    Attributes:
        port: The port it listens on.

    Raises:
        ValueError: If other machines could reach `host` and there is no `public_name`.
        OSError: If the port is in use.

    Examples:
        >>> from curvestop.clients.remote.connection import Connection
        >>> connection = Connection("127.0.0.1:7070", token="secret")
        >>> with DashboardServer(Dashboard(connection, address=connection.address), host="127.0.0.1", port=0) as server:
        ...     server.link.startswith(f"http://127.0.0.1:{server.port}/?token=")
        True
    """

    def __init__(
        self,
        dashboard: Dashboard,
        *,
        host: str,
        port: int,
        public_name: str | None = None,
        on_link: Callable[[str], None] = lambda link: None,
    ) -> None:
        if host not in LOOPBACK and public_name is None:
            raise ValueError(
                f"other machines could reach {host}, and the dashboard does not encrypt: serve this machine only and open a "
                "tunnel (ssh -L 7071:localhost:7071 THIS_MACHINE), or add --allow-remote NAME, the host name that browsers use"
            )
        self._name = public_name or host
        address = LOOPBACK.get(host, host)
        # Bound here, not by uvicorn: the link needs the port before the server runs, and a port in use is the caller's error.
        self._socket = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.port: int = self._socket.getsockname()[1]
        # A used link is replaced at once, so that there always is one to print.
        self._links = LoginLinks(lambda query: on_link(self._link(query)))
        # localhost, 127.0.0.1 and ::1 are always accepted: a tunnel makes browsers use them.
        guarded = Guard(
            application(dashboard),
            hosts=[*LOOPBACK, *([public_name] if public_name else [])],
            cookie=f"curvestop-dashboard-{self.port}",
            links=self._links,
        )
        # Nothing that the page does not need: no access log (links hold tokens), no web sockets, no version in the headers.
        config = uvicorn.Config(
            guarded,
            log_level="warning",
            access_log=False,
            lifespan="off",
            http=PromptRequests,
            ws="none",
            server_header=False,
            loop="asyncio",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.run, name="curvestop-dashboard", daemon=True)

    @property
    def origin(self) -> str:
        """The dashboard's address, `http://HOST:PORT`."""
        return f"http://{with_port(self._name, self.port)}"

    @property
    def link(self) -> str:
        """The link that opens the dashboard in one browser; it works once."""
        return self._link(self._links.query)

    def run(self) -> None:
        """Answer requests until a signal or `close` ends it."""
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.should_exit = True  # uvicorn looks at it ten times a second
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _link(self, query: str) -> str:
        return f"{self.origin}/{query}"
