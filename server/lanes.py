"""Lanes: every tenant has threads of its own and a bounded queue before them, so that none waits behind another's calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import grpc

P = ParamSpec("P")
T = TypeVar("T")

N_THREADS = 32
MAX_CALLS = 128
"""Calls of one tenant that run or wait at once; more are told to come again."""

Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


class CountingPool(ThreadPoolExecutor):
    """A pool that knows how many calls it has not finished, those that gRPC gives up on included."""

    def __init__(self, n_threads: int, name: str) -> None:
        super().__init__(n_threads, thread_name_prefix=name)
        self._counting = threading.Condition()
        self.n_calls = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with self._counting:
            self.n_calls += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._count_down)
        return future

    def wait_idle(self, timeout_s: float) -> bool:
        with self._counting:
            return self._counting.wait_for(lambda: self.n_calls == 0, timeout_s)

    def _count_down(self, _: Future[Any]) -> None:
        with self._counting:
            self.n_calls -= 1
            if self.n_calls == 0:
                self._counting.notify_all()


class Lane:
    """A tenant's threads and the handlers that run on them, by full method name."""

    def __init__(self, tenant: str, make_handlers: Callable[[str], Handlers], *, max_calls: int) -> None:
        self.tenant, self._max_calls = tenant, max_calls
        self.pool = CountingPool(N_THREADS, f"curvestop-{tenant}")
        self.handlers = make_handlers(tenant)
        for handler in self.handlers.values():
            handler.unary_unary.experimental_thread_pool = self.pool  # type: ignore[union-attr]  # gRPC looks for it

    @property
    def is_full(self) -> bool:
        return self.pool.n_calls >= self._max_calls


class Lanes:
    """The lane of each tenant that ever called. make_handlers: a tenant's, each behaviour a function of its own."""

    def __init__(self, make_handlers: Callable[[str], Handlers], *, max_calls: int = MAX_CALLS) -> None:
        self._make_handlers, self._max_calls = make_handlers, max_calls
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}

    def of(self, tenant: str) -> Lane:
        lane = self._lanes.get(tenant)
        if lane is None:
            with self._lock:
                lane = self._lanes.get(tenant) or Lane(tenant, self._make_handlers, max_calls=self._max_calls)
                self._lanes[tenant] = lane
        return lane

    def all(self) -> tuple[Lane, ...]:
        with self._lock:
            return tuple(self._lanes.values())

    def close(self) -> None:
        for lane in self.all():
            lane.pool.shutdown(wait=False)
