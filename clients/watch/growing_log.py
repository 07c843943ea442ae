"""What a log of any kind has to say: the values that are new in it, and whether its run has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Point = tuple[float, float]
"""A step and the metric there. Where a log has no steps, its values are counted from 0."""


@dataclass(frozen=True)
class Growth:
    """What is new in a log.

    Attributes:
        points: The new points, in the order in which they were written.
        has_grown: Whether anything was written, values or not.
        has_restarted: Whether the log was emptied or replaced, so that a run began again; `points` are what it has now.
        has_ended: Whether the log says that its run has ended by itself.
        problem: What could not be read, for people; None without a problem.
    """

    points: list[Point] = field(default_factory=list)
    has_grown: bool = False
    has_restarted: bool = False
    has_ended: bool = False
    problem: str | None = None


class GrowingLog(Protocol):
    """The log of one run that may go on."""

    path: Path

    def read(self) -> Growth:
        """Return what is new since the last call.

        Raises:
            OSError: If the log cannot be read.
        """
        ...

    def configuration(self) -> Mapping[str, Any]:
        """Return the hyper-parameters of the run by name, as far as the log tells them.

        Raises:
            ValueError: If they cannot be read.
        """
        ...
