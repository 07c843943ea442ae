"""The interceptor: every call passes here before a thread is spent on it. What a table does not allow is refused."""

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
    "SecondChances": "viewer",
    "CreateStudy": "trainer",
    "Report": "trainer",
    "ReportBatch": "trainer",
    "FinishTrial": "trainer",
    "Resume": "trainer",
}
"""The least role that may call each method. A method that is missing here is denied to everyone."""

RETRY_AFTER_MS = 200
"""Retry delay where overload is not the reason: the server stops, or the database does not answer."""

Continue = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]
Refusal = tuple[str, "grpc.RpcMethodHandler[Any, Any]"]
"""The name of a status, and the handler that answers a call with it."""


class AuthInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Authenticates, authorizes and admits calls; an admitted call runs in its tenant's pool.

    Args:
        tokens: Knows the caller by its token.
        pools: Holds the handlers and the admission limit of each tenant.
        on_refused: Called with the full method name and the status name of each refused call.
    """

    def __init__(
        self, tokens: Tokens, pools: TenantPools, *, on_refused: Callable[[str, str], None] = lambda method, status: None
    ):
        self._tokens, self._pools, self._on_refused = tokens, pools, on_refused
        self._draining = False
        # By full name, as calls come: one look-up for each.
        self._role_of = {f"/{SERVICE.full_name}/{name}": role for name, role in LEAST_ROLE.items()}
        unavailable = grpc.StatusCode.UNAVAILABLE
        # Refusals are made once: a server under attack sends little else.
        self._no_token = _refusal(
            grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong; on the server `curvestop token` prints its file"
        )
        self._denied = _refusal(
            grpc.StatusCode.PERMISSION_DENIED, "this token's role may not call this method; use a token of role trainer"
        )
        self._overloaded = _refusal(unavailable, "too many concurrent calls; retry later", retry_after_ms=pools.backoff.next_ms)
        self._stopping = _refusal(
            unavailable, "the server is stopping; retry once it has restarted", retry_after_ms=lambda: RETRY_AFTER_MS
        )

    async def intercept_service(  # type: ignore[override]  # the stubs do not know that it may be None
        self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Choose who handles a call: the tenant's own handler, a refusal, or gRPC itself.

        Args:
            continuation: Gives the handler that was registered with the server.
            handler_call_details: The method's full name and the caller's metadata.

        Returns:
            The handler; None for a method that nobody handles, which gRPC answers with UNIMPLEMENTED.
        """
        method = handler_call_details.method
        if method == HEALTH_CHECK:  # the one method without a token: load balancers have none
            return await continuation(handler_call_details)
        caller = self._tokens.authenticate(handler_call_details.invocation_metadata)
        if caller is None:
            return self._refuse(method, self._no_token)
        if method not in self._role_of:  # health's other methods, and names of no method
            return await continuation(handler_call_details)
        if not self._allows(method, caller):
            return self._refuse(method, self._denied)
        if self._draining:
            return self._refuse(method, self._stopping)
        pool = self._pools.for_call(caller.tenant)
        return self._refuse(method, self._overloaded) if pool.is_full else pool.handlers[caller.role][method]

    def drain(self) -> None:
        """Refuse all calls from now on."""
        self._draining = True

    def _allows(self, method: str, caller: Caller) -> bool:
        # Roles include each other: a trainer may do all that a viewer may.
        return ROLES.index(caller.role) >= ROLES.index(self._role_of[method])

    def _refuse(self, method: str, refusal: Refusal) -> grpc.RpcMethodHandler[Any, Any]:
        status, handler = refusal
        self._on_refused(method, status)
        return handler


def _refusal(status: grpc.StatusCode, why: str, *, retry_after_ms: Callable[[], int] | None = None) -> Refusal:
    """Make a handler that answers every call with one status."""

    async def refuse(requests: object, context: Any) -> None:
        trailing = () if retry_after_ms is None else ((PUSHBACK, str(retry_after_ms())),)
        await context.abort(status, why, trailing)

    # A handler for a stream of requests need not wait for the request, which a slow attacker never sends.
    return status.name, grpc.stream_unary_rpc_method_handler(refuse)
