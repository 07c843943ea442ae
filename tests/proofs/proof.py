"""A proof: a promise of the service, tried with counts that a test or a full run chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """What a proof saw, by name, for the table; and whether the promise was kept."""

    figures: Mapping[str, int | float | str]
    kept: bool


@dataclass(frozen=True)
class Proof:
    """promise: its number. target: what must be found, in words. run: takes an empty folder and the counts by name.

    full, short: the counts of `make prove`, and of the tests, which take seconds.
    needs: system programs and packages without which the tests skip it (see `tests/system_programs.py`).
    """

    promise: int
    name: str
    target: str
    run: Callable[..., Found]
    full: Mapping[str, int]
    short: Mapping[str, int]
    needs: tuple[str, ...] = ()

    def __call__(self, folder: Path, *, short: bool) -> Found:
        return self.run(folder, **(self.short if short else self.full))
