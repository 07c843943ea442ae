"""Q-values of choices, learned from complete architectures and their rewards.

Baker et al. 2017 (ICLR), Equation 3, Algorithms 2 and 3; Zhong et al. 2017, Equation 2.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

S = TypeVar("S", bound=Hashable)
"""Type of a state."""

A = TypeVar("A", bound=Hashable)
"""Type of an action, which is one choice."""


class Space(Protocol[S, A]):
    """A search space as a decision process: which actions a state has, and where they lead. Equal states have equal actions."""

    def start(self) -> S:
        """Return the state before the first choice."""
        ...

    def actions(self, state: S) -> tuple[A, ...]:
        """Return the actions of a state, at least one.

        Args:
            state: A state that `start` or `step` returned.
        """
        ...

    def step(self, state: S, action: A) -> S | None:
        """Return the state after an action; None when the action terminates the architecture.

        Args:
            state: A state that `start` or `step` returned.
            action: One of its actions.
        """
        ...


@dataclass(frozen=True)
class QSettings:
    """The parameters of the Q-value update.

    Attributes:
        learning_rate: Alpha of Equation 3, in (0, 1]. Default: 0.01.
        discount: Gamma of Equation 3, in [0, 1]. Default: 1.
        initial: Initial Q-value of every action. Default: 0.5.
        reward_everywhere: Whether to add the reward at the update of every choice, not only of the last one (BlockQNN,
            Equation 2). Default: no.
        kind_first: Whether a random action is drawn among the kinds of actions first, their attribute `kind`, and then among
            those of the kind. Default: no, all actions are equally likely.
    """

    learning_rate: float = 0.01
    discount: float = 1.0
    initial: float = 0.5
    reward_everywhere: bool = False
    kind_first: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must be in (0, 1], but got {self.learning_rate!r}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount must be in [0, 1], but got {self.discount!r}")


METAQNN_VALUES = QSettings()
"""MetaQNN's parameters: Baker et al. 2017, section 4.3."""

BLOCKQNN_VALUES = QSettings(reward_everywhere=True)
"""BlockQNN's parameters: Zhong et al. 2017, Equation 2."""
BLOCKQNN_SEARCH = replace(BLOCKQNN_VALUES, kind_first=True)
"""The same where blocks are searched. The paper does not say how it explores: among all actions the terminal would be one of up
to 640, and nearly every random block as large as allowed."""


class _Node(Generic[A]):
    """The Q-values of one state, in the order of its actions."""

    def __init__(self, actions: tuple[A, ...], initial: float) -> None:
        self.actions, self.values = actions, [initial] * len(actions)


class QValues(Generic[S, A]):
    """A table of Q-values. A state is added when it is visited first, since the whole space would not fit into memory.

    Args:
        space: The search space.
        settings: The parameters of the update. Default: MetaQNN's.
    """

    def __init__(self, space: Space[S, A], settings: QSettings = METAQNN_VALUES) -> None:
        self.space, self.settings = space, settings
        self._nodes: dict[S, _Node[A]] = {}
        # Architectures are replayed often, so their paths through the table are kept.
        self._paths: dict[tuple[A, ...], list[tuple[_Node[A], int]]] = {}

    def of(self, state: S) -> dict[A, float]:
        """Return the Q-values of a state by action.

        Args:
            state: The state; one that was never visited has the initial values.
        """
        node = self._node(state)
        return dict(zip(node.actions, node.values, strict=True))  # a copy: the table changes by `learn` only

    def items(self) -> Iterator[tuple[S, A, float]]:
        """Yield `(state, action, Q-value)` of every state that was visited."""
        for state, node in self._nodes.items():
            for action, value in zip(node.actions, node.values, strict=True):
                yield state, action, value

    def sample(self, epsilon: float, rng: np.random.Generator) -> tuple[A, ...]:
        """Sample an architecture by the epsilon-greedy strategy (Algorithm 2).

        Args:
            epsilon: Probability, at each choice, of a random action instead of the best one, in [0, 1].
            rng: Source of randomness. It also breaks ties between best actions.

        Returns:
            The actions that make the architecture.
        """
        state: S | None = self.space.start()
        chosen: list[A] = []
        while state is not None:  # until a terminating action
            node = self._node(state)
            if rng.random() < epsilon:
                index = self._random_index(node.actions, rng)
            else:
                highest = max(node.values)
                # At the beginning all values are equal, and the first action must not always win.
                best = [i for i, value in enumerate(node.values) if value == highest]
                index = best[int(rng.integers(len(best)))]
            chosen.append(node.actions[index])
            state = self.space.step(state, chosen[-1])
        return tuple(chosen)

    def learn(self, chosen: tuple[A, ...], reward: float) -> None:
        """Update the Q-values along an architecture (Algorithm 3).

        Args:
            chosen: The actions that make the architecture.
            reward: Its reward, higher is better.

        Raises:
            ValueError: If the architecture is not in the space.
        """
        path = self.path(chosen)
        settings = self.settings
        following: _Node[A] | None = None
        # Equation 3, from the last choice to the first: the reward reaches the first choice in one pass.
        for node, index in reversed(path):
            target = reward if following is None else settings.discount * max(following.values)
            if settings.reward_everywhere and following is not None:
                target += reward  # BlockQNN, Equation 2
            # Q <- (1 - alpha) Q + alpha target
            node.values[index] += settings.learning_rate * (target - node.values[index])
            following = node

    def path(self, chosen: tuple[A, ...]) -> list[tuple[_Node[A], int]]:
        """Return the visited states of an architecture, each with the index of the action chosen there.

        Args:
            chosen: The actions that make the architecture.

        Returns:
            A pair for each action.

        Raises:
            ValueError: If an action is not allowed in its state, or the last action does not terminate the architecture.
        """
        if chosen not in self._paths:
            self._paths[chosen] = self._walk(chosen)
        return self._paths[chosen]

    def _walk(self, chosen: tuple[A, ...]) -> list[tuple[_Node[A], int]]:
        state: S | None = self.space.start()
        path = []
        for n, action in enumerate(chosen, start=1):
            if state is None or action not in self._node(state).actions:
                raise ValueError(f"an architecture must be in the space, but choice {n}, {action}, is not: {chosen!r}")
            node = self._node(state)
            # Nodes are shared by all paths and never replaced, so a path can be kept.
            path.append((node, node.actions.index(action)))
            state = self.space.step(state, action)
        if state is not None:
            raise ValueError(f"an architecture must end with a terminating choice, but got {chosen!r}")
        return path

    def _random_index(self, actions: tuple[A, ...], rng: np.random.Generator) -> int:
        """Return the position of an action that is drawn at random."""
        if not self.settings.kind_first:
            return int(rng.integers(len(actions)))
        kinds = [getattr(action, "kind") for action in actions]  # noqa: B009  # only spaces with kinds are explored so
        different = sorted(set(kinds))
        kind = different[int(rng.integers(len(different)))]
        return int(rng.choice([i for i, other in enumerate(kinds) if other == kind]))

    def _node(self, state: S) -> _Node[A]:
        node = self._nodes.get(state)
        if node is None:
            node = self._nodes[state] = _Node(self.space.actions(state), self.settings.initial)
        return node
