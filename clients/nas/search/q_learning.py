"""Searching by Q-learning with epsilon-greedy exploration and experience replay: MetaQNN, and BlockQNN's minibatches.

Baker et al. 2017 (ICLR), section 4.3 and Algorithm 1; Zhong et al. 2017, "Experiment Details".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic

import numpy as np

from curvestop.clients.nas.search.q_values import METAQNN_VALUES, A, QSettings, QValues, S, Space

N_FRUITLESS = 1_000
"""Samples in a row without a new architecture after which a space counts as searched."""


@dataclass(frozen=True)
class EpsilonSchedule:
    """steps: `(epsilon, number of unique models)`, in order."""

    steps: tuple[tuple[float, int], ...]

    def __post_init__(self) -> None:
        if not self.steps or any(not 0 <= epsilon <= 1 or n < 0 for epsilon, n in self.steps):
            raise ValueError(f"a schedule needs (epsilon in [0, 1], number >= 0) steps, but got {self.steps!r}")

    @property
    def n_models(self) -> int:
        return sum(n for _, n in self.steps)

    def at(self, n_models: int) -> float:
        """epsilon after this many unique models; the last one from the end on."""
        for epsilon, n in self.steps:
            if n_models < n:
                return epsilon
            n_models -= n
        return self.steps[-1][0]

    def scaled(self, n_models: int) -> EpsilonSchedule:
        """The same shares of another total, which must be at least one model a step."""
        if n_models < len(self.steps):
            raise ValueError(f"a schedule of {len(self.steps)} steps needs as many models, but got {n_models}")
        ends = np.cumsum([n for _, n in self.steps]) / self.n_models * (n_models - len(self.steps))
        numbers = np.diff(np.rint(ends).astype(int), prepend=0) + 1
        return EpsilonSchedule(tuple((epsilon, int(n)) for (epsilon, _), n in zip(self.steps, numbers, strict=True)))


_EPSILONS = tuple(k / 10 for k in range(10, 0, -1))
METAQNN_SCHEDULE = EpsilonSchedule(tuple(zip(_EPSILONS, (1500, 100, 100, 100, *[150] * 6), strict=True)))
"""Baker et al. 2017, Table 2."""

BLOCKQNN_SCHEDULE = EpsilonSchedule(tuple((e, 64 * n) for e, n in zip(_EPSILONS, (95, *[7] * 3, *[10] * 5, 12), strict=True)))
"""Zhong et al. 2017, Table 2: minibatches of 64 blocks."""


@dataclass(frozen=True)
class ReplaySettings:
    """After every `batch` models whose rewards came in, `n_updates` architectures of the memory are learnt again."""

    batch: int = 1
    n_updates: int = 100

    def __post_init__(self) -> None:
        if self.batch < 1 or self.n_updates < 0:
            raise ValueError(f"batch must be >= 1 and n_updates >= 0, but got {self.batch} and {self.n_updates}")


METAQNN_REPLAY = ReplaySettings()
BLOCKQNN_REPLAY = ReplaySettings(batch=64, n_updates=128 * 64)


@dataclass(frozen=True)
class Proposal(Generic[A]):
    """An architecture to train. label: what it is grouped by in analyses: the epsilon it was sampled at, or its batch."""

    chosen: tuple[A, ...]
    label: float


class QLearning(Generic[S, A]):
    """A searcher: `propose` what to train, `learn` its reward. Nothing is trained twice: the memory answers for it.

    Its state is a function of the seed and the calls made; the n-th draw does not depend on how many came before, so one
    that is told the same calls again goes on in the same way.
    With batches, the next one begins when all rewards of the last are in, and they are learnt in the order of their proposal.
    """

    label_name: Final = "epsilon"

    def __init__(
        self,
        space: Space[S, A],
        *,
        seed: int,
        schedule: EpsilonSchedule = METAQNN_SCHEDULE,
        replay: ReplaySettings = METAQNN_REPLAY,
        settings: QSettings = METAQNN_VALUES,
    ) -> None:
        self.space, self.seed, self.schedule, self.replay = space, seed, schedule, replay
        self.values = QValues(space, settings)
        self.memory: dict[tuple[A, ...], float] = {}
        self._pending: dict[tuple[A, ...], float | None] = {}  # proposed, and the reward when it waits for its batch
        self._failed: set[tuple[A, ...]] = set()
        self._n_proposed = self._n_sampled = self._n_replays = 0
        self._exhausted = False

    @property
    def finished(self) -> bool:
        """Everything was proposed, and every reward is in."""
        return not self._pending and (self._exhausted or self._n_proposed >= self.schedule.n_models)

    def propose(self) -> Proposal[A] | None:
        """The next architecture to train; None while a batch is not over, and when there is none left."""
        if self._exhausted or self._n_proposed >= self.schedule.n_models or (self.replay.batch > 1 and self._batch_is_full()):
            return None
        epsilon = self.schedule.at(self._n_proposed)
        for _ in range(N_FRUITLESS):
            chosen = self.values.sample(epsilon, self._rng(0, self._n_sampled))
            self._n_sampled += 1
            if chosen in self.memory:
                self._present_again(chosen)
            elif chosen not in self._pending and chosen not in self._failed:
                self._pending[chosen] = None
                self._n_proposed += 1
                return Proposal(chosen, epsilon)
        self._exhausted = True
        self._take_in_what_is_due()
        return None

    def learn(self, chosen: tuple[A, ...], reward: float | None) -> None:
        """The reward of a proposal; None when it could not be had. Raises ValueError when it was not proposed."""
        if chosen not in self._pending:
            raise ValueError(f"only what was proposed can be learnt, but got {chosen!r}")
        if reward is None:
            del self._pending[chosen]
            self._failed.add(chosen)
        else:
            self._pending[chosen] = reward
        self._take_in_what_is_due()

    def remember(self, chosen: tuple[A, ...], reward: float) -> None:
        """Put a known reward in the memory. Raises ValueError when the architecture is not of the space."""
        self.values.path(chosen)
        self.memory[chosen] = reward

    def replay_memory(self, n_updates: int) -> None:
        """Learn architectures that are drawn from the memory."""
        if not self.memory:
            return
        known = list(self.memory.items())
        for index in self._rng(1, self._n_replays).integers(len(known), size=n_updates).tolist():
            self.values.learn(*known[index])
        self._n_replays += 1

    def _present_again(self, chosen: tuple[A, ...]) -> None:
        """Section 4.3: it is not trained again, but its known accuracy is presented to the agent."""
        self.values.learn(chosen, self.memory[chosen])
        if self.replay.batch == 1:
            self.replay_memory(self.replay.n_updates)

    def _take_in_what_is_due(self) -> None:
        """Single rewards at once; those of a batch when it is full and all are in."""
        due = [chosen for chosen, reward in self._pending.items() if reward is not None]
        if not due or (self.replay.batch > 1 and not (len(due) == len(self._pending) and self._batch_is_full())):
            return
        for chosen in due:
            reward = self._pending.pop(chosen)
            assert reward is not None
            self.memory[chosen] = reward
            if self.replay.batch > 1:
                self.values.learn(chosen, reward)  # "the agent updates 64 times successively"
        self.replay_memory(self.replay.n_updates)

    def _batch_is_full(self) -> bool:
        """Nothing more is proposed before the rewards of what is pending are in."""
        is_last = self._exhausted or self._n_proposed >= self.schedule.n_models
        return bool(self._pending) and (is_last or self._n_proposed % self.replay.batch == 0)

    def _rng(self, purpose: int, count: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, count))
