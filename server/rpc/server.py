"""A running server: the folder, store, registry and gRPC server put together, from start to drain."""

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
from curvestop.server.rpc.quotas import LIMITS, Limits
from curvestop.server.rpc.servicer import EarlyStoppingService, handlers
from curvestop.server.rpc.tenant_pools import Handlers, TenantPool, TenantPools
from curvestop.server.rpc.tls import Tls, check_port_is_free, listening_address, server_credentials
from curvestop.server.rpc.tokens import Tokens, read_or_make_token
from curvestop.server.storage.data_folder import DataFolder
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore
from curvestop.server.studies.registry import Registry

SWITCH_INTERVAL_S = 0.0005
GRACE_S = 3.0


def prepare_process() -> None:
    """Let a call that came in run soon though a fit computes: by default Python makes it wait 5 ms at every turn."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


class Server:
    """Opens everything and answers from then on; `close` drains.

    host: of this machine (127.0.0.1, ::1 or localhost); with `tls` any. port: 0 picks a free one.
    store: URL of a database; without one it is a file in the folder. metrics_port: for Prometheus, on this machine only.
    Raises ValueError (a host that others can reach, without TLS), OSError (port in use, folder not writable), FolderInUse,
    sqlalchemy.exc.SQLAlchemyError (no database).
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
        limits: Limits = LIMITS,
    ) -> None:
        self.host = listening_address(host, tls)
        credentials = server_credentials(tls)
        check_port_is_free(self.host, port)
        with ExitStack() as opened:
            data = opened.enter_context(closing(DataFolder(folder)))
            self.folder = data.path
            token, self.token_path = read_or_make_token(data.path)
            self.telemetry = Metrics()
            opening = CurveStore(store or data.database_url)
            self.registry = opened.enter_context(closing(Registry(opening, on_fit=self.telemetry.fitted)))
            self._pools = opened.enter_context(closing(TenantPools(self._handlers(limits), max_calls=limits.max_calls)))
            self.telemetry.watch(self._pools)
            tokens = Tokens(data.path, owner=token)
            self._interceptor = AuthInterceptor(tokens, self._pools, on_refused=self.telemetry.refused)
            self._health = health.HealthServicer()
            self._server, self.port = run(self._listening(limits, with_port(self.host, port), credentials))
            self.metrics_port = None
            if metrics_port is not None:
                self.metrics_port, close_metrics = self.telemetry.serve(metrics_port)
                opened.callback(close_metrics)
            self._opened = opened.pop_all()  # to be closed by `close`, not here
        run(self._start())

    @property
    def address(self) -> str:
        return with_port(self.host, self.port)

    def drain(self, *, linger_s: float = 0.0, grace_s: float = GRACE_S) -> None:
        """Say NOT_SERVING, refuse new calls and let the running ones end, within `grace_s`, but for `linger_s` at least.

        Health checks are answered meanwhile, so that a balancer sees it.
        """
        began = time.monotonic()
        run(self._drain(began + grace_s))
        time.sleep(max(0.0, began + linger_s - time.monotonic()))

    def close(self, grace_s: float = GRACE_S) -> None:
        """Refuse new calls, give the running ones `grace_s`, write what waits, let go of the folder."""
        self.drain(grace_s=grace_s)
        run(self._server.stop(0.2))
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # In the loop.

    async def _start(self) -> None:
        await self._server.start()
        for service in ("", SERVICE.full_name):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def _drain(self, until_s: float) -> None:
        await self._health.enter_graceful_shutdown()
        self._interceptor.drain()
        for pool in self._pools.all():
            await pool.idle(until_s - time.monotonic())

    async def _listening(self, limits: Limits, address: str, credentials: grpc.ServerCredentials) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[self._interceptor], options=limits.grpc_options())
        register(server, self._pools.of(DEFAULT_TENANT).handlers, self._health)
        try:
            return server, server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"{address} cannot be had: {error}") from None

    def _handlers(self, limits: Limits) -> Callable[[TenantPool], Handlers]:
        return lambda pool: handlers(
            EarlyStoppingService(self.registry, self.telemetry, pool, limits=limits), pool, self.telemetry
        )


def register(server: Any, known: Handlers, health_servicer: Any) -> None:
    """All that a server answers to; the gate has each caller's own handlers in place of the known ones."""
    methods = {method.rpartition("/")[2]: handler for method, handler in known.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, methods),))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
