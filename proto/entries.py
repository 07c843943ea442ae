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
    """The value after one epoch; one for each (trial, epoch).

    Attributes:
        trial: Name of the trial, which was added before.
        epoch: 1-based; epochs may come in any order.
        value: The metric, finite.
    """

    trial: str
    epoch: int
    value: float


@dataclass(frozen=True)
class Decided:
    """A decision; it is never computed again.

    Attributes:
        trial: Name of the trial, which was added before.
        question: What was asked, with the number of epochs seen then.
        decision: The answer, without conflicts: those belong to one report.
    """

    trial: str
    question: Question
    decision: Decision


@dataclass(frozen=True)
class Ended:
    """A trial's end; the last one, unless the trial is resumed after it.

    Attributes:
        trial: Name of the trial.
        state: How it ended.
        diverged_at: Epoch whose value was not finite, if that ended it.
    """

    trial: str
    state: EndState
    diverged_at: int | None = None


@dataclass(frozen=True)
class Resumed:
    """A stopped trial continues: its stops and its end before this entry do not count any more.

    Attributes:
        trial: Name of the trial.
        key: Of the call that resumed it; no other call that resumed the trial has the same.
    """

    trial: str
    key: str


# Whatever is not among them leaves no trace: a study is a function of these, in order.
Entry = TrialAdded | Observed | Decided | Ended | Resumed
