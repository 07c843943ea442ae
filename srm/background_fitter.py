"""Fits in threads of their own, so that no report waits for one: on a server for all its studies, in a driver for its one.

`DueFits` runs what is due of one study; `BackgroundFitter` has a thread for each tenant, which takes its studies in turn. One of
these threads computes at a time: at each pause of a fit, the tenant that used the least time of late goes on. So a short fit does
not wait for another tenant's long one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from curvestop.srm.cooperative import pausing
from curvestop.srm.predictors.registry import load_libraries
from curvestop.srm.study import Study

DUTY_CYCLE = 9.0
"""While calls come, a fit rests this many times as long as it worked: both share the interpreter.

A lower priority would be worse: other processes would hold the thread up while it has the interpreter, and with it all calls.
"""
IDLE_AFTER_S = 0.05
"""After so long without a call, a fit is in nobody's way."""
HALF_LIFE_S = 60.0
"""After so long, the time that a tenant's fits took counts half."""
SHORTEST_SLICE_S = 0.02
"""Pauses that follow each other more closely are left out."""
MIB = 1 << 20

_log = logging.getLogger(__name__)


class FitTooLarge(RuntimeError):
    """A fit took more time or memory than it may."""


@dataclass(frozen=True)
class FitBudget:
    """What one fit may use.

    Attributes:
        cpu_s: CPU seconds.
        memory_mib: MiB by which the process grows while it computes; where that cannot be read, memory is not bounded.
    """

    cpu_s: float
    memory_mib: float

    def check(self, cpu_s: float, memory_mib: float) -> None:
        """Raise FitTooLarge if a fit has used more."""
        if cpu_s > self.cpu_s:
            raise FitTooLarge(f"a fit may take {self.cpu_s:g} CPU seconds, and this one took more; {_INSTEAD}")
        if memory_mib > self.memory_mib:
            raise FitTooLarge(f"a fit may take {self.memory_mib:g} MiB of memory, and this one needs more; {_INSTEAD}")


_INSTEAD = "take a predictor that needs less, such as 'stacked', or a smaller max_epochs, with every k-th epoch reported"


class DueFits:
    """The fits that are due of one study, run one at a time outside its lock.

    A fit that failed is logged and not tried again on the same curves.

    Args:
        lock: Guards the study.
        study: Returns the study; called with the lock held.
    """

    def __init__(self, lock: AbstractContextManager[object], study: Callable[[], Study]) -> None:
        self._lock, self._study = lock, study

    def prepare_next(self) -> None:
        """Load what the predictor computes with if a fit is due."""
        with self._lock:
            study = self._study()
            is_due = any(study.forecasts.n_due(t) != study.forecasts.n_fitted(t) for t in study.forecasts.targets())
        if is_due:
            load_libraries(study.settings.predictor)

    def run_next(self) -> bool:
        """Run one fit that is due; return whether there was one."""
        with self._lock:
            study = self._study()
            job = next(study.forecasts.due(), None)
        if job is None:
            return False
        try:
            models = job.run()
        except Exception as error:  # whatever a predictor raises: the study continues without these models
            with self._lock:
                study.forecasts.fail(job, error)
            return True
        with self._lock:
            study.forecasts.install(models)  # of no use if the owner forgot this study meanwhile, and harmless
        return True


class Fittable(Protocol):
    """A study whose fits run in the background.

    Attributes:
        id: Number that tells it from all others of the fitter.
        tenant: Whose study it is; the tenants' fits share the time.
    """

    id: int
    tenant: str

    def prepare_fit(self) -> None:
        """Do what a fit that is due needs and where it could not pause, such as importing libraries; outside its time slices."""
        ...

    def fit_next(self) -> bool:
        """Run one fit that is due; return whether there was one."""
        ...


class BackgroundFitter:
    """Threads that take the studies that changed in turn, one fit each; one of them computes at a time.

    Args:
        on_fit: Called with the CPU seconds that a fit took.
        duty_cycle: How many times as long as it worked a fit rests while calls come.
        budget: What one fit may use; None for any amount.
    """

    def __init__(
        self,
        on_fit: Callable[[float], None] = lambda seconds: None,
        *,
        duty_cycle: float = DUTY_CYCLE,
        budget: FitBudget | None = None,
    ) -> None:
        self._on_fit, self._duty_cycle, self._budget = on_fit, duty_cycle, budget
        # All that follows is guarded by one lock. A tenant's thread that has nothing to do waits for its own condition, so that
        # a call does not wake the threads of all tenants.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tenants: dict[str, _Tenant] = {}
        self._computing: _Tenant | None = None
        self._closed = False
        self._n_wakes = self._n_awaiting = 0
        self._halved_at = time.monotonic()

    def wake(self, study: Fittable) -> None:
        """Announce that fits of a study may be due.

        Args:
            study: The study that changed; announced several times before a fit, it is taken once.
        """
        with self._lock:
            self._n_wakes += 1
            tenant = self._tenants.get(study.tenant) or self._add_tenant(study.tenant)
            tenant.waiting.setdefault(study.id, study)
            # A busy thread looks for waiting studies by itself when its fit is done.
            if not tenant.busy:
                tenant.woken.notify()

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no fit is due; return False if that took longer than `timeout_s`.

        Args:
            timeout_s: Longest wait, in seconds. While somebody waits, fits do not rest.
        """
        with self._lock:
            self._n_awaiting += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: not any(tenant.busy or tenant.waiting for tenant in self._tenants.values()), timeout_s
                )
            finally:
                self._n_awaiting -= 1

    def close(self, timeout_s: float = 0.0) -> None:
        """Start no further fit; wait up to `timeout_s` for the running ones, whose results nobody needs any more.

        Args:
            timeout_s: Longest wait, in seconds; 0 (default) leaves the running fits to daemon threads.
        """
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            tenants = list(self._tenants.values())
            for tenant in tenants:
                tenant.woken.notify()
        until = time.monotonic() + timeout_s
        for tenant in tenants:
            tenant.thread.join(max(0.0, until - time.monotonic()))

    def _add_tenant(self, name: str) -> _Tenant:
        tenant = self._tenants[name] = _Tenant(name, self._lock, self._run)
        if not self._closed:
            tenant.thread.start()
        return tenant

    # Each tenant's thread.

    def _run(self, tenant: _Tenant) -> None:
        while (study := self._next(tenant)) is not None:
            try:
                study.prepare_fit()
            except Exception:  # the fit will fail for the same reason, and say so
                _log.debug("study %d: a fit could not be prepared", study.id, exc_info=True)
            self._await_slice(tenant)
            fit = _Fit(self._budget)
            try:
                with pausing(partial(self._pause, tenant, fit)):
                    more = study.fit_next()
            except Exception:  # the thread outlives any study
                _log.exception("study %d: its fits are skipped until it changes", study.id)
                more = False
            worked_s = fit.worked()
            self._end_slice(tenant, worked_s)
            if more:
                self._on_fit(fit.cpu_s)
                # To the end of the queue, so that a study with many fits does not hold up the tenant's others.
                self.wake(study)
                self._rest(worked_s)

    def _pause(self, tenant: _Tenant, fit: _Fit, n_bytes: int) -> None:
        """Rest for the work since the last pause, and go on when no other tenant comes first."""
        if fit.worked_s < SHORTEST_SLICE_S and n_bytes < MIB:
            return
        worked_s = fit.worked()
        fit.check(n_bytes / MIB)
        self._end_slice(tenant, worked_s)
        self._rest(worked_s)
        self._await_slice(tenant)
        fit.go_on()

    def _rest(self, worked_s: float) -> None:
        """Rest for the work since the last pause; until no call comes, or until somebody waits for the fits."""
        until = time.monotonic() + self._duty_cycle * worked_s
        with self._lock:
            while (left := until - time.monotonic()) > 0:
                before = self._n_wakes
                slice_s = min(left, IDLE_AFTER_S)
                is_wanted = self._changed.wait_for(lambda: self._closed or self._n_awaiting, slice_s)
                # Every call that stores values wakes the fitter: a slice without a wake is one in which nobody is slowed down.
                if is_wanted or self._n_wakes == before:
                    return

    def _await_slice(self, tenant: _Tenant) -> None:
        with self._lock:
            tenant.is_ready = True
            self._changed.wait_for(lambda: self._closed or self._is_next(tenant))
            tenant.is_ready = False
            self._computing = tenant

    def _is_next(self, tenant: _Tenant) -> bool:
        if self._computing is not None:
            return False
        return all(tenant.used_s <= other.used_s for other in self._tenants.values() if other.is_ready)

    def _end_slice(self, tenant: _Tenant, worked_s: float) -> None:
        now = time.monotonic()
        with self._lock:
            halves = 0.5 ** ((now - self._halved_at) / HALF_LIFE_S)
            self._halved_at = now
            for each in self._tenants.values():
                each.used_s *= halves
            tenant.used_s += worked_s
            self._computing = None
            self._changed.notify_all()

    def _next(self, tenant: _Tenant) -> Fittable | None:
        with self._lock:
            tenant.busy = False
            if not tenant.waiting:
                self._changed.notify_all()
            tenant.woken.wait_for(lambda: tenant.waiting or self._closed)
            if self._closed:
                return None
            tenant.busy = True
            return tenant.waiting.pop(next(iter(tenant.waiting)))


class _Tenant:
    """The studies of one tenant whose fits may be due, and the thread that runs them."""

    def __init__(self, name: str, lock: threading.Lock, run: Callable[[_Tenant], None]) -> None:
        self.waiting: dict[int, Fittable] = {}
        self.busy = self.is_ready = False
        self.used_s = 0.0  # CPU seconds of late
        self.woken = threading.Condition(lock)
        self.thread = threading.Thread(target=run, args=(self,), name=f"curvestop-fitter-{name}", daemon=True)


class _Fit:
    """What a fit used so far: CPU seconds of this thread, as its rests are no work, and memory in its time slices."""

    def __init__(self, budget: FitBudget | None) -> None:
        self._budget, self.cpu_s, self.memory_mib = budget, 0.0, 0.0
        self.go_on()

    def go_on(self) -> None:
        self._cpu_s, self._resident = time.thread_time(), _resident_mib()

    def worked(self) -> float:
        """Return the CPU seconds since `go_on`, and count them."""
        worked_s = self.worked_s
        self.cpu_s += worked_s
        self.memory_mib += _resident_mib() - self._resident
        self.go_on()
        return worked_s

    @property
    def worked_s(self) -> float:
        return time.thread_time() - self._cpu_s

    def check(self, further_mib: float) -> None:
        if self._budget is not None:
            self._budget.check(self.cpu_s, self.memory_mib + further_mib)


_STATM = Path("/proc/self/statm")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / MIB


def _resident_mib() -> float:
    """Return how much memory this process has; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_MIB
    except OSError:
        return 0.0
