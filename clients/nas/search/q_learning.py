"""Q-learning with epsilon-greedy exploration and experience replay: MetaQNN, and BlockQNN's minibatches.

Baker et al. 2017 (ICLR), section 4.3 and Algorithm 1; Zhong et al. 2017, "Experiment Details".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic

import numpy as np

from curvestop.clients.nas.search.q_values import METAQNN_VALUES, A, QSettings, QValues, S, Space

MAX_SAMPLES_WITHOUT_NEW = 1_000
"""The number of samples in a row without a new architecture after which a space counts as exhausted."""


@dataclass(frozen=True)
class EpsilonSchedule:
    """The probability of a random choice, by the number of architectures proposed so far.

    Attributes:
        steps: `(epsilon, number of different architectures)` pairs, in order. Epsilon is in [0, 1].

    Examples:
        >>> schedule = EpsilonSchedule(((1.0, 3), (0.1, 2)))
        >>> [schedule.at(n) for n in range(5)]
        [1.0, 1.0, 1.0, 0.1, 0.1]
    """

    steps: tuple[tuple[float, int], ...]

    def __post_init__(self) -> None:
        if not self.steps or any(not 0 <= epsilon <= 1 or n < 0 for epsilon, n in self.steps):
            raise ValueError(f"a schedule must have (epsilon in [0, 1], number >= 0) steps, but got {self.steps!r}")

    @property
    def n_models(self) -> int:
        """Number of architectures of the whole schedule."""
        return sum(n for _, n in self.steps)

    def at(self, n_models: int) -> float:
        """Return epsilon after `n_models` different architectures; after the last step its epsilon stays.

        Args:
            n_models: Number of different architectures proposed so far, >= 0.
        """
        for epsilon, n in self.steps:
            if n_models < n:
                return epsilon
            n_models -= n
        return self.steps[-1][0]

    def scaled(self, n_models: int) -> EpsilonSchedule:
        """Return a schedule of another length with about the same shares, at least one architecture a step.

        Args:
            n_models: Number of architectures of the new schedule.

        Returns:
            A schedule with the same epsilons.

        Raises:
            ValueError: If there are fewer architectures than steps.
        """
        if n_models < len(self.steps):
            raise ValueError(f"a schedule of {len(self.steps)} steps needs at least as many models, but got {n_models}")
        # Each step gets one architecture; the rest is shared out by rounding the cumulative shares, so that the sum is exact.
        ends = np.cumsum([n for _, n in self.steps]) / self.n_models * (n_models - len(self.steps))
        numbers = np.diff(np.rint(ends).astype(int), prepend=0) + 1
        return EpsilonSchedule(tuple((epsilon, int(n)) for (epsilon, _), n in zip(self.steps, numbers, strict=True)))


_EPSILONS = tuple(k / 10 for k in range(10, 0, -1))
METAQNN_SCHEDULE = EpsilonSchedule(tuple(zip(_EPSILONS, (1500, 100, 100, 100, *[150] * 6), strict=True)))
"""MetaQNN's schedule: Baker et al. 2017, Table 2."""

BLOCKQNN_SCHEDULE = EpsilonSchedule(tuple((e, 64 * n) for e, n in zip(_EPSILONS, (95, *[7] * 3, *[10] * 5, 12), strict=True)))
"""BlockQNN's schedule: Zhong et al. 2017, Table 2, minibatches of 64 blocks."""


@dataclass(frozen=True)
class ReplaySettings:
    """The parameters of experience replay.

    Attributes:
        batch: Number of rewards that arrive before the memory is replayed. With more than 1, the next architectures are
            proposed only after all rewards of the batch. Default: 1.
        n_updates: Number of architectures drawn from the memory at each replay. Default: 100.
    """

    batch: int = 1
    n_updates: int = 100

    def __post_init__(self) -> None:
        if self.batch < 1 or self.n_updates < 0:
            raise ValueError(f"batch must be >= 1 and n_updates >= 0, but got {self.batch} and {self.n_updates}")


METAQNN_REPLAY = ReplaySettings()
"""MetaQNN's replay: Baker et al. 2017, section 4.3."""

BLOCKQNN_REPLAY = ReplaySettings(batch=64, n_updates=128 * 64)
"""BlockQNN's replay: Zhong et al. 2017, "Experiment Details", 128 blocks and 64 updates after each minibatch."""


@dataclass(frozen=True)
class Proposal(Generic[A]):
    """An architecture to train.

    Attributes:
        chosen: The choices that make the architecture.
        label: The number by which analyses group architectures: the epsilon it was sampled at, or its batch.
    """

    chosen: tuple[A, ...]
    label: float


class QLearning(Generic[S, A]):
    """A searcher that learns Q-values: `propose` what to train, `learn` its reward.

    Nothing is trained twice: the memory has the reward of what was trained before. The state is a function of the seed and the
    calls, so that the same calls lead to the same proposals.

    Args:
        space: The search space.
        seed: Random seed.
        schedule: Epsilon by the number of architectures; its length is the length of the search. Default: MetaQNN's.
        replay: The parameters of experience replay. Default: MetaQNN's.
        settings: The parameters of the Q-value update. Default: MetaQNN's.

    Examples:
        >>> from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain
        >>> space = ChoiceChain((Choice("operation", ("conv", "pool")),) * 3)
        >>> search = QLearning(space, seed=0, schedule=EpsilonSchedule(((1.0, 4), (0.1, 2))))
        >>> while (proposal := search.propose()) is not None:
        ...     search.learn(proposal.chosen, proposal.chosen.count("conv") / 3)  # here the network is trained
        >>> max(search.memory, key=search.memory.get)
        ('conv', 'conv', 'conv')
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
        self.memory: dict[tuple[A, ...], float] = {}  # the "replay dictionary" of section 4.3
        self._pending: dict[tuple[A, ...], float | None] = {}  # proposed; the reward while it waits for the rest of its batch
        self._failed: set[tuple[A, ...]] = set()
        self._n_proposed = self._n_sampled = self._n_replays = 0
        self._exhausted = False

    @property
    def finished(self) -> bool:
        """Whether every architecture was proposed and every reward has arrived."""
        return not self._pending and (self._exhausted or self._n_proposed >= self.schedule.n_models)

    def propose(self) -> Proposal[A] | None:
        """Return the next architecture to train; None while a batch waits for rewards, and when none is left."""
        if self._exhausted or self._n_proposed >= self.schedule.n_models or (self.replay.batch > 1 and self._batch_is_full()):
            return None
        epsilon = self.schedule.at(self._n_proposed)  # Table 2 counts different models, not samples
        for _ in range(MAX_SAMPLES_WITHOUT_NEW):
            chosen = self.values.sample(epsilon, self._rng(0, self._n_sampled))
            self._n_sampled += 1
            # What is pending or failed is sampled again without effect: its reward is not known.
            if chosen in self.memory:
                self._relearn(chosen)
            elif chosen not in self._pending and chosen not in self._failed:
                self._pending[chosen] = None
                self._n_proposed += 1
                return Proposal(chosen, epsilon)
        self._exhausted = True
        self._learn_complete_rewards()  # an exhausted space makes the last batch complete
        return None

    def learn(self, chosen: tuple[A, ...], reward: float | None) -> None:
        """Learn the reward of a proposed architecture.

        Args:
            chosen: The architecture.
            reward: Its reward, higher is better; None when its training failed, after which it is not proposed again.

        Raises:
            ValueError: If the architecture was not proposed, or its reward is known.
        """
        if chosen not in self._pending:
            raise ValueError(f"chosen must be a proposed architecture without a reward, but got {chosen!r}")
        if reward is None:
            del self._pending[chosen]  # a failure teaches nothing; it may be the machine's
            self._failed.add(chosen)
        else:
            self._pending[chosen] = reward
        self._learn_complete_rewards()

    def replay_memory(self, n_updates: int) -> None:
        """Update the Q-values with `n_updates` architectures that are drawn from the memory at random.

        Args:
            n_updates: Number of draws, with replacement; an empty memory is not replayed.
        """
        if not self.memory:
            return
        known = list(self.memory.items())  # in the order of arrival, which makes the draw reproducible
        for index in self._rng(1, self._n_replays).integers(len(known), size=n_updates).tolist():
            self.values.learn(*known[index])
        self._n_replays += 1

    def _relearn(self, chosen: tuple[A, ...]) -> None:
        """Learn the known reward of an architecture that was sampled again, instead of training it again (section 4.3)."""
        self.values.learn(chosen, self.memory[chosen])
        if self.replay.batch == 1:
            self.replay_memory(self.replay.n_updates)

    def _learn_complete_rewards(self) -> None:
        """Move rewards to the memory and replay it: single rewards at once, those of a batch when all have arrived."""
        arrived = [chosen for chosen, reward in self._pending.items() if reward is not None]
        if not arrived or (self.replay.batch > 1 and not (len(arrived) == len(self._pending) and self._batch_is_full())):
            return
        # In the order of proposal, so that the order in which trainings end does not matter.
        for chosen in arrived:
            reward = self._pending.pop(chosen)
            assert reward is not None
            self.memory[chosen] = reward
            if self.replay.batch > 1:
                self.values.learn(chosen, reward)  # "the agent updates 64 times successively"
        self.replay_memory(self.replay.n_updates)

    def _batch_is_full(self) -> bool:
        """Return whether pending rewards must arrive before more is proposed."""
        is_last = self._exhausted or self._n_proposed >= self.schedule.n_models
        return bool(self._pending) and (is_last or self._n_proposed % self.replay.batch == 0)

    def _rng(self, purpose: int, count: int) -> np.random.Generator:
        # A generator for each draw: how much one draw consumes does not change the next.
        # Purpose 0 are samples of architectures, purpose 1 replays.
        return np.random.default_rng((self.seed, purpose, count))
