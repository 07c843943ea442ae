"""Trials, and the questions that a study answers about them: what every `StudyLike` shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from curvestop.srm.curve import Configuration, CurvePredictor, Decision, LearningCurve, Prediction
from curvestop.srm.settings import StudySettings

TrialState = Literal["running", "finished", "stopped", "failed"]
EndState = Literal["finished", "stopped", "failed"]


class UnknownTrial(LookupError):
    """A trial that was never reported."""


@dataclass(frozen=True)
class Trial:
    """One trial as it stands.

    values: the gap-free prefix of its curve. state: "running", "finished" (ran to its end), "stopped" or "failed".
    """

    trial: str
    configuration: Configuration
    values: tuple[float, ...]
    state: TrialState

    @property
    def curve(self) -> LearningCurve:
        return LearningCurve(self.trial, self.configuration, self.values)


@dataclass(frozen=True)
class Report:
    """The arguments of `StudyLike.report`."""

    trial: str
    values: Sequence[float]
    configuration: Configuration | None = None
    first_epoch: int = 1
    target_epoch: int | None = None
    value_to_beat: float | None = None
    ask: bool = True


class StudyLike(Protocol):
    """What a training loop needs of a study, here or on a server."""

    @property
    def settings(self) -> StudySettings: ...

    def report(
        self,
        trial: str,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
    ) -> Decision:
        """Add the values of epochs first_epoch, first_epoch + 1, ... and (unless `ask` is False) decide.

        Values already known are kept; one that differs is named in `Decision.conflicts`, and the first stays. A value
        that is not finite marks the trial as diverged: it is not stored, and the decision is to stop.
        target_epoch: predict the value there instead of the final one. value_to_beat: compare with it instead of the
        study's n-th best final value. Both are what f-Hyperband needs inside a rung, and are answered by the settings' rule; all
        else is by their policy.
        A stop is final for its target epoch: every later answer for the trial repeats it.
        Raises ValueError (a bad name, epoch, value or configuration) before anything is stored.
        """
        ...

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        """Predict the final value (or the one at `target_epoch`) of any partial curve; None without a model for it."""
        ...

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        """End a trial; returns the state it now has (the first one given stays). Raises UnknownTrial."""
        ...

    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of their first report."""
        ...


class StudyOfMany(StudyLike, Protocol):
    """A `StudyLike` for a driver of many workers: several calls as one, which costs hardly more than one."""

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """In order, each report's decision or the mistake that it alone would raise; one mistake spoils no other report."""
        ...

    def predict_many(self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None) -> list[Prediction | None]:
        """`predict` for each curve, whose trial's name does not matter. Raises ValueError when one of them is no curve."""
        ...


@dataclass(frozen=True)
class Recorded:
    """What a report added, for an owner that keeps a log.

    new: `(epoch, value)` pairs stored now. conflicts: `(epoch, stored value)` where another value was stored first.
    diverged_at: the epoch whose value was not finite; None when all were.
    """

    new: tuple[tuple[int, float], ...]
    conflicts: tuple[tuple[int, float], ...]
    diverged_at: int | None


@dataclass(frozen=True)
class Question:
    """What a decision answered: this many epochs seen, this target, this value to beat (None: the study's own)."""

    tau: int
    target_epoch: int
    value_to_beat: float | None


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a predictor says of a trial, for as long as it would say the same.

    length: the observed length it goes by; None when that is too short. score: for ranking; None from one that does not rank.
    why_unreliable: why not to rely upon it; empty when nothing.
    """

    predictor: CurvePredictor
    length: int | None
    prediction: Prediction | None
    score: float | None
    why_unreliable: str


@dataclass
class Record:
    """A trial's growing state. `last` answers a repeated question the same way; `stops` (by target epoch) are for good.

    looked_at: epochs seen at the last decision of the policy; 0 before the first. predicted: the latest, by target epoch.
    """

    configuration: Configuration
    observed: dict[int, float] = field(default_factory=dict)
    prefix: list[float] = field(default_factory=list)
    state: TrialState = "running"
    ended_because: str = ""
    last: tuple[Question, Decision] | None = None
    stops: dict[int, Decision] = field(default_factory=dict)
    looked_at: int = 0
    predicted: dict[int, Predicted] = field(default_factory=dict)
