"""Trials of a study: their states and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.curve import Configuration, EndState, LearningCurve, TrialState

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

    Examples:
        >>> Trial("a", {"lr": 0.1}, (0.5, 0.6), "running").curve.values
        (0.5, 0.6)
    """

    trial: str
    configuration: Configuration
    values: tuple[float, ...]
    state: TrialState
    epochs: tuple[int, ...] | None = None

    @property
    def curve(self) -> LearningCurve:
        """The trial's values as a learning curve."""
        return LearningCurve(self.trial, self.configuration, self.values, self.epochs)
