"""The entries of a study's log: everything that ever happened to it, in order."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.study import EndState, Question


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
