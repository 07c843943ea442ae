"""A running dashboard: a socket, the application behind its guard, and the link that opens it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn

from curvestop.clients.dashboard.app import Dashboard, application
from curvestop.clients.dashboard.guard import Guard, Links
from curvestop.proto.endpoint import LOOPBACK, with_port


class DashboardServer:
    """Listens from the start; answers in `run`, or in a thread of its own within `with`.

    host: of this machine (127.0.0.1, ::1 or localhost); any other only with public_name, the one that browsers know it by.
    port: 0 picks a free one. on_link: told the next link whenever one was used.
    Raises ValueError (a host that others can reach, without a name), OSError (the port is in use).
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
                f"others could reach {host}, and nothing is encrypted: better keep the dashboard on this machine and reach it by "
                "`ssh -L 7071:localhost:7071 THIS_MACHINE`, or add --allow-remote NAME, by which browsers know this machine"
            )
        self._name = public_name or host
        address = LOOPBACK.get(host, host)
        self._socket = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.port: int = self._socket.getsockname()[1]
        self._links = Links(lambda query: on_link(self._link(query)))
        guarded = Guard(
            application(dashboard),
            hosts=[*LOOPBACK, *([public_name] if public_name else [])],
            cookie=f"curvestop-dashboard-{self.port}",
            links=self._links,
        )
        config = uvicorn.Config(
            guarded, log_level="warning", access_log=False, lifespan="off", ws="none", server_header=False, loop="asyncio"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.run, name="curvestop-dashboard", daemon=True)

    @property
    def origin(self) -> str:
        return f"http://{with_port(self._name, self.port)}"

    @property
    def link(self) -> str:
        """Opens the dashboard in one browser, once."""
        return self._link(self._links.query)

    def run(self) -> None:
        """Answer until a signal comes, or `close`."""
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        self._server.should_exit = True
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
