"""The log of a study, replayed: it gives the same study again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

from curvestop.proto.entries import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.srm.study import Study

__all__ = ["Decided", "Ended", "Entry", "Observed", "TrialAdded", "apply", "rebuild", "replay"]


def replay(study: Study, entries: Iterable[Entry]) -> None:
    """Bring a new study to where its log ends."""
    for entry in entries:
        apply(study, entry)


def rebuild(study: Study, entries: Iterable[tuple[int, Entry]], observed: Iterator[tuple[int, str, int, float]]) -> None:
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
