"""The interface of executors: the jobs they run, and the events they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from curvestop.srm.curve import Configuration


class ScriptError(ValueError):
    """The program to train, or the cluster to train on, cannot be used."""


@dataclass(frozen=True)
class Job:
    """The order to train a trial up to the end of an epoch.

    Attributes:
        trial: Name of the trial.
        configuration: Hyperparameters, by name.
        first_epoch: First epoch to train, 1-based; the epochs before are in the trial's checkpoint.
        target_epoch: Last epoch to train, inclusive.
    """

    trial: str
    configuration: Configuration
    first_epoch: int
    target_epoch: int


@dataclass(frozen=True)
class Measured:
    """A trial finished an epoch and waits for `train_next_epoch` or `stop`.

    Attributes:
        trial: Name of the trial.
        value: The metric after the epoch; may be NaN or infinite.
        seconds: Training time of the epoch; 0 if unknown.
    """

    trial: str
    value: float
    seconds: float = field(default=0.0, compare=False)  # not compared: two runs of one job are equal however fast the machine was


@dataclass(frozen=True)
class JobOver:
    """A trial's job ended, and its worker is free.

    Attributes:
        trial: Name of the trial.
        failure: The cause on one line; None if `train` returned or was stopped.
        details: Traceback or last output of a failed job.
    """

    trial: str
    failure: str | None = None
    details: str = ""


class Executor(Protocol):
    """Trains several jobs at a time, each one epoch after the other; a trial keeps its checkpoint between its jobs."""

    @property
    def n_idle(self) -> int:
        """Number of jobs that can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Start a trial, or resume it from its checkpoint.

        Args:
            job: What to train.

        Raises:
            ValueError: If no worker is idle.
        """
        ...

    def wait(self) -> tuple[Measured | JobOver, ...]:
        """Block until something happened.

        Returns:
            The events in the order they happened; empty if a worker became idle.
        """
        ...

    def train_next_epoch(self, trial: str) -> None:
        """Train one more epoch of a measured trial.

        Args:
            trial: Name of a trial whose last event is `Measured`.

        Raises:
            ValueError: If the trial has no job.
        """
        ...

    def stop(self, trial: str) -> None:
        """End a measured trial's job and keep its checkpoint; a `JobOver` follows.

        Args:
            trial: Name of a trial whose last event is `Measured`.

        Raises:
            ValueError: If the trial has no job.
        """
        ...

    def delete_checkpoint(self, trial: str) -> None:
        """Delete the checkpoint and the value log of a trial without a job.

        Args:
            trial: Name of a trial that will never be resumed; one without a checkpoint is accepted.
        """
        ...


class OwnedExecutor(Executor, Protocol):
    """An executor that owns its workers: entering the context starts them, leaving it ends them.

    Attributes:
        folder: Folder of checkpoints, logs and failures.
    """

    folder: Path

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
