"""The fitter: one thread that fits whatever models are due, so that no request waits for a fit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from curvestop.server.studies.durable_study import DurableStudy
from curvestop.srm.cooperative import pausing

DUTY_CYCLE = 9.0
"""While calls come, a fit rests between its models for so many times as long as it worked: they share the interpreter.

A lower priority would be worse: the thread would be held up by other processes while it has the interpreter, and all calls too.
"""
IDLE_AFTER_S = 0.05
"""No call for so long, and nobody is in the way of a fit."""

_log = logging.getLogger(__name__)


class BackgroundFitter:
    """Takes the studies that changed in turn, one fit each. on_fit: told how many seconds a fit took."""

    def __init__(self, on_fit: Callable[[float], None] = lambda seconds: None) -> None:
        self._on_fit = on_fit
        self._changed = threading.Condition()
        self._waiting: dict[int, DurableStudy] = {}
        self._busy = False
        self._closed = False
        self._n_wakes = self._n_awaiting = 0
        self._worked_s = 0.0  # by its thread until the last pause
        self._thread = threading.Thread(target=self._run, name="curvestop-fitter", daemon=True)
        self._thread.start()

    def wake(self, study: DurableStudy) -> None:
        """Say that fits of a study may be due."""
        with self._changed:
            self._n_wakes += 1
            self._waiting.setdefault(study.id, study)
            if not self._busy:
                self._changed.notify_all()

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no fit is due; False when that took longer than `timeout_s`."""
        with self._changed:
            self._n_awaiting += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)
            finally:
                self._n_awaiting -= 1

    def close(self, timeout_s: float = 0.0) -> None:
        """Start no further fit; wait up to `timeout_s` for the one that runs, whose result nobody needs any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (study := self._next()) is not None:
            try:
                with pausing(self._pause):
                    began = time.thread_time()
                    more = study.fit_next()
                    took = time.thread_time() - began
            except Exception:  # the thread outlives any study
                _log.exception("study %r: its fits are skipped until it changes", study.settings.name)
                continue
            if more:
                self._on_fit(took)
                self.wake(study)
                self._pause()

    def _pause(self) -> None:
        """Rest for what was worked since the last pause; until a lull, or until somebody waits for the fits."""
        worked_s = time.thread_time() - self._worked_s
        self._worked_s += worked_s
        until = time.monotonic() + DUTY_CYCLE * worked_s
        with self._changed:
            while (left := until - time.monotonic()) > 0:
                before = self._n_wakes
                if (
                    self._changed.wait_for(lambda: self._closed or self._n_awaiting, min(left, IDLE_AFTER_S))
                    or self._n_wakes == before
                ):
                    return

    def _next(self) -> DurableStudy | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._busy = True
            return self._waiting.pop(next(iter(self._waiting)))
