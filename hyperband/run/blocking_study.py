"""A study on a server whose answers depend on what it was told only: it is waited for, and so are its models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.study import EndState, StudyLike, StudySettings, Trial, TrialState

POLL_S = 0.01
RETRY_S = 0.2

T = TypeVar("T")


class Status(Protocol):
    @property
    def fitted(self) -> bool: ...


class StrictStudy(StudyLike, Protocol):
    """A client that raises ConnectionError when the server does not answer, and knows whether its models are up to date."""

    def status(self) -> Status: ...


class BlockingStudy:
    """A `StudyLike`. A server that is down holds the training up until it is back, instead of letting it go on unjudged."""

    def __init__(self, study: StrictStudy) -> None:
        self._study = study

    @property
    def settings(self) -> StudySettings:
        return self._study.settings

    def report(self, trial: str, values: Sequence[float], *, ask: bool = True, **more: Any) -> Decision:
        decision = _until_answered(lambda: self._study.report(trial, values, ask=False, **more))
        if ask:
            self._wait_fitted()
            decision = _until_answered(lambda: self._study.report(trial, values, ask=True, **more))
        return decision

    def predict(self, values: Sequence[float], **more: Any) -> Prediction | None:
        self._wait_fitted()
        return _until_answered(lambda: self._study.predict(values, **more))

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        return _until_answered(lambda: self._study.finish(trial, state))

    def trials(self) -> tuple[Trial, ...]:
        return _until_answered(self._study.trials)

    def _wait_fitted(self) -> None:
        while not _until_answered(self._study.status).fitted:
            time.sleep(POLL_S)


def _until_answered(call: Callable[[], T]) -> T:
    while True:
        try:
            return call()
        except ConnectionError:
            time.sleep(RETRY_S)
