"""The fitter: one thread of low priority that fits whatever models are due, so that no request waits for a fit."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from curvestop.server.served_study import ServedStudy

LOWEST_PRIORITY = 19

_log = logging.getLogger(__name__)


class Fitter:
    """Takes the studies that changed in turn, one fit each. on_fit: told how many seconds a fit took."""

    def __init__(self, on_fit: Callable[[float], None] = lambda seconds: None) -> None:
        self._on_fit = on_fit
        self._changed = threading.Condition()
        self._waiting: dict[int, ServedStudy] = {}
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="curvestop-fitter", daemon=True)
        self._thread.start()

    def wake(self, study: ServedStudy) -> None:
        """Say that fits of a study may be due."""
        with self._changed:
            self._waiting.setdefault(study.id, study)
            self._changed.notify_all()

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no fit is due; False when that took longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self, timeout_s: float = 0.0) -> None:
        """Start no further fit; wait up to `timeout_s` for the one that runs, whose result nobody needs any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        _lower_priority()
        while (study := self._next()) is not None:
            began = time.perf_counter()
            try:
                more = study.fit_next()
            except Exception:  # the thread outlives any study
                _log.exception("study %r: its fits are skipped until it changes", study.settings.name)
                continue
            if more:
                self._on_fit(time.perf_counter() - began)
                self.wake(study)

    def _next(self) -> ServedStudy | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._busy = True
            return self._waiting.pop(next(iter(self._waiting)))


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread's number names no process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
