"""A search space of a fixed number of choices among a few options each: cells, chains of convolutions, published tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

Option = str | int
"""One value that a choice can take."""

ChainState = tuple[int, Option | None]
"""State of a Q-learning agent: the number of choices made so far, and the last option chosen (None before the first)."""


@dataclass(frozen=True)
class Choice:
    """One choice among a few options.

    Attributes:
        kind: Name of the choice. Choices of one kind have the same options and share a controller's weights.
        options: The options, at least one, all different.
    """

    kind: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        # Actions are found by their value: of two equal options, only the first would ever learn.
        if not self.options or len(set(self.options)) < len(self.options):
            raise ValueError(f"options of {self.kind!r} must be at least one, all different, but got {self.options!r}")


@dataclass(frozen=True)
class ChoiceChain:
    """A space in which every architecture is one option for each of the same choices.

    To a Q-learning agent the state is the number of choices made and the last option only, so that architectures which
    share a last option share what is learned about the next one.

    Attributes:
        choices: The choices, in the order in which they are made.

    Examples:
        >>> chain = ChoiceChain((Choice("operation", ("conv", "pool")), Choice("width", (16, 32))))
        >>> chain.actions(chain.start())
        ('conv', 'pool')
        >>> list(chain.all())
        [('conv', 16), ('conv', 32), ('pool', 16), ('pool', 32)]
    """

    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("a chain must have at least one choice, but got none")

    def all(self) -> Iterator[tuple[Option, ...]]:
        """Return every architecture of the space, the last choice varying fastest."""
        return itertools.product(*(choice.options for choice in self.choices))  # lazy: large spaces have millions

    def start(self) -> ChainState:
        """Return the state before the first choice."""
        return 0, None

    def actions(self, state: ChainState) -> tuple[Option, ...]:
        """Return the options of the next choice.

        Args:
            state: Number of choices made, below their total, and the last option, which is not read.
        """
        n_made, _ = state
        return self.choices[n_made].options

    def step(self, state: ChainState, action: Option) -> ChainState | None:
        """Return the state after choosing an option; None after the last choice.

        Args:
            state: Number of choices made, and the last option.
            action: The option chosen next.
        """
        n_made = state[0] + 1  # the last option only: keeping all would make a tree that is too large to learn
        return (n_made, action) if n_made < len(self.choices) else None
