"""A space of a fixed number of decisions, each among a few options: cells, convolution chains, published tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

Option = str | int
Place = tuple[int, Option | None]


@dataclass(frozen=True)
class Decision:
    """One decision. kind: decisions of one kind share their options and a controller's weights."""

    kind: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise ValueError(f"options of {self.kind!r} must be at least one, all different, but got {self.options!r}")


@dataclass(frozen=True)
class DecisionChain:
    """decisions: in the order they are taken. To a Q-learning agent a state is its place and the last option taken."""

    decisions: tuple[Decision, ...]

    def __post_init__(self) -> None:
        if not self.decisions:
            raise ValueError("a chain must have at least one decision, but got none")

    @property
    def n_architectures(self) -> int:
        return math.prod(len(decision.options) for decision in self.decisions)

    def all(self) -> Iterator[tuple[Option, ...]]:
        return itertools.product(*(decision.options for decision in self.decisions))

    def start(self) -> Place:
        return 0, None

    def actions(self, state: Place) -> tuple[Option, ...]:
        return self.decisions[state[0]].options

    def step(self, state: Place, action: Option) -> Place | None:
        place = state[0] + 1
        return (place, action) if place < len(self.decisions) else None
