"""The log of a study, replayed: it gives the same study again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.srm.report import Report
from curvestop.srm.study import Study


def replay(study: Study, entries: Iterable[Entry]) -> None:
    """Apply log entries, in order, to a new study or to one that has all entries before them.

    Args:
        study: Its memory; it is changed.
        entries: In the order of the log, without a gap.
    """
    for entry in entries:
        apply(study, entry)


def rebuild(study: Study, entries: Iterable[tuple[int, Entry]], observed: Iterator[tuple[int, str, int, float]]) -> None:
    """Replay a long log faster: observations come apart from all other entries.

    Args:
        study: A new study.
        entries: (number, entry) of all entries but the observations, in order.
        observed: (number, trial, epoch, value) of the observations, in order.
    """
    row = next(observed, None)
    for number, entry in entries:
        # Merged by number: values need their trial, and an end the values that were reported before it.
        while row is not None and row[0] < number:
            study.book.restore_value(row[1], row[2], row[3])
            row = next(observed, None)
        apply(study, entry)
    if row is not None:
        for _, trial, epoch, value in chain([row], observed):
            study.book.restore_value(trial, epoch, value)


def apply(study: Study, entry: Entry) -> None:
    """Apply one log entry to a study.

    Args:
        study: Its memory; it is changed.
        entry: The next one of its log.
    """
    match entry:
        case Observed(trial, epoch, value):
            study.record(Report(trial, (value,), first_epoch=epoch))
        # Remembered, not judged again: models and policies of today might decide otherwise.
        case Decided(trial, question, decision):
            study.restore(trial, question, decision)
        # The bracket is for readers of the log; no decision depends on it.
        case TrialAdded(trial, configuration):
            study.book.restore_trial(trial, configuration)
        # Unchecked: at a start the stop before it may have been left out, if a later decision replaced it.
        case Resumed(trial, key):
            study.book.restore_resume(trial, key)
        case Ended(trial, state, None):
            study.finish(trial, state)
        case Ended(trial, _, diverged_at):
            # The value was not stored: any that is not finite ends the trial with the same reason.
            study.record(Report(trial, (math.nan,), first_epoch=diverged_at or 1))
