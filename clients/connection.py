"""A connection: one RPC within a deadline, with the caller's mistakes told apart from the server's troubles."""

from __future__ import annotations

import json
from typing import Any

import grpc

from curvestop.clients.token import default_token_path, find_token
from curvestop.proto.early_stopping_pb2_grpc import EarlyStoppingStub
from curvestop.proto.endpoint import MISTAKE, MISTAKES, parse_target, with_port

LARGEST_ANSWER_BYTES = 64 << 20
RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],  # not RESOURCE_EXHAUSTED: too large stays too large
}
OPTIONS = (
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRY}]})),
    ("grpc.max_receive_message_length", LARGEST_ANSWER_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),  # the server is on this machine
)


class ServerTrouble(Exception):
    """A call did not get through, and that is not the caller's fault. denied: for want of the right token."""

    def __init__(self, why: str, *, denied: bool = False) -> None:
        super().__init__(why)
        self.denied = denied


class Connection:
    """A channel to one server of this machine. It connects when first used.

    target: `HOST:PORT` or `HOST`. token: see `find_token`.
    Raises ValueError (no such target), PermissionError (a named token file cannot be read).
    """

    def __init__(self, target: str, *, token: str | None = None) -> None:
        self.address = with_port(*parse_target(target))
        self._given_token = token
        self._token = find_token(token)
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        self._channel = grpc.secure_channel(self.address, credentials, options=OPTIONS)
        self._stub: Any = EarlyStoppingStub(self._channel)  # type: ignore[no-untyped-call]
        self._closed = False

    def call(self, method: str, request: Any, *, deadline_s: float, wait_for_server: bool = False) -> Any:
        """Call a method; the caller's mistakes raise what they would raise in process (`MISTAKES`), all else ServerTrouble."""
        if self._closed:
            raise ServerTrouble("the connection was closed")
        if deadline_s <= 0:
            raise ServerTrouble("the time is up")
        credentials = grpc.access_token_call_credentials(self._current_token())
        try:
            return getattr(self._stub, method)(
                request, timeout=deadline_s, credentials=credentials, wait_for_ready=wait_for_server
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                self._token = None  # read it again next time: a new server has a new one
            raise _translated(error, deadline_s) from None

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def _current_token(self) -> str:
        try:
            self._token = self._token or find_token(self._given_token)
        except PermissionError as error:
            raise ServerTrouble(str(error), denied=True) from None
        if self._token is None:
            raise ServerTrouble(f"no token: CURVESTOP_TOKEN is not set and {default_token_path()} is not there", denied=True)
        return self._token


def _translated(error: Any, deadline_s: float) -> Exception:
    mistake = MISTAKES.get(dict(error.trailing_metadata() or ()).get(MISTAKE, ""))
    if mistake is not None:
        return mistake(error.details())
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return ServerTrouble("it cannot be reached")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerTrouble(f"no answer within {deadline_s:.3g} s")
        case grpc.StatusCode.UNAUTHENTICATED:
            return ServerTrouble(error.details(), denied=True)
        case code:
            return ServerTrouble(f"{code.name}: {error.details()}")
