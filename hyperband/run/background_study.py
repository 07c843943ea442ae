"""A study in this process whose models are fitted by a thread, so that no answer waits for a fit."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.study import EndState, Question, Study, StudySettings, Trial, TrialState

_log = logging.getLogger(__name__)


class BackgroundFitStudy(Study):
    """As `Study`, but which models an answer rests on depends on when their fits were done. Close it at the end."""

    def __init__(self, settings: StudySettings) -> None:
        super().__init__(settings, fit="deferred")
        self._lock = threading.RLock()
        self._changed = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._fit, name="hyperband-fitter", daemon=True)
        self._thread.start()

    def report(self, trial: str, values: Sequence[float], **question: Any) -> Decision:
        with self._change():
            return super().report(trial, values, **question)

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        with self._lock:
            return super().predict(values, configuration=configuration, target_epoch=target_epoch)

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        with self._change():
            return super().finish(trial, state)

    def restore(self, trial: str, question: Question, decision: Decision) -> None:
        with self._lock:
            super().restore(trial, question, decision)

    def trials(self) -> tuple[Trial, ...]:
        with self._lock:
            return super().trials()

    def close(self) -> None:
        """Fit no more; a fit under way is left to itself."""
        self._closed = True
        self._changed.set()

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock:
            yield
        self._changed.set()

    def _fit(self) -> None:
        failed: set[tuple[int, int]] = set()
        while self._changed.wait() and not self._closed:
            self._changed.clear()
            while not self._closed:
                with self._lock:
                    jobs = ((job.target_epoch, len(job.curves), job) for job in self.due())
                    epoch, n, job = next((j for j in jobs if j[:2] not in failed), (0, 0, None))
                if job is None:
                    break
                try:
                    models = job.run()
                except Exception:  # the thread outlives any fit
                    _log.exception("models for epoch %d could not be fitted on %d curves", epoch, n)
                    failed.add((epoch, n))
                    continue
                with self._lock:
                    self.install(models)
