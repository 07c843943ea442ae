"""What a study in this process keeps for its reports: what happened, in order, and of the decisions those that reports read.

A server keeps the whole log in its database. Here it is bounded: of the decisions about a trial, the last one of each stage of
its curve stays, and every stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from curvestop.srm.curve import Decision
from curvestop.srm.report import Question
from curvestop.srm.trial import EndState

STAGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Bounds of the stages of a curve, as shares of its observed length; each includes its upper bound."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a trial: exactly one of the other fields is set; none of them for a resume.

    Attributes:
        trial: Name of the trial.
        epoch: A value of this epoch was stored.
        decided: A question and its answer.
        ended: The state in which it ended.
    """

    trial: str
    epoch: int | None = None
    decided: tuple[Question, Decision] | None = None
    ended: EndState | None = None


class StudyMemory:
    """The events of a study, in order.

    Examples:
        >>> memory = StudyMemory()
        >>> for tau in range(1, 11):
        ...     memory.add(Event("a", epoch=tau))
        ...     memory.decide("a", Question(tau, 10, None), Decision.carry_on("so far so good"))
        >>> [event.decided[0].tau for event in memory if event.decided]
        [1, 2, 5, 7, 10]
    """

    def __init__(self) -> None:
        self._events: dict[int, Event] = {}
        self._number = count()
        self._replaceable: dict[tuple[str, int, int], int] = {}  # (trial, target epoch, stage) -> number of the decision
        self._would_stop: set[str] = set()

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events.values())

    def add(self, event: Event) -> None:
        """Add what happened.

        Args:
            event: A value, an end or a resume.
        """
        self._events[next(self._number)] = event

    def decide(self, trial: str, question: Question, decision: Decision) -> None:
        """Add a decision. It replaces the one before it in its stage, unless that was a stop, or the first shadow stop.

        Args:
            trial: Name of the trial.
            question: What was asked.
            decision: The answer.
        """
        key = trial, question.target_epoch, stage_of(question.tau / question.target_epoch)
        replaced = self._replaceable.pop(key, None)
        if replaced is not None:
            del self._events[replaced]
        number = next(self._number)
        self._events[number] = Event(trial, decided=(question, decision))
        is_first_shadow_stop = decision.would_stop and trial not in self._would_stop
        if is_first_shadow_stop:
            self._would_stop.add(trial)
        elif not decision.stop:
            self._replaceable[key] = number


def stage_of(share: float) -> int:
    """Return the index of the first stage whose upper bound is at least the share.

    Args:
        share: Observed length as a share of the whole, in [0, 1].
    """
    return next(index for index, high in enumerate(STAGES[1:]) if share <= high)
