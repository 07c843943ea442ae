"""Trials of a study: their states and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.curve import Configuration, Decision, EndState, LearningCurve, TrialState

__all__ = ["EndState", "Trial", "TrialState", "UnknownTrial"]


class UnknownTrial(LookupError):
    """A trial that was never reported."""


@dataclass(frozen=True)
class Trial:
    """One trial as it stands.

    Attributes:
        trial: Name, unique in the study.
        configuration: Hyper-parameters and architecture numbers by name.
        values: `(n,)` metric after epochs 1..n, or after `epochs`.
        state: "running", "finished" (ran to its end), "stopped" or "failed".
        epochs: `(n,)` epochs of the values, ascending, of a trial that did not report every epoch; None for 1..n.
        decision: The latest stop that counts, else the latest decision; None before any, and after a resume.
        epochs_saved: Epochs between the last value and the epoch that this stop was about; 0 without a stop.

    Examples:
        >>> trial = Trial("a", {"lr": 0.1}, (0.5, 0.6), "running")
        >>> trial.curve.values, trial.last_epoch, trial.is_stopped
        ((0.5, 0.6), 2, False)
    """

    trial: str
    configuration: Configuration
    values: tuple[float, ...]
    state: TrialState
    epochs: tuple[int, ...] | None = None
    decision: Decision | None = None
    epochs_saved: int = 0

    @property
    def last_epoch(self) -> int:
        """The epoch of the last value; 0 without one."""
        return self.epochs[-1] if self.epochs else len(self.values)

    @property
    def is_stopped(self) -> bool:
        """Whether it was ended as stopped, or was told to stop and its owner has not ended it yet."""
        return self.state == "stopped" or (self.state == "running" and self.decision is not None and self.decision.stop)

    @property
    def curve(self) -> LearningCurve:
        """The trial's values as a learning curve."""
        return LearningCurve(self.trial, self.configuration, self.values, self.epochs)
