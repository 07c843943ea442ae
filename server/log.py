"""The log of a study: everything that ever happened to it, in order. Replayed, it gives the same study again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.study import EndState, Question, Study


@dataclass(frozen=True)
class TrialAdded:
    """A trial's first report."""

    trial: str
    configuration: Configuration


@dataclass(frozen=True)
class Observed:
    """The value after one epoch; there is one for each (trial, epoch)."""

    trial: str
    epoch: int
    value: float


@dataclass(frozen=True)
class Decided:
    """An answer, kept because it is never computed again."""

    trial: str
    question: Question
    decision: Decision


@dataclass(frozen=True)
class Ended:
    """A trial's end. diverged_at: the epoch whose value was not finite, when that is what ended it."""

    trial: str
    state: EndState
    diverged_at: int | None = None


Entry = TrialAdded | Observed | Decided | Ended


def replay(study: Study, entries: Iterable[Entry]) -> None:
    """Bring a new study to where its log ends."""
    for entry in entries:
        apply(study, entry)


def rebuild(
    study: Study, entries: Iterable[tuple[int, Entry]], observed: Iterator[tuple[int, str, int, float]]
) -> None:
    """`replay` for long logs: numbered entries, and apart from them the observations as (number, trial, epoch, value)."""
    row = next(observed, None)
    for number, entry in entries:
        while row is not None and row[0] < number:
            study.restore_value(row[1], row[2], row[3])
            row = next(observed, None)
        apply(study, entry)
    if row is not None:
        for _, trial, epoch, value in chain([row], observed):
            study.restore_value(trial, epoch, value)


def apply(study: Study, entry: Entry) -> None:
    match entry:
        case Observed(trial, epoch, value):
            study.record(trial, (value,), first_epoch=epoch)
        case Decided(trial, question, decision):
            study.restore(trial, question, decision)
        case TrialAdded(trial, configuration):
            study.record(trial, (), configuration=configuration)
        case Ended(trial, state, None):
            study.finish(trial, state)
        case Ended(trial, _, diverged_at):
            study.record(trial, (math.nan,), first_epoch=diverged_at or 1)
