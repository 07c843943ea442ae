"""A running server: the folder, store, registry and gRPC server put together, from start to drain."""

from __future__ import annotations

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from curvestop.proto.endpoint import MAX_MESSAGE_BYTES, loopback_address, with_port
from curvestop.server.auth import TokenInterceptor, read_or_make_token
from curvestop.server.folder import DataFolder
from curvestop.server.registry import Registry
from curvestop.server.service import SERVICE, EarlyStoppingService, handlers
from curvestop.server.store import CurveStore

N_THREADS = 32
OPTIONS = (
    ("grpc.so_reuseport", 0),  # with it, two servers share one port without a word
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.server_handshake_timeout_ms", 5_000),
)


SWITCH_INTERVAL_S = 0.0005


def prepare_process() -> None:
    """Let a call that came in run soon though a fit computes: by default Python makes it wait 5 ms at every turn."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


class Serving:
    """Opens everything and answers from then on; `close` drains.

    host: of this machine (127.0.0.1, ::1 or localhost). port: 0 picks a free one.
    store: URL of a database; without one it is a file in the folder.
    Raises ValueError (not a host of this machine), OSError (port in use, folder not writable), FolderInUse,
    sqlalchemy.exc.SQLAlchemyError (no database).
    """

    def __init__(self, folder: Path, *, host: str, port: int, store: str | None = None) -> None:
        address = loopback_address(host)
        check_port_is_free(address, port)
        with ExitStack() as opened:
            data = opened.enter_context(closing(DataFolder(folder)))
            token, self.token_path = read_or_make_token(data.path)
            self.registry = opened.enter_context(closing(Registry(CurveStore(store or data.database_url))))
            self._health = health.HealthServicer()
            self._server = _grpc_server(self.registry, self._health, token)
            self.port = _bind(self._server, address, port)
            self._opened = opened.pop_all()  # to be closed by `close`, not here
        self.host, self.folder = address, data.path
        self._server.start()
        for service in ("", SERVICE.full_name):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    @property
    def address(self) -> str:
        return with_port(self.host, self.port)

    def close(self, grace_s: float = 4.0) -> None:
        """Refuse new calls, give the running ones `grace_s`, write what waits, let go of the folder."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def check_port_is_free(address: str, port: int) -> None:
    """Raises OSError that says so when a port cannot be had; gRPC would only say that it failed."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise OSError(error.errno, f"port {port} of {address} cannot be had ({error.strerror}): choose another") from None


def _grpc_server(registry: Registry, health_servicer: health.HealthServicer, token: str) -> grpc.Server:
    server = grpc.server(
        ThreadPoolExecutor(N_THREADS, thread_name_prefix="curvestop-rpc"),
        interceptors=[TokenInterceptor(token)],
        options=OPTIONS,
    )
    server.add_generic_rpc_handlers((handlers(EarlyStoppingService(registry)),))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    return server


def _bind(server: grpc.Server, address: str, port: int) -> int:
    credentials = grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    try:
        return server.add_secure_port(with_port(address, port), credentials)
    except RuntimeError as error:
        raise OSError(f"port {port} of {address} cannot be had: {error}") from None
