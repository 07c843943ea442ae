"""Does a stated chance come true? What was stated at decision points, in bins, beside what happened."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curvestop.clients.backtest.curve_set import Array

EDGES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0)
LEAST_CASES = 200
"""Bins with fewer cases tell nothing."""
SMALL = 0.002
"""Below it the difference counts, not the ratio, and it may be `CLOSE`."""
CLOSE = 0.001


class Bin(NamedTuple):
    """Cases whose chance was stated to be within two edges.

    Attributes:
        low: The lower edge.
        high: The upper edge.
        cases: Number of cases.
        stated: Mean of the stated chances.
        happened: Share of the trials that ended as the best.
    """

    low: float
    high: float
    cases: int
    stated: float
    happened: float

    @property
    def factor(self) -> float:
        """How many times too high or too low the statement is, >= 1; 1 for what is small and close."""
        if self.stated < SMALL and abs(self.stated - self.happened) <= CLOSE:
            return 1.0
        low, high = sorted((self.stated, self.happened))
        return high / max(low, 1e-4)


def bins(stated: Array, happened: Array, groups: npt.NDArray[np.str_]) -> list[Bin]:
    """Return the bins with `LEAST_CASES` cases.

    Args:
        stated: `(n,)` chances.
        happened: `(n,)` 1 if the trial ended as the best, else 0.
        groups: `(n,)` names of the domains, which weigh the same.
    """
    index = np.unique(groups, return_inverse=True)[1]
    weights = 1 / np.bincount(index)[index] if len(index) else np.empty(0)
    found = []
    for low, high in pairwise(EDGES):
        inside = (stated >= low) & ((stated < high) | (high == EDGES[-1]))
        if inside.sum() >= LEAST_CASES:
            means = (float(np.average(values[inside], weights=weights[inside])) for values in (stated, happened))
            found.append(Bin(low, high, int(inside.sum()), *means))
    return found


def worst_factor(found: Sequence[Bin]) -> float | None:
    """Return the largest factor of the bins; None without any."""
    return max((b.factor for b in found), default=None)
