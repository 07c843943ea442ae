"""The gate: every call of every method passes here before a thread is spent on it. What is not allowed by a table is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc

from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import PUSHBACK
from curvestop.server.rpc.tenant_pools import TenantPools
from curvestop.server.rpc.tokens import ROLES, Caller, Role, Tokens

SERVICE = pb.DESCRIPTOR.services_by_name["EarlyStopping"]
HEALTH_CHECK = "/grpc.health.v1.Health/Check"

LEAST_ROLE: Mapping[str, Role] = {
    "GetStudy": "viewer",
    "ListStudies": "viewer",
    "ListTrials": "viewer",
    "ReadLog": "viewer",
    "Predict": "viewer",
    "PredictBatch": "viewer",
    "CreateStudy": "trainer",
    "Report": "trainer",
    "ReportBatch": "trainer",
    "FinishTrial": "trainer",
}
"""Methods of the service; one that is missing here is open to nobody."""

RETRY_AFTER_MS = 200

Continue = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


class AuthInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Authenticates, authorises and admits; the calls it lets pass run in the caller's pool.

    on_refused: told the method and the status of what is refused.
    """

    def __init__(
        self, tokens: Tokens, pools: TenantPools, *, on_refused: Callable[[str, str], None] = lambda method, status: None
    ):
        self._tokens, self._pools, self._on_refused = tokens, pools, on_refused
        self._draining = False
        self._methods = {f"/{SERVICE.full_name}/{name}": role for name, role in LEAST_ROLE.items()}
        unavailable = grpc.StatusCode.UNAVAILABLE
        self._no_token = self._refusal(
            grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong; `curvestop token` prints where it is"
        )
        self._not_allowed = self._refusal(grpc.StatusCode.PERMISSION_DENIED, "this token may not call this method")
        self._full = self._refusal(unavailable, "too many calls at once: come again", come_again_ms=pools.backoff.next_ms)
        self._leaving = self._refusal(unavailable, "the server is stopping", come_again_ms=lambda: RETRY_AFTER_MS)

    async def intercept_service(  # type: ignore[override]  # the stubs do not know that it may be None
        self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        if method == HEALTH_CHECK:
            return await continuation(handler_call_details)
        caller = self._tokens.caller(handler_call_details.invocation_metadata)
        if caller is None:
            return self._refuse(method, self._no_token)
        if method not in self._methods:  # health's other methods, and what is no method at all
            return await continuation(handler_call_details)
        if not self._allows(method, caller):
            return self._refuse(method, self._not_allowed)
        if self._draining:
            return self._refuse(method, self._leaving)
        pool = self._pools.of(caller.tenant)
        return self._refuse(method, self._full) if pool.is_full else pool.handlers[method]

    def drain(self) -> None:
        """Let nothing new in."""
        self._draining = True

    def _allows(self, method: str, caller: Caller) -> bool:
        return ROLES.index(caller.role) >= ROLES.index(self._methods[method])

    def _refuse(self, method: str, refusal: tuple[str, grpc.RpcMethodHandler[Any, Any]]) -> grpc.RpcMethodHandler[Any, Any]:
        status, handler = refusal
        self._on_refused(method, status)
        return handler

    def _refusal(
        self, status: grpc.StatusCode, why: str, *, come_again_ms: Callable[[], int] | None = None
    ) -> tuple[str, grpc.RpcMethodHandler[Any, Any]]:
        """A handler for a stream of requests, because it need not wait for the one that a slow attacker never sends."""

        async def refuse(requests: object, context: Any) -> None:
            trailing = () if come_again_ms is None else ((PUSHBACK, str(come_again_ms())),)
            await context.abort(status, why, trailing)

        return status.name, grpc.stream_unary_rpc_method_handler(refuse)
