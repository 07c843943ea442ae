"""Finds out early that a run is of no use: its first trials all fail alike, or all its values are equal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

N_ALIKE = 5
"""So many trials that fail alike, before any has a value, end a run."""

_NUMBERS = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


class TrialLike(Protocol):
    """What is read of a trial's record."""

    @property
    def trial(self) -> str:
        """Its name."""
        ...

    @property
    def state(self) -> str:
        """Its state; "failed" if it failed."""
        ...

    @property
    def reason(self) -> str:
        """Why it is in this state."""
        ...

    @property
    def values(self) -> Sequence[float]:
        """Its metric after each epoch."""
        ...


class AllFailAlike(Exception):
    """The first trials all failed alike, and none has a value; the text says how, on one line.

    Args:
        failed: The trials.
    """

    def __init__(self, failed: Sequence[TrialLike]) -> None:
        super().__init__(f"the first {len(failed)} trials all failed alike: {failed[0].reason}")


class EarlyFailures:
    """Raises `AllFailAlike` when the first trials of a session have all failed alike.

    The first to begin count, not the first to end: a trial that still trains may be a good one. In a resumed run, trials that
    were over before do not count, so that resuming tries others.

    Args:
        records: Returns all trials of the run, in the order in which they began.
    """

    def __init__(self, records: Callable[[], Sequence[TrialLike]]) -> None:
        self._records = records
        self._over_before = frozenset(record.trial for record in records() if record.state == "failed")

    def check(self) -> None:
        """Look at the trials; cheap once one of them has a value.

        Raises:
            AllFailAlike: If the first `N_ALIKE` have failed alike without a value of any.
        """
        first: list[TrialLike] = []
        for record in self._records():
            if record.values:
                return
            if record.trial not in self._over_before and len(first) < N_ALIKE:
                if record.state != "failed":
                    return
                first.append(record)
        if len(first) == N_ALIKE and len({_alike(record.reason) for record in first}) == 1:
            raise AllFailAlike(first)


def equal_values(records: Sequence[TrialLike]) -> float | None:
    """Return the value that every epoch of every trial has; None if they differ, or are too few to say.

    Args:
        records: The trials of a run.

    Examples:
        >>> from curvestop.hyperband.scheduler.trials import TrialRecord
        >>> equal_values([TrialRecord(name, {}, 0, 0, values=[0.0, 0.0]) for name in "abc"])
        0.0
    """
    curves = [record.values for record in records if record.values]
    values = {value for curve in curves for value in curve}
    return values.pop() if len(values) == 1 and len(curves) > 2 else None


def _alike(reason: str) -> str:
    """Return a failure without its numbers, which may be those of the configuration."""
    return _NUMBERS.sub("#", reason)
