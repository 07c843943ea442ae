"""A connection: one RPC within a deadline, on whichever server answers, with the caller's mistakes told apart from troubles."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import grpc

from curvestop.clients.remote.channels import FORK_SUPPORT, Channels, ClientTls, would_hang
from curvestop.clients.remote.fork_gate import FORK_GATE
from curvestop.clients.remote.token import default_token_path, find_token
from curvestop.proto.endpoint import AUTHORIZATION, MISTAKE, MISTAKES

_log = logging.getLogger(__name__)


class ServerTrouble(Exception):
    """A call did not get through, and that is not the caller's fault. denied: for want of the right token."""

    def __init__(self, why: str, *, denied: bool = False) -> None:
        super().__init__(why)
        self.denied = denied


class Connection:
    """Channels to one or more servers that keep the same studies. It connects when first used.

    target: see `Channels`. token: see `find_token`.
    Raises ValueError (no such target), PermissionError (a named token file, or one for TLS, cannot be read).
    """

    def __init__(self, target: str, *, token: str | None = None, tls: ClientTls | None = None) -> None:
        self._servers = Channels(target, tls=tls)
        self._given_token = token
        self._token = find_token(token)
        self._lock = threading.Lock()  # guards _servers
        self._warned = False
        self._closed = False

    @property
    def address(self) -> str:
        """Of the server in use."""
        return self._servers.address

    def call(self, method: str, request: Any, *, deadline_s: float, wait_for_server: bool = False) -> Any:
        """Call a method; the caller's mistakes raise what they would raise in process (`MISTAKES`), all else ServerTrouble.

        A server that gives no answer is followed by the next one; each has its share of the time.
        """
        until = time.monotonic() + deadline_s
        for left in range(len(self._servers), 0, -1):
            try:
                return self._call(method, request, (until - time.monotonic()) / left, wait_for_server)
            except _NoAnswer as trouble:
                with self._lock:
                    self._servers.try_next(trouble.address)
                if left == 1:
                    raise
        raise AssertionError("there is a server at least")

    def close(self) -> None:
        self._closed = True
        with FORK_GATE:
            self._servers.close()

    def forked(self) -> None:
        """In a fork: start anew, for the channels and what held a lock have stayed behind."""
        self._lock = threading.Lock()
        self._servers.forget()

    def _call(self, method: str, request: Any, deadline_s: float, wait_for_server: bool) -> Any:
        if self._closed:
            raise ServerTrouble("the connection was closed")
        if deadline_s <= 0:
            raise ServerTrouble("the time is up")
        if would_hang():
            raise ServerTrouble(f"{FORK_SUPPORT} is off, so that gRPC does not work in a fork")
        # Not by gRPC's call credentials: those start a thread for each call, and a fork may wait a minute for it.
        metadata = ((AUTHORIZATION, f"Bearer {self._current_token()}"),)
        try:
            with FORK_GATE:
                with self._lock:
                    address, stub = self._servers.address, self._servers.stub()
                return getattr(stub, method)(request, timeout=deadline_s, metadata=metadata, wait_for_ready=wait_for_server)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                self._token = None  # read it again next time: a new server has a new one
            self._warn_once(error, address)
            raise _translated(error, deadline_s, address) from None

    def _warn_once(self, error: Any, address: str) -> None:
        refused = error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        if refused and not self._warned:
            self._warned = True
            _log.warning("SERVER %s REFUSES THIS CLIENT, nothing is stopped or stored: %s", address, error.details())

    def _current_token(self) -> str:
        try:
            self._token = self._token or find_token(self._given_token)
        except PermissionError as error:
            raise ServerTrouble(str(error), denied=True) from None
        if self._token is None:
            raise ServerTrouble(f"no token: CURVESTOP_TOKEN is not set and {default_token_path()} is not there", denied=True)
        return self._token


class _NoAnswer(ServerTrouble):
    def __init__(self, why: str, address: str) -> None:
        super().__init__(why)
        self.address = address


def _translated(error: Any, deadline_s: float, address: str) -> Exception:
    mistake = MISTAKES.get(dict(error.trailing_metadata() or ()).get(MISTAKE, ""))
    if mistake is not None:
        return mistake(error.details())
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return _NoAnswer("it cannot be reached", address)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return _NoAnswer(f"no answer within {deadline_s:.3g} s", address)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return ServerTrouble(error.details(), denied=True)
        case code:
            return ServerTrouble(f"{code.name}: {error.details()}")
