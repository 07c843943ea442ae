"""Reproducible remote study: blocks until the server answers and its models are current."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Report
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import KeywordReports, ResumableStudy
from curvestop.srm.trial import EndState, Trial, TrialState

POLL_S = 0.01
RETRY_S = 0.2

T = TypeVar("T")


class Status(Protocol):
    """What is asked of a server's status."""

    @property
    def fitted(self) -> bool:
        """Whether no fit is due."""
        ...


class StrictStudy(ResumableStudy, Protocol):
    """A client that raises ConnectionError when the server does not answer, and knows whether its models are current."""

    def status(self) -> Status:
        """Return the state of the server's models."""
        ...


class BlockingStudy(KeywordReports):
    """A `StudyLike` whose answers depend only on what was reported, not on when.

    A server that is down holds the training up until it is back, instead of letting it continue unjudged.

    Args:
        study: Strict client of the study.
    """

    def __init__(self, study: StrictStudy) -> None:
        self._study = study

    @property
    def settings(self) -> StudySettings:
        """The settings that the study was created with."""
        return self._study.settings

    def answer(self, report: Report) -> Decision:
        """Send the values first, wait until the models are current, then ask.

        Args:
            report: The trial's values. If it does not ask for a decision, nothing waits for a fit.

        Returns:
            The decision of models that know every value reported before, these included.
        """
        # Two calls: the values make a fit due, and only the fit that knows them may decide. The server knows values by their
        # epoch, so sending them twice changes nothing.
        decision = _until_answered(lambda: self._study.answer(replace(report, ask=False)))
        if report.ask:
            self._wait_fitted()
            decision = _until_answered(lambda: self._study.answer(report))
        return decision

    def predict(self, values: Sequence[float], **options: Any) -> Prediction | None:
        """Predict as the study does, with current models.

        Args:
            values: `(tau,)` metric after epochs 1..tau.
            **options: `configuration` and `target_epoch`, see `StudyLike.predict`.
        """
        self._wait_fitted()
        return _until_answered(lambda: self._study.predict(values, **options))

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        """End a trial and return the state that it now has.

        Args:
            trial: Name of the trial.
            state: How it ended.
        """
        return _until_answered(lambda: self._study.finish(trial, state))

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report."""
        return _until_answered(self._study.trials)

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with, by current models.

        Args:
            n: Most trials to return, >= 1.
        """
        self._wait_fitted()
        return _until_answered(lambda: self._study.second_chances(n))

    def resume(self, trial: str) -> None:
        """Let a stopped trial continue.

        Args:
            trial: Name of the trial.
        """
        _until_answered(lambda: self._study.resume(trial))

    def _wait_fitted(self) -> None:
        # Polled: a fit takes seconds, and a poll also survives a restart of the server.
        while not _until_answered(self._study.status).fitted:
            time.sleep(POLL_S)


def _until_answered(call: Callable[[], T]) -> T:
    while True:
        try:
            return call()
        except ConnectionError:  # Without a limit: to go on undecided would make the run depend on when the server was down.
            time.sleep(RETRY_S)
