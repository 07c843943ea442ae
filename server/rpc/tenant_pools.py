"""TenantPools: every tenant has threads of its own and a bounded number of calls, so that none waits behind another's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc

from curvestop.server.rpc.contention import ContentionDetector
from curvestop.server.rpc.event_loop import CallbackQueue, loop
from curvestop.server.rpc.retry_backoff import RetryBackoff

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

N_THREADS = 32
MAX_CALLS = 128
"""Calls of one tenant that run or wait at once; more are told to come again."""
SHARE = 4
"""Of them a tenant has the SHARE-th part, two at least, while others call too: all calls pass through one loop."""

Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
Then = Callable[[], None]


class TooManyCalls(RuntimeError):
    """A tenant has as many calls at once as it may. come_again_ms: when to try once more."""

    def __init__(self, come_again_ms: int) -> None:
        super().__init__("too many calls at once: come again")
        self.come_again_ms = come_again_ms


class Ongoing(Protocol[T_co]):
    """Work that others do."""

    def result(self) -> T_co:
        """Of what is done. Raises what went wrong."""
        ...


class TenantPool:
    """A tenant's calls. Each counts until all it began is done, though its caller may have given up.

    handlers: by full method name. All but `pool` belongs to the loop.
    """

    def __init__(
        self,
        tenant: str,
        make_handlers: Callable[[TenantPool], Handlers],
        *,
        max_calls: int,
        returns: CallbackQueue,
        backoff: RetryBackoff,
        contention: ContentionDetector,
    ) -> None:
        self.tenant, self._max_calls, self._returns, self._pushback = tenant, max_calls, returns, backoff
        self._contention = contention
        self.pool = ThreadPoolExecutor(N_THREADS, f"curvestop-{tenant}")
        self.n_calls = 0
        self._idle: asyncio.Event | None = None
        self.handlers = make_handlers(self)

    @property
    def is_full(self) -> bool:
        return self.n_calls >= (self._shared_max if self._contention.is_contended else self._max_calls)

    @property
    def _shared_max(self) -> int:
        return min(self._max_calls, max(self._max_calls // SHARE, 2))

    async def done_by_others(self, begin: Callable[[Then], Ongoing[T]]) -> T:
        """begin: starts work and has what it is given called, in any thread, when that is done. Raises TooManyCalls."""
        if self.is_full:
            raise TooManyCalls(self._pushback.next_ms())
        done = loop().create_future()
        ongoing = begin(partial(self._returns.add, partial(self._end, done)))
        self.n_calls += 1
        await done
        return ongoing.result()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do this in a thread of the pool. Raises what it raises, and TooManyCalls."""

        def begin(then: Then) -> Future[T]:
            future = self.pool.submit(work)
            future.add_done_callback(lambda _: then())
            return future

        return await self.done_by_others(begin)

    async def idle(self, timeout_s: float) -> None:
        """Wait until there is no call, but not for longer."""
        if self.n_calls and timeout_s > 0:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _end(self, done: asyncio.Future[None]) -> None:
        self.n_calls -= 1
        if not done.done():  # its caller may have given up
            done.set_result(None)
        if self.n_calls == 0 and self._idle is not None:
            self._idle.set()


class TenantPools:
    """The pool of each tenant that ever called. make_handlers: of a pool."""

    def __init__(self, make_handlers: Callable[[TenantPool], Handlers], *, max_calls: int = MAX_CALLS) -> None:
        self._make_handlers, self._max_calls = make_handlers, max_calls
        self._returns, self.backoff, self._contention = CallbackQueue(), RetryBackoff(), ContentionDetector()
        self._pools: dict[str, TenantPool] = {}

    def of(self, tenant: str) -> TenantPool:
        """Of a tenant that calls, in the loop."""
        self._contention.seen(tenant)
        pool = self._pools.get(tenant)
        if pool is None:
            pool = self._pools[tenant] = TenantPool(
                tenant,
                self._make_handlers,
                max_calls=self._max_calls,
                returns=self._returns,
                backoff=self.backoff,
                contention=self._contention,
            )
        return pool

    def all(self) -> tuple[TenantPool, ...]:
        return tuple(self._pools.values())

    def close(self) -> None:
        for pool in self.all():
            pool.pool.shutdown(wait=False)
