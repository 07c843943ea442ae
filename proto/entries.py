"""The entries of a study's log: everything that ever happened to it, in order."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.report import BracketPosition, Question
from curvestop.srm.trial import EndState


@dataclass(frozen=True)
class TrialAdded:
    """A trial's first report.

    Attributes:
        trial: Name of the trial.
        configuration: Its hyper-parameters and architecture numbers.
        bracket: Bracket of Hyperband that it belongs to; None outside Hyperband.
    """

    trial: str
    configuration: Configuration
    bracket: BracketPosition | None = None


@dataclass(frozen=True)
class Observed:
    """The value after one epoch; one for each (trial, epoch)."""

    trial: str
    epoch: int
    value: float


@dataclass(frozen=True)
class Decided:
    """A decision; it is never computed again."""

    trial: str
    question: Question
    decision: Decision


@dataclass(frozen=True)
class Ended:
    """A trial's end.

    Attributes:
        trial: Name of the trial.
        state: How it ended.
        diverged_at: Epoch whose value was not finite, if that ended it.
    """

    trial: str
    state: EndState
    diverged_at: int | None = None


Entry = TrialAdded | Observed | Decided | Ended
