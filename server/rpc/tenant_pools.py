"""Tenant pools (bulkheads): each tenant has its own threads and a bounded number of calls, so none waits behind another's."""

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
from curvestop.server.rpc.tokens import ROLES, Role

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Per tenant. They wait for locks and the disk more than they compute, so there are more than cores.
N_THREADS = 32
MAX_CALLS = 128
"""Default maximum of concurrent calls per tenant, running and waiting; further calls are rejected with a retry delay."""

SHARE = 4
"""Under contention a tenant may use max_calls / SHARE calls, at least two, because all calls pass through one event loop."""

# By full method name, like "/curvestop.v1.EarlyStopping/Report".
Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
OnDone = Callable[[], None]


class TooManyCalls(RuntimeError):
    """A tenant has as many concurrent calls as it may have.

    Args:
        retry_after_ms: Milliseconds after which the caller should retry.
    """

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"too many concurrent calls; retry after {retry_after_ms / 1000:.1f} s")
        self.retry_after_ms = retry_after_ms


class StartedWork(Protocol[T_co]):
    """Work that was begun in another thread, and its result once it is done."""

    def result(self) -> T_co:
        """Return the result, or raise what went wrong. Called only when the work is done."""
        ...


class TenantPool:
    """The calls of one tenant.

    A call counts until all the work it began is done, even if its caller gave up earlier: so abandoned calls cannot pile up.
    Everything but the threads is used in the event loop only, so there is no lock.

    Args:
        tenant: The tenant's name.
        make_handlers: Makes the RPC handlers of the tenant's callers of a role, by full method name.
        max_calls: Maximum of concurrent calls, >= 1.
        callbacks: Brings the results of other threads back into the event loop.
        backoff: Gives rejected callers their retry delays.
        contention: Knows whether other tenants call too.
    """

    def __init__(
        self,
        tenant: str,
        make_handlers: Callable[[TenantPool, Role], Handlers],
        *,
        max_calls: int,
        callbacks: CallbackQueue,
        backoff: RetryBackoff,
        contention: ContentionDetector,
    ) -> None:
        self.tenant, self._max_calls = tenant, max_calls
        self._callbacks, self._backoff, self._contention = callbacks, backoff, contention
        self.threads = ThreadPoolExecutor(N_THREADS, f"curvestop-{tenant}")
        self.listing_thread = ThreadPoolExecutor(1, f"curvestop-{tenant}-listing")
        self.n_calls = 0
        self._idle: asyncio.Event | None = None  # set once while a drain waits
        # Last: the handlers use all of the above.
        self.handlers: Mapping[Role, Handlers] = {role: make_handlers(self, role) for role in ROLES}

    @property
    def is_full(self) -> bool:
        """Whether a further call must be rejected."""
        return self.n_calls >= (self._contended_max if self._contention.is_contended else self._max_calls)

    # At least two calls, so that a tenant's slow call does not lock it out.
    @property
    def _contended_max(self) -> int:
        return min(self._max_calls, max(self._max_calls // SHARE, 2))

    async def await_work(self, begin: Callable[[OnDone], StartedWork[T]]) -> T:
        """Begin work that other threads do, and wait for its result without holding a thread.

        Args:
            begin: Starts the work. It is given a callback, which must be called once when the work is done, in any thread.

        Returns:
            The work's result; what it raises is raised here.

        Raises:
            TooManyCalls: If the pool is full.
        """
        if self.is_full:
            raise TooManyCalls(self._backoff.next_ms())
        # The future only signals: the result is taken from the work itself, so its exceptions keep their traceback.
        done = loop().create_future()
        work = begin(partial(self._callbacks.add, partial(self._end, done)))
        # Counted after `begin`, which may raise. No callback can have run yet: they run in this loop, which is busy here.
        self.n_calls += 1
        await done
        return work.result()

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        """Run a function in a thread of the pool.

        Args:
            work: The function; it may block.

        Returns:
            What the function returns; what it raises is raised here.

        Raises:
            TooManyCalls: If the pool is full.
        """
        return await self._run_in(self.threads, work)

    async def run_listing(self, work: Callable[[], T]) -> T:
        """Run a function that computes for long, after those that were given before; see `run_in_thread`."""
        return await self._run_in(self.listing_thread, work)

    async def _run_in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        def begin(on_done: OnDone) -> Future[T]:
            future = threads.submit(work)
            future.add_done_callback(lambda _: on_done())
            return future

        return await self.await_work(begin)

    async def wait_idle(self, timeout_s: float) -> None:
        """Wait until no call runs, for `timeout_s` seconds at most.

        Args:
            timeout_s: In seconds; 0 or less does not wait. Whether calls still run is in `n_calls`.
        """
        if self.n_calls and timeout_s > 0:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _end(self, done: asyncio.Future[None]) -> None:
        # Runs in the event loop, also for calls whose caller is gone.
        self.n_calls -= 1
        if not done.done():  # its caller may have given up
            done.set_result(None)
        if self.n_calls == 0 and self._idle is not None:
            self._idle.set()


class TenantPools:
    """The pools of all tenants that ever called.

    Args:
        make_handlers: Makes the RPC handlers of a pool's callers of a role, by full method name.
        max_calls: Maximum of concurrent calls per tenant, >= 1.
    """

    def __init__(self, make_handlers: Callable[[TenantPool, Role], Handlers], *, max_calls: int = MAX_CALLS) -> None:
        self._make_handlers, self._max_calls = make_handlers, max_calls
        self._callbacks, self.backoff, self._contention = CallbackQueue(), RetryBackoff(), ContentionDetector()
        self._pools: dict[str, TenantPool] = {}

    def for_call(self, tenant: str) -> TenantPool:
        """Return the pool of a tenant that calls now, made at its first call. Called in the event loop only.

        Args:
            tenant: The tenant of an authenticated caller, so strangers make no pools.
        """
        self._contention.record_call(tenant)
        pool = self._pools.get(tenant)
        if pool is None:
            pool = self._pools[tenant] = TenantPool(
                tenant,
                self._make_handlers,
                max_calls=self._max_calls,
                callbacks=self._callbacks,
                backoff=self.backoff,
                contention=self._contention,
            )
        return pool

    def all(self) -> tuple[TenantPool, ...]:
        """Return the pools of all tenants, oldest first."""
        return tuple(self._pools.values())

    def close(self) -> None:
        """Shut the threads down without waiting for the calls that run."""
        for pool in self.all():
            pool.threads.shutdown(wait=False)
            pool.listing_thread.shutdown(wait=False)
