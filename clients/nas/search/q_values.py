"""Q-values of layer choices, learnt from whole architectures and their accuracy.

Baker et al. 2017 (ICLR), Equation 3, Algorithms 2 and 3; Zhong et al. 2017, Equation 2.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

S = TypeVar("S", bound=Hashable)
A = TypeVar("A", bound=Hashable)


class Space(Protocol[S, A]):
    """What may be chosen where. Equal states have equal actions."""

    def start(self) -> S: ...

    def actions(self, state: S) -> tuple[A, ...]: ...

    def step(self, state: S, action: A) -> S | None:
        """The next state; None when the action terminates."""
        ...


@dataclass(frozen=True)
class QSettings:
    """learning_rate: alpha. discount: gamma. initial: of every Q-value.

    reward_everywhere: add the reward at each layer's update, not only at the last (BlockQNN, Equation 2).
    """

    learning_rate: float = 0.01
    discount: float = 1.0
    initial: float = 0.5
    reward_everywhere: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must be in (0, 1], but got {self.learning_rate!r}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount must be in [0, 1], but got {self.discount!r}")


METAQNN_VALUES = QSettings()
"""Baker et al. 2017, section 4.3."""

BLOCKQNN_VALUES = QSettings(reward_everywhere=True)
"""Zhong et al. 2017, Equation 2."""


class _Node(Generic[A]):
    def __init__(self, actions: tuple[A, ...], initial: float) -> None:
        self.actions, self.values = actions, [initial] * len(actions)


class QValues(Generic[S, A]):
    """A table of Q-values that grows where the agent goes."""

    def __init__(self, space: Space[S, A], settings: QSettings = METAQNN_VALUES) -> None:
        self.space, self.settings = space, settings
        self._nodes: dict[S, _Node[A]] = {}
        self._paths: dict[tuple[A, ...], list[tuple[_Node[A], int]]] = {}

    def of(self, state: S) -> dict[A, float]:
        """By action."""
        node = self._node(state)
        return dict(zip(node.actions, node.values, strict=True))

    def items(self) -> Iterator[tuple[S, A, float]]:
        """Of every state that was visited."""
        for state, node in self._nodes.items():
            for action, value in zip(node.actions, node.values, strict=True):
                yield state, action, value

    def sample(self, epsilon: float, rng: np.random.Generator) -> tuple[A, ...]:
        """Algorithm 2: a random action with probability epsilon, else the best one (ties broken at random)."""
        state: S | None = self.space.start()
        chosen: list[A] = []
        while state is not None:
            node = self._node(state)
            if rng.random() < epsilon:
                index = int(rng.integers(len(node.actions)))
            else:
                highest = max(node.values)
                best = [i for i, value in enumerate(node.values) if value == highest]
                index = best[int(rng.integers(len(best)))]
            chosen.append(node.actions[index])
            state = self.space.step(state, chosen[-1])
        return tuple(chosen)

    def learn(self, chosen: tuple[A, ...], reward: float) -> None:
        """Algorithm 3: Equation 3 for every transition, the last one first. Raises ValueError when it is not in the space."""
        path = self.path(chosen)
        settings = self.settings
        ahead: _Node[A] | None = None
        for node, index in reversed(path):
            target = reward if ahead is None else settings.discount * max(ahead.values)
            if settings.reward_everywhere and ahead is not None:
                target += reward
            node.values[index] += settings.learning_rate * (target - node.values[index])
            ahead = node

    def path(self, chosen: tuple[A, ...]) -> list[tuple[_Node[A], int]]:
        """Where an architecture leads through the table. Raises ValueError when it is not in the space."""
        if chosen not in self._paths:
            self._paths[chosen] = self._walk(chosen)
        return self._paths[chosen]

    def _walk(self, chosen: tuple[A, ...]) -> list[tuple[_Node[A], int]]:
        state: S | None = self.space.start()
        path = []
        for place, action in enumerate(chosen, start=1):
            if state is None or action not in self._node(state).actions:
                raise ValueError(f"an architecture must be of the space, but its choice {place}, {action}, is not in {chosen!r}")
            node = self._node(state)
            path.append((node, node.actions.index(action)))
            state = self.space.step(state, action)
        if state is not None:
            raise ValueError(f"an architecture must end with a terminating choice, but got {chosen!r}")
        return path

    def _node(self, state: S) -> _Node[A]:
        node = self._nodes.get(state)
        if node is None:
            node = self._nodes[state] = _Node(self.space.actions(state), self.settings.initial)
        return node
