"""Fits in a thread of their own, so that no report waits for one: on a server for all its studies, in a driver for its one.

`DueFits` runs what is due of one study; `BackgroundFitter` is the thread that takes studies in turn.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from curvestop.srm.cooperative import pausing
from curvestop.srm.study import Study

DUTY_CYCLE = 9.0
"""While calls come, a fit rests this many times as long as it worked: both share the interpreter.

A lower priority would be worse: other processes would hold the thread up while it has the interpreter, and with it all calls.
"""
IDLE_AFTER_S = 0.05
"""After so long without a call, a fit is in nobody's way."""

_log = logging.getLogger(__name__)


class DueFits:
    """The fits that are due of one study, run one at a time outside its lock.

    A fit that failed is logged and not tried again on the same curves.

    Args:
        lock: Guards the study.
        study: Returns the study; called with the lock held.
    """

    def __init__(self, lock: AbstractContextManager[object], study: Callable[[], Study]) -> None:
        self._lock, self._study = lock, study

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
    """

    id: int

    def fit_next(self) -> bool:
        """Run one fit that is due; return whether there was one."""
        ...


class BackgroundFitter:
    """A thread that takes the studies that changed in turn, one fit each.

    Args:
        on_fit: Called with the CPU seconds that a fit took.
        duty_cycle: How many times as long as it worked a fit rests while calls come.
    """

    def __init__(self, on_fit: Callable[[float], None] = lambda seconds: None, *, duty_cycle: float = DUTY_CYCLE) -> None:
        self._on_fit, self._duty_cycle = on_fit, duty_cycle
        self._changed = threading.Condition()
        self._waiting: dict[int, Fittable] = {}
        self._busy = False
        self._closed = False
        self._n_wakes = self._n_awaiting = 0
        self._worked_s = 0.0  # by its thread until the last pause
        self._thread = threading.Thread(target=self._run, name="curvestop-fitter", daemon=True)
        self._thread.start()

    def wake(self, study: Fittable) -> None:
        """Announce that fits of a study may be due.

        Args:
            study: The study that changed; announced several times before its turn, it is taken once.
        """
        with self._changed:
            self._n_wakes += 1
            self._waiting.setdefault(study.id, study)
            # A busy thread looks for waiting studies by itself when its fit is done.
            if not self._busy:
                self._changed.notify_all()

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no fit is due; return False if that took longer than `timeout_s`.

        Args:
            timeout_s: Longest wait, in seconds. While somebody waits, fits do not rest.
        """
        with self._changed:
            self._n_awaiting += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)
            finally:
                self._n_awaiting -= 1

    def close(self, timeout_s: float = 0.0) -> None:
        """Start no further fit; wait up to `timeout_s` for the running one, whose result nobody needs any more.

        Args:
            timeout_s: Longest wait, in seconds; 0 (default) leaves the running fit to a daemon thread.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (study := self._next()) is not None:
            try:
                with pausing(self._pause):
                    # CPU seconds of this thread: its rests within the fit are no work.
                    began = time.thread_time()
                    more = study.fit_next()
                    took = time.thread_time() - began
            except Exception:  # the thread outlives any study
                _log.exception("study %d: its fits are skipped until it changes", study.id)
                continue
            if more:
                self._on_fit(took)
                # To the end of the queue, so that a study with many fits does not hold up the others.
                self.wake(study)
                self._pause()

    def _pause(self) -> None:
        """Rest for the work since the last pause; until no call comes, or until somebody waits for the fits."""
        worked_s = time.thread_time() - self._worked_s
        self._worked_s += worked_s
        until = time.monotonic() + self._duty_cycle * worked_s
        with self._changed:
            while (left := until - time.monotonic()) > 0:
                before = self._n_wakes
                slice_s = min(left, IDLE_AFTER_S)
                is_wanted = self._changed.wait_for(lambda: self._closed or self._n_awaiting, slice_s)
                # Every call that stores values wakes the fitter: a slice without a wake is one in which nobody is slowed down.
                if is_wanted or self._n_wakes == before:
                    return

    def _next(self) -> Fittable | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._busy = True
            return self._waiting.pop(next(iter(self._waiting)))
