"""The schedule of Hyperband: how many configurations are trained for how many epochs; integer arithmetic only.

Baker 2017 (thesis), Algorithm 1, after Li et al. 2017: s_max = floor(log_eta R), B = (s_max + 1) R, and for each bracket
s = s_max..0: n = ceil(B/R eta^s / (s + 1)), n_i = floor(n eta^-i), r_i = R eta^(i - s).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Rung:
    """n_configurations: how many are trained here. epochs: r_i, how long each has been trained at the end of it."""

    n_configurations: int
    epochs: int


@dataclass(frozen=True)
class Bracket:
    """One run of successive halving. rungs: epochs strictly increase, the last are max_resource."""

    rungs: tuple[Rung, ...]

    @property
    def s(self) -> int:
        """The paper's s: how often the bracket is cut down."""
        return len(self.rungs) - 1

    @property
    def n_configurations(self) -> int:
        return self.rungs[0].n_configurations

    @property
    def n_epochs(self) -> int:
        """Epochs the bracket trains when every promoted configuration continues from its checkpoint."""
        first = self.rungs[0]
        later = sum(rung.n_configurations * (rung.epochs - before.epochs) for before, rung in pairwise(self.rungs))
        return first.n_configurations * first.epochs + later


def brackets(max_resource: int, *, eta: int = 3) -> tuple[Bracket, ...]:
    """The brackets s = s_max..0 of one Hyperband iteration.

    max_resource: R >= 1, the most epochs any configuration is trained for. eta: >= 2, one in eta is promoted.
    When R is not a power of eta, r_i = R eta^(i - s) is rounded down; the last rung is R exactly and, as R >= eta^s,
    every rung is at least one epoch and longer than the one before.
    """
    if max_resource < 1:
        raise ValueError(f"max_resource must be >= 1, but got {max_resource=}")
    if eta < 2:
        raise ValueError(f"eta must be >= 2, but got {eta=}")
    s_max = 0
    while eta ** (s_max + 1) <= max_resource:
        s_max += 1
    return tuple(_bracket(max_resource, eta, s, s_max) for s in range(s_max, -1, -1))


def _bracket(max_resource: int, eta: int, s: int, s_max: int) -> Bracket:
    n = -(-(s_max + 1) * eta**s // (s + 1))  # -(-a // b) is the ceiling of a / b
    return Bracket(tuple(Rung(n // eta**i, max_resource * eta**i // eta**s) for i in range(s + 1)))


def total_epochs(plan: Iterable[Bracket]) -> int:
    """Epochs that all brackets of a plan train."""
    return sum(bracket.n_epochs for bracket in plan)


def fewest_epochs(plan: Iterable[Bracket], *, kappa: float) -> int:
    """What Algorithm 2 trains at least, with perfect predictions: see `fewest_epochs_of`."""
    return sum(fewest_epochs_of(bracket, kappa=kappa) for bracket in plan)


def fewest_epochs_of(bracket: Bracket, *, kappa: float) -> int:
    """Every configuration for one epoch, and max(1, ceil(kappa n_next)) of every rung to its end."""
    sizes = [rung.n_configurations for rung in bracket.rungs[1:]] + [1]
    epochs = bracket.n_configurations  # the first of each
    before = 1
    for rung, n_next in zip(bracket.rungs, sizes, strict=True):
        n_whole = min(rung.n_configurations, max(1, math.ceil(kappa * n_next - 1e-9)))
        epochs += n_whole * (rung.epochs - before)
        before = rung.epochs
    return epochs
