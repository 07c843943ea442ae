"""A running server: the folder, store, registry and gRPC server put together, from start to drain."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from curvestop.proto.endpoint import with_port
from curvestop.server.auth import Tokens, read_or_make_token
from curvestop.server.folder import DataFolder
from curvestop.server.gate import SERVICE, Gate
from curvestop.server.lanes import Handlers, Lanes
from curvestop.server.limits import LIMITS, Limits
from curvestop.server.registry import Registry
from curvestop.server.service import EarlyStoppingService, handlers
from curvestop.server.store import DEFAULT_TENANT, CurveStore
from curvestop.server.telemetry import Telemetry
from curvestop.server.tls import Tls, check_port_is_free, listening_address, server_credentials

HEALTH_THREADS = 4
SWITCH_INTERVAL_S = 0.0005
GRACE_S = 3.0


def prepare_process() -> None:
    """Let a call that came in run soon though a fit computes: by default Python makes it wait 5 ms at every turn."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


class Serving:
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
            self.telemetry = Telemetry()
            opening = CurveStore(store or data.database_url)
            self.registry = opened.enter_context(closing(Registry(opening, on_fit=self.telemetry.fitted)))
            self._lanes = opened.enter_context(closing(Lanes(self._handlers(limits), max_calls=limits.max_calls)))
            self.telemetry.watch(self._lanes)
            tokens = Tokens(data.path, owner=token)
            self._gate = opened.enter_context(closing(Gate(tokens, self._lanes, on_refused=self.telemetry.refused)))
            self._health = health.HealthServicer()
            self._server = self._grpc_server(limits)
            self.port = _bind(self._server, with_port(self.host, port), credentials)
            self.metrics_port = None
            if metrics_port is not None:
                self.metrics_port, close_metrics = self.telemetry.serve(metrics_port)
                opened.callback(close_metrics)
            self._opened = opened.pop_all()  # to be closed by `close`, not here
        self._server.start()
        for service in ("", SERVICE.full_name):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    @property
    def address(self) -> str:
        return with_port(self.host, self.port)

    def drain(self, *, linger_s: float = 0.0, grace_s: float = GRACE_S) -> None:
        """Say NOT_SERVING, refuse new calls and let the running ones end, within `grace_s`, but for `linger_s` at least.

        Health checks are answered meanwhile, so that a balancer sees it.
        """
        self._health.enter_graceful_shutdown()
        self._gate.drain()
        began = time.monotonic()
        for lane in self._lanes.all():
            lane.pool.wait_idle(began + grace_s - time.monotonic())
        time.sleep(max(0.0, began + linger_s - time.monotonic()))

    def close(self, grace_s: float = GRACE_S) -> None:
        """Refuse new calls, give the running ones `grace_s`, write what waits, let go of the folder."""
        self.drain(grace_s=grace_s)
        self._server.stop(0.2).wait()
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _handlers(self, limits: Limits) -> Callable[[str], Handlers]:
        return lambda tenant: handlers(
            EarlyStoppingService(self.registry, self.telemetry, tenant=tenant, limits=limits), self.telemetry
        )

    def _grpc_server(self, limits: Limits) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="curvestop-health"),  # the lanes have their own
            interceptors=[self._gate],
            options=limits.grpc_options(),
        )
        known = self._lanes.of(DEFAULT_TENANT).handlers
        methods = {method.rpartition("/")[2]: handler for method, handler in known.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server


def _bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"{address} cannot be had: {error}") from None
