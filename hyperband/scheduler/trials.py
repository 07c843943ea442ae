"""The scheduler's nouns: the record of a trial, and the events of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from curvestop.hyperband.scheduler.brackets import Bracket, Rung
from curvestop.srm.curve import Configuration, Decision, Prediction

State = Literal["waiting", "running", "paused", "finished", "stopped", "dropped", "failed"]
"""State of a trial: "waiting", "running" or "paused" while its rung is open, then one of

- "finished": trained to max_epochs,
- "stopped": stopped by the rule, and its prediction did not promote it, or stopped in a second chance,
- "dropped": trained to its rung's end and not promoted,
- "failed".
"""


@dataclass(eq=False)
class TrialRecord:
    """One configuration and what became of it; only the scheduler writes it.

    Attributes:
        trial: Unique, readable name; "i0-s3-007" is configuration 7 (from 0) of bracket s = 3 of iteration 0.
        configuration: Hyperparameters, by name.
        iteration: Iteration of Hyperband, from 0.
        bracket: The paper's s of its bracket.
        values: `(tau,)` metric after epochs 1..tau.
        epochs: Epochs trained, including one whose metric was refused.
        seconds: Time that these epochs took.
        state: See `State`.
        reason: Why it is in this state.
        number: How many trials were drawn before it.
        predicted_final: Value at max_epochs, predicted when it was stopped or dropped; None without a prediction.
        rung: Index of its present or last rung in its bracket, from 0.
        score: Its entry in the paper's L of the present rung; None before it has one, or for a stop without a prediction.
        predicted: Whether the score is a prediction.
        stops: `(epochs trained, decision)` of every stop inside a rung.
        settled_epochs: Epochs of the last rung it came through.
        may_resume: Whether it was stopped or dropped, and may still get a second chance.
        resumed_at: The epoch that its first second chance went on with; None without one.
        forecast: Prediction of the last decision about it, for the end of its rung; None without one.
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
    number: int = 0  # the sampler's and the Optuna study's number of the trial
    predicted_final: float | None = None
    rung: int = 0
    score: float | None = None
    predicted: bool = False
    stops: list[tuple[int, Decision]] = field(default_factory=list)
    settled_epochs: int = 0
    may_resume: bool = False
    resumed_at: int | None = None
    forecast: Prediction | None = None

    @property
    def epochs_in_rungs(self) -> int:
        """Epochs trained in the rungs of its bracket, without those of second chances."""
        return self.epochs if self.resumed_at is None else self.resumed_at - 1

    @property
    def planned_epochs(self) -> int:
        """Epochs that plain Hyperband trains this configuration in the rungs it came through.

        The epochs that a failed trial did not train are neither planned nor saved.
        """
        # A stopped trial trained less than its rung's end, which plain Hyperband would have trained it to.
        return max(self.epochs_in_rungs, self.settled_epochs)


@dataclass(frozen=True)
class RungOpened:
    """A rung begins.

    An asynchronous scheduler sends this event for the first rung of a bracket only; trials enter the others one by one
    (`TrialPromoted`).

    Attributes:
        iteration: Iteration of Hyperband, from 0.
        bracket: The bracket.
        index: Index of the rung in the bracket, from 0.
        trials: Names in the order in which they are to train; fewer than planned if too many failed in the rung before, and none
            of an asynchronous scheduler.
    """

    iteration: int
    bracket: Bracket
    index: int
    trials: tuple[str, ...]

    @property
    def rung(self) -> Rung:
        """Size and length of the rung."""
        return self.bracket.rungs[self.index]

    @property
    def n_next(self) -> int:
        """Number of configurations that the next rung takes; 1 after the last (Algorithm 1, line 6)."""
        following = self.bracket.rungs[self.index + 1 :]  # n_next = floor(n_i / eta) if i != s else 1
        return following[0].n_configurations if following else 1


@dataclass(frozen=True)
class TrialPromoted:
    """An asynchronous scheduler promotes a trial to another rung.

    Attributes:
        record: The trial.
        to: The rung it enters.
    """

    record: TrialRecord
    to: RungOpened


@dataclass(frozen=True)
class TrialStopped:
    """The rule stopped a trial inside a rung; its prediction may still promote it.

    Attributes:
        record: The trial.
        decision: The decision to stop.
        target_epoch: Last epoch of the rung, which the decision is about.
    """

    record: TrialRecord
    decision: Decision
    target_epoch: int


@dataclass(frozen=True)
class TrialResumed:
    """A trial that was stopped or dropped trains on: its second chance.

    Attributes:
        record: The trial.
        chance: Chance in (0, 1] that it ends as the best.
    """

    record: TrialRecord
    chance: float


@dataclass(frozen=True)
class TrialEnded:
    """A trial is finally over.

    Attributes:
        record: The trial; its state is "finished", "stopped", "dropped" or "failed".
    """

    record: TrialRecord


Event = RungOpened | TrialPromoted | TrialStopped | TrialResumed | TrialEnded
"""Something that happened in a run."""
