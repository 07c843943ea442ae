"""`ReadOptions`: what the user says about a source; and the choice of one name among several. Imports nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Layout = Literal["long", "wide"]
"""Layout of a table: long has a row for every epoch of a run, wide a row for every run."""

# Enough to recognize a mistyped name; a storage may have hundreds.
_MAX_LISTED = 12


@dataclass(frozen=True)
class ReadOptions:
    """The user's statements about a source; None where the reader finds out itself.

    Attributes:
        metric: Column, tag or key of the metric.
        layout: Layout of a table.
        trial: Column of a table that names the runs.
        epoch: Column of a table with the epoch or step.
        study: Study in an Optuna storage.
    """

    metric: str | None = None
    layout: Layout | None = None
    trial: str | None = None
    epoch: str | None = None
    study: str | None = None


def choose(names: Sequence[str], chosen: str | None, *, source: str, what: str = "metric") -> str:
    """Return the chosen name, or the only one there is.

    Args:
        names: The names in the source.
        chosen: The user's choice; None if there is none.
        source: Name of the source, for the error.
        what: What is chosen, which is also the command's option: "metric" or "study".

    Raises:
        ValueError: If the chosen name is not among them, or if there is no choice and not exactly one name.

    Examples:
        >>> choose(["acc"], None, source="runs.csv")
        'acc'
        >>> choose(["acc", "loss"], None, source="runs.csv")
        Traceback (most recent call last):
            ...
        ValueError: runs.csv has several metrics (acc, loss): choose one with --metric NAME
    """
    if chosen is not None and chosen not in names:
        raise ValueError(f"{source} has no {what} {chosen!r}, but {listed(names)}")
    if chosen is None and not names:
        raise ValueError(f"{source} has no {what}")
    if chosen is None and len(names) > 1:
        plural = {"metric": "metrics", "study": "studies"}[what]
        raise ValueError(f"{source} has several {plural} ({listed(names)}): choose one with --{what} NAME")
    return chosen or names[0]  # the only one


def listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Return names as text, at most twelve of them.

    Args:
        names: Names in the order in which they are listed; of a mapping, its keys.

    Returns:
        "a, b and 3 more"; "none" for none.
    """
    some = list(names)
    more = f" and {len(some) - _MAX_LISTED} more" if len(some) > _MAX_LISTED else ""
    return ", ".join(some[:_MAX_LISTED]) + more if some else "none"
