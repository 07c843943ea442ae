"""Who may call: whoever has the token. Every method needs it but the health check."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from curvestop.proto.endpoint import AUTHORIZATION, TOKEN_FILE

TOKEN_BYTES = 32
PUBLIC_METHODS = frozenset({"/grpc.health.v1.Health/Check"})


def read_or_make_token(folder: Path) -> tuple[str, Path]:
    """The token in a folder and its path; made there, for the owner's eyes only, when there is none.

    Raises OSError when it cannot be read or written, ValueError when the file is empty.
    """
    path = folder / TOKEN_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_token(path), path
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token, path


def _read_token(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} must hold a token, but is empty: delete it to have a new one made")
    return token


class TokenInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Answers UNAUTHENTICATED to every call, of a known method or not, that does not carry the token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._refuse = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        if handler_call_details.method in PUBLIC_METHODS or self._has_token(handler_call_details):
            return continuation(handler_call_details)
        return self._refuse

    def _has_token(self, call: grpc.HandlerCallDetails) -> bool:
        given = [value for key, value in call.invocation_metadata if key == AUTHORIZATION]
        return len(given) == 1 and hmac.compare_digest(_as_bytes(given[0]), self._expected)


def _refuse(request: bytes, context: grpc.ServicerContext) -> Any:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong; `curvestop token` prints where it is")


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
