"""A running server: data folder, store, registry and gRPC server put together, from start to drain."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined]  # the stubs do not know it

from curvestop.proto.endpoint import with_port
from curvestop.server.rpc.event_loop import run
from curvestop.server.rpc.interceptor import SERVICE, AuthInterceptor
from curvestop.server.rpc.metrics import Metrics
from curvestop.server.rpc.quotas import DEFAULT_LIMITS, Limits
from curvestop.server.rpc.servicer import EarlyStoppingService, make_handlers
from curvestop.server.rpc.tenant_pools import Handlers, TenantPool, TenantPools
from curvestop.server.rpc.tls import Tls, check_port_is_free, listening_address, server_credentials
from curvestop.server.rpc.tokens import Role, Tokens, read_or_make_token
from curvestop.server.storage.data_folder import DataFolder
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore
from curvestop.server.studies.registry import Registry

# Short, so that calls are answered soon; but every switch of threads takes time from the fit.
SWITCH_INTERVAL_S = 0.0005
# Running calls have this long to end when the server drains.
GRACE_S = 3.0


def prepare_process() -> None:
    """Set how often Python switches threads, so that a call is answered soon while a fit computes (default: every 5 ms)."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


class Server:
    """A server that answers from the moment it is made until `close`, which drains it first.

    Args:
        folder: The data folder; made if missing. One server at a time uses it.
        host: Where to listen: 127.0.0.1, ::1 or localhost; any host with `tls`.
        port: The port; 0 picks a free one.
        store: URL of a database, for example postgresql://user@host/database; default: a SQLite file in the folder.
        tls: The TLS files; required to be reached from other machines.
        metrics_port: Port on which Prometheus metrics are served (loopback only); default: none.
        limits: What a tenant, a connection or a call may use.

    Attributes:
        host: The address it listens on.
        port: The port it listens on.
        folder: The data folder, absolute.
        token_path: The file that holds the owner's token.
        metrics_port: The port of the Prometheus metrics, or None.
        registry: The studies.

    Raises:
        ValueError: If other machines could reach the host and there is no TLS, or the database is unsafe or too new.
        OSError: If the port is in use, or the folder or a TLS file cannot be used.
        FolderInUse: If another server uses the folder.
        sqlalchemy.exc.SQLAlchemyError: If the database cannot be opened.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Server(Path(folder.name), host="localhost", port=0) as server:
        ...     server.address == f"127.0.0.1:{server.port}", server.token_path.name
        (True, 'token')
        >>> folder.cleanup()
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str,
        port: int,
        store: str | None = None,
        tls: Tls | None = None,
        metrics_port: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        # What can be refused is checked first, before anything is made on disk.
        self.host = listening_address(host, tls)
        credentials = server_credentials(tls)
        check_port_is_free(self.host, port)
        # If a later step fails, everything opened before it is closed again, in reverse order.
        with ExitStack() as opened:
            data = opened.enter_context(closing(DataFolder(folder)))
            self.folder = data.path
            token, self.token_path = read_or_make_token(data.path)
            self._metrics = Metrics()
            curve_store = CurveStore(store or data.database_url)
            self.registry = opened.enter_context(closing(Registry(curve_store, on_fit=self._metrics.record_fit)))
            self._pools = opened.enter_context(closing(TenantPools(self._handlers_for(limits), max_calls=limits.max_calls)))
            self._metrics.show_calls_in_progress(self._pools)
            tokens = Tokens(data.path, owner=token)
            self._interceptor = AuthInterceptor(tokens, self._pools, on_refused=self._metrics.record_refusal)
            self._health = health.HealthServicer()
            self._server, self.port = run(self._bind(limits, with_port(self.host, port), credentials))
            self.metrics_port = None
            if metrics_port is not None:
                self.metrics_port, close_metrics = self._metrics.serve(metrics_port)
                opened.callback(close_metrics)
            self._opened = opened.pop_all()  # to be closed by `close`, not here
        run(self._start())  # last: a call finds everything in place

    @property
    def address(self) -> str:
        """The address clients connect to, HOST:PORT."""
        return with_port(self.host, self.port)

    def drain(self, *, linger_s: float = 0.0, grace_s: float = GRACE_S) -> None:
        """Report NOT_SERVING, refuse new calls and wait for the running ones.

        Health checks are still answered meanwhile, so that a load balancer notices.

        Args:
            linger_s: Return after this many seconds at the earliest.
            grace_s: Wait for running calls for this many seconds at most.
        """
        began = time.monotonic()
        run(self._drain(began + grace_s))
        time.sleep(max(0.0, began + linger_s - time.monotonic()))

    def close(self, grace_s: float = GRACE_S) -> None:
        """Drain the server, write what waits to be written, and release the folder.

        Args:
            grace_s: Wait for running calls for this many seconds at most.
        """
        self.drain(grace_s=grace_s)
        run(self._server.stop(0.2))  # a moment for answers that are on their way
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # The coroutines below run in the event loop.

    async def _bind(self, limits: Limits, address: str, credentials: grpc.ServerCredentials) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[self._interceptor], options=limits.grpc_options())
        register(server, self._pools.for_call(DEFAULT_TENANT).handlers["trainer"], self._health)
        try:
            return server, server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from None

    async def _start(self) -> None:
        await self._server.start()
        for service in ("", SERVICE.full_name):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def _drain(self, until_s: float) -> None:
        # First health, then refusals: a load balancer that asks in between sends nothing that would be refused.
        await self._health.enter_graceful_shutdown()
        self._interceptor.drain()
        for pool in self._pools.all():
            await pool.wait_idle(until_s - time.monotonic())

    def _handlers_for(self, limits: Limits) -> Callable[[TenantPool, Role], Handlers]:
        return lambda pool, role: make_handlers(
            EarlyStoppingService(self.registry, self._metrics, pool, limits=limits, role=role), pool, self._metrics
        )


def register(server: Any, handlers: Handlers, health_servicer: Any) -> None:
    """Register all methods with a gRPC server.

    Args:
        server: The gRPC server.
        handlers: Any tenant's handlers: they name the methods. The interceptor replaces them by those of each caller.
        health_servicer: Answers health checks.
    """
    methods = {method.rpartition("/")[2]: handler for method, handler in handlers.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, methods),))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
