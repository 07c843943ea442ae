"""A study in this process whose models are fitted by a thread, so that no answer waits for a fit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curvestop.srm.background_fitter import BackgroundFitter, DueFits
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question, Report
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.trial import EndState, Trial, TrialState


class BackgroundFitStudy(Study):
    """A `Study` for several threads. Which models an answer goes by depends on when their fits were done.

    Close it at the end.

    Args:
        settings: Settings of the study.
    """

    id, tenant = 0, ""  # the only study of its fitter

    def __init__(self, settings: StudySettings) -> None:
        super().__init__(settings, fit="deferred")
        self._lock = threading.RLock()  # re-entrant: a method of `Study` may call another one that locks
        self._fits = DueFits(self._lock, lambda: self)
        self._fitter = BackgroundFitter(duty_cycle=0.0)  # a driver has little else to do

    def answer(self, report: Report) -> Decision:
        """Answer a report as `Study` does; fits that it makes due run in the background.

        Args:
            report: The trial's values, and whether to decide; see `Study.answer`.

        Returns:
            The decision by the models that are fitted now; the first ones after a fit became due may lack it.
        """
        with self._change():
            return super().answer(report)

    def predict(
        self,
        values: float | Sequence[float],
        *,
        configuration: Mapping[str, Any] | None = None,
        target_epoch: int | None = None,
    ) -> Prediction | None:
        """Predict as `Study` does.

        Args:
            values: `(tau,)` metric after epochs 1..tau.
            configuration: Hyperparameters, by name. Default: predict from the curve alone.
            target_epoch: Epoch to predict. Default: max_epochs.

        Returns:
            The forecast; None before there is a model for it.
        """
        with self._lock:
            return super().predict(values, configuration=configuration, target_epoch=target_epoch)

    def finish(self, trial: str | int, state: EndState = "finished") -> TrialState:
        """End a trial; fits that it makes due run in the background.

        Args:
            trial: Name of the trial.
            state: How it ended; only a "finished" trial's last value is taken for its final one.
        """
        with self._change():
            return super().finish(trial, state)

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with, as `Study` does.

        Args:
            n: Most trials to return, >= 1.
        """
        with self._lock:
            return super().second_chances(n)

    def resume(self, trial: str | int) -> None:
        """Let a stopped trial continue, as `Study` does.

        Args:
            trial: Name of the trial.
        """
        with self._lock:
            super().resume(trial)

    def restore(self, trial: str, question: Question, decision: Decision) -> None:
        """Remember a decision as `Study` does.

        Args:
            trial: Name of the trial.
            question: What the decision was about.
            decision: The decision as it was made before.
        """
        with self._lock:
            super().restore(trial, question, decision)

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report."""
        with self._lock:
            return super().trials()

    def prepare_fit(self) -> None:
        """Load what the predictor computes with if a fit is due."""
        self._fits.prepare_next()

    def fit_next(self) -> bool:
        """Run one fit that is due; return whether there was one. For the fitter's thread."""
        return self._fits.run_next()

    def close(self) -> None:
        """Start no further fit; a running one is abandoned."""
        self._fitter.close()

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock:
            yield
        # Outside the lock: the first thing that the woken thread does is to take it.
        self._fitter.wake(self)
