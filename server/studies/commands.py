"""Calls: work on a study's memory whose answer is given when what it did is on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from curvestop.server.storage.store import CurveStore, Transaction
from curvestop.server.studies.log_replay import Entry
from curvestop.srm.study import Study

T = TypeVar("T")


class CommandTarget(Protocol):
    """A study to be called, with its memory and its log."""

    tenant: str

    def load(self) -> None: ...
    def forget(self) -> None: ...
    def make(self, calls: Sequence[Call[Any]], transaction: Transaction) -> None: ...
    def changed(self) -> None: ...


class Call(Generic[T]):
    """act: works on memory and returns its answer and what the log is to have of it; what it raises is raised to the caller."""

    def __init__(self, study: CommandTarget, act: Callable[[Study], tuple[T, list[Entry]]]) -> None:
        self.study = study
        self._act = act
        self._answer: T
        self._mistake: Exception | None = None

    def make(self, study: Study) -> list[Entry]:
        try:
            self._answer, entries = self._act(study)
        except Exception as mistake:
            self._mistake = mistake
            return []
        return entries

    def refuse(self, error: Exception) -> None:
        self._mistake = error

    def result(self) -> T:
        if self._mistake is not None:
            raise self._mistake
        return self._answer


def make_calls(store: CurveStore, calls: Sequence[Call[Any]]) -> None:
    """Make calls of any studies, in order, with one commit. When it fails all are refused and no study's memory is believed."""
    of: dict[CommandTarget, list[Call[Any]]] = {}
    for call in calls:
        of.setdefault(call.study, []).append(call)
    try:
        for study in of:
            study.load()
        with store.transaction() as transaction:
            for study, its_calls in of.items():
                study.make(its_calls, transaction)
    except Exception as error:
        for study in of:
            study.forget()
        for call in calls:
            call.refuse(error)
        return
    for study in of:
        study.changed()
