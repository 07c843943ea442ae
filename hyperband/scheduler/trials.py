"""The scheduler's nouns: the record of a trial, and the events a run is told by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from curvestop.hyperband.scheduler.brackets import Bracket, Rung
from curvestop.srm.curve import Configuration, Decision

State = Literal["waiting", "running", "paused", "finished", "stopped", "dropped", "failed"]


@dataclass(eq=False)
class TrialRecord:
    """One configuration and what became of it; only the scheduler writes it.

    trial: readable and unique; "i0-s3-007" is configuration 7 (from 0) of bracket s = 3 of iteration 0.
    values: metric after epochs 1..tau. epochs: trained, including one whose metric was refused. seconds: that they took.
    state: "waiting", "running" and "paused" while its rung is not over; at the end "finished" (trained to R), "stopped" (by
    the rule, and its prediction did not promote it), "dropped" (trained to its rung's end, not promoted) or "failed".
    reason: why it is in this state.
    number: how many were drawn before it.
    predicted_final: its value at R as it was predicted when it was stopped or dropped; None without a prediction.
    rung: the index of its present or last rung in its bracket, from 0.
    score: its entry in the paper's L of the present rung; predicted: whether that is a prediction.
    stops: `(epochs trained, decision)` of every stop inside a rung. settled_epochs: of the last rung it came through.
    """

    trial: str
    configuration: Configuration
    iteration: int
    bracket: int
    values: list[float] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0
    state: State = "waiting"
    reason: str = ""
    number: int = 0
    predicted_final: float | None = None
    rung: int = 0
    score: float | None = None
    predicted: bool = False
    stops: list[tuple[int, Decision]] = field(default_factory=list)
    settled_epochs: int = 0

    @property
    def planned_epochs(self) -> int:
        """Epochs plain Hyperband trains this configuration for, as far as its rungs are over.

        What a failed trial did not train counts neither here nor as saved.
        """
        return max(self.epochs, self.settled_epochs)


@dataclass(frozen=True)
class RungOpened:
    """A rung begins. trials: in the order they are to run; fewer than planned when too many failed in the rung before.

    Asynchronously only the first of a bracket is told; trials come into the others one by one (`TrialPromoted`).
    """

    iteration: int
    bracket: Bracket
    index: int
    trials: tuple[str, ...]

    @property
    def rung(self) -> Rung:
        return self.bracket.rungs[self.index]

    @property
    def n_next(self) -> int:
        """How many the next rung takes; 1 after the last (Algorithm 1, line 6)."""
        following = self.bracket.rungs[self.index + 1 :]
        return following[0].n_configurations if following else 1


@dataclass(frozen=True)
class TrialPromoted:
    """A trial goes on to another rung, asynchronously."""

    record: TrialRecord
    to: RungOpened


@dataclass(frozen=True)
class TrialStopped:
    """The rule stopped a trial inside a rung; its prediction may still promote it."""

    record: TrialRecord
    decision: Decision
    target_epoch: int


@dataclass(frozen=True)
class TrialEnded:
    """A trial is finally over; its `state` says how."""

    record: TrialRecord


Event = RungOpened | TrialPromoted | TrialStopped | TrialEnded
