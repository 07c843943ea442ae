"""What every executor can do, and what it tells of the jobs it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from curvestop.srm.curve import Configuration  # not at run time: this file is loaded on every node of a cluster


class ScriptError(ValueError):
    """The program cannot be used: it cannot be imported, has no `train`, or is not there."""


@dataclass(frozen=True)
class Job:
    """Train this trial up to the end of epoch `target_epoch`; epochs before `first_epoch` are in its checkpoint."""

    trial: str
    configuration: Configuration
    first_epoch: int
    target_epoch: int


@dataclass(frozen=True)
class Measured:
    """A trial finished an epoch and waits for `train_next_epoch` or `stop`. seconds: that it trained for it; 0 when that is not known."""

    trial: str
    value: float
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class JobOver:
    """A trial's worker is free again. failure: None when `train` was stopped or returned. details: a traceback."""

    trial: str
    failure: str | None = None
    details: str = ""


class Executor(Protocol):
    """Trains jobs, several at a time, one epoch after the other; every trial keeps its checkpoint between its jobs."""

    @property
    def n_idle(self) -> int:
        """How many jobs can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Begin (or resume) a trial. Raises ValueError without an idle worker."""
        ...

    def wait(self) -> tuple[Measured | JobOver, ...]:
        """Block until something happened; empty when a worker became idle."""
        ...

    def train_next_epoch(self, trial: str) -> None:
        """Train a measured trial for another epoch."""
        ...

    def stop(self, trial: str) -> None:
        """End a measured trial's job; its `JobOver` follows. Its checkpoint stays."""
        ...

    def delete_checkpoint(self, trial: str) -> None:
        """Delete the checkpoint of a trial whose job is over."""
        ...


class OwnedExecutor(Executor, Protocol):
    """An executor with workers of its own, which live while it is entered. folder: of checkpoints, logs and failures."""

    folder: Path

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
