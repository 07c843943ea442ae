"""A search with an LSTM controller that is trained by REINFORCE with a baseline, or by PPO (extra [torch]).

Lei and Xiong (REINFORCE); Arora and Krone, "Learning to Design CNNs with Reinforcement Learning" (PPO).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from curvestop.clients.nas.search.controller import Chosen, Controller
from curvestop.clients.nas.search.q_learning import Proposal
from curvestop.clients.nas.spaces.chain import ChoiceChain

MAX_BATCHES_WITHOUT_NEW = 100
"""The number of batches in a row without a new architecture after which a search is finished."""


@dataclass(frozen=True)
class PolicySettings:
    """The parameters of the controller's training.

    Attributes:
        batch: Number of architectures between two updates of the controller. Default: 10.
        steps: Number of optimizer steps of an update, each on the whole batch. Default: 1.
        clip: PPO limits the ratio of probabilities to [1 - clip, 1 + clip]. None means REINFORCE. Default: None.
        learning_rate: Learning rate of Adam. Default: 0.01.
        weight_decay: Weight decay of Adam. Default: 0.0001.
        baseline_decay: Weight of the past in the moving average of the batches' mean rewards, which is subtracted from
            rewards. Default: 0.8.
        scaled: Whether rewards are divided by the moving average of the batches' standard deviations. Default: yes.
        entropy: Weight of the policy's entropy in the loss; more explores longer. Default: 0.
    """

    batch: int = 10
    steps: int = 1
    clip: float | None = None
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    baseline_decay: float = 0.8
    scaled: bool = True
    entropy: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.steps < 1:
            raise ValueError(f"batch and steps must be >= 1, but got {self.batch} and {self.steps}")
        if self.clip is not None and not 0 < self.clip < 1:
            raise ValueError(f"clip must be in (0, 1), but got {self.clip!r}")


REINFORCE = PolicySettings(entropy=0.1)
"""The parameters of `--controller reinforce`; learning rate and weight decay are Lei and Xiong's (Figure 2)."""

PPO = PolicySettings(steps=5, clip=0.2, learning_rate=0.005, entropy=0.1)
"""The parameters of `--controller ppo`."""


class PolicyTrainer:
    """Improves a controller by the rewards of architectures.

    Args:
        controller: The controller.
        settings: The parameters of its training.
    """

    def __init__(self, controller: Controller, settings: PolicySettings) -> None:
        self.controller, self.settings = controller, settings
        self.baseline: float | None = None
        self._spread: float | None = None
        self._optimizer = torch.optim.Adam(controller.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def update(self, architectures: list[Chosen], rewards: list[float]) -> None:
        """Raise the probabilities of architectures whose reward is above the baseline, and lower those of the others.

        Args:
            architectures: n architectures of the controller's space.
            rewards: Their n rewards, higher is better.
        """
        advantages = torch.tensor(self._advantages(rewards), dtype=torch.float32)  # (n,)
        with torch.no_grad():
            before = self.controller.log_probabilities(architectures)  # (n, choices and skip connections)
        for _ in range(self.settings.steps):
            now = self.controller.log_probabilities(architectures)
            loss = (
                _reinforce_loss(now, advantages)
                if self.settings.clip is None
                else _ppo_loss(now, before, advantages, self.settings.clip)
            )
            # The gradient of E[log p] is estimated by log p times the gradient of log p, as in REINFORCE.
            loss = loss + self.settings.entropy * (now.detach() * now).sum(dim=1).mean()
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()

    def _advantages(self, rewards: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return `(n,)` rewards relative to the baseline, and update the moving averages."""
        mean, spread, decay = float(np.mean(rewards)), float(np.std(rewards)), self.settings.baseline_decay
        # The baseline is that of earlier batches: with its own, a batch of equal rewards would teach nothing.
        baseline = mean if self.baseline is None else self.baseline
        self.baseline = decay * baseline + (1 - decay) * mean
        # The spread is averaged too, because a batch of equal rewards has none.
        self._spread = spread if self._spread is None else decay * self._spread + (1 - decay) * spread
        return (np.array(rewards) - baseline) / (self._spread + 1e-8 if self.settings.scaled else 1.0)


def _reinforce_loss(log_probabilities: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    return -(log_probabilities.sum(dim=1) * advantages).mean()


def _ppo_loss(now: torch.Tensor, before: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """Compute PPO's clipped loss of log-probabilities `(n, choices)`: Schulman et al. 2017, Equation 7, for each choice."""
    ratios = (now - before).exp()  # (n, choices), 1 at the first step
    clipped = ratios.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratios * advantages[:, None], clipped * advantages[:, None]).sum(dim=1).mean()


class PolicySearch:
    """A searcher whose architectures an LSTM controller writes, a batch at a time; `propose` and `learn` as in `QLearning`.

    An architecture that is sampled again is not trained again; its known reward counts. The state is a function of the seed and
    the calls, whatever the order in which the rewards of a batch arrive.

    Args:
        chain: The search space.
        seed: Random seed.
        n_models: Number of different architectures to propose.
        settings: The parameters of the controller's training. Default: `REINFORCE`.
        n_hidden: Size of the controller's states. Default: 32.
        choices_per_layer: Number of choices that make one layer; see `Controller`. Default: no skip connections.

    Examples:
        >>> from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain
        >>> chain = ChoiceChain((Choice("operation", ("conv", "pool")),) * 3)
        >>> search = PolicySearch(chain, seed=0, n_models=5, settings=PPO)
        >>> while (proposal := search.propose()) is not None:
        ...     search.learn(proposal.chosen, proposal.chosen.count("conv") / 3)  # here the network is trained
        >>> search.finished, len(search.memory)
        (True, 5)
    """

    label_name: Final = "batch"

    def __init__(
        self,
        chain: ChoiceChain,
        *,
        seed: int,
        n_models: int,
        settings: PolicySettings = REINFORCE,
        n_hidden: int = 32,
        choices_per_layer: int | None = None,
    ) -> None:
        self.seed, self.n_models = seed, n_models
        with torch.random.fork_rng(devices=[]):  # initial weights by the seed, without touching the caller's generator
            torch.manual_seed(seed)
            controller = Controller(chain, n_hidden=n_hidden, choices_per_layer=choices_per_layer)
        self.trainer = PolicyTrainer(controller, settings)
        self.memory: dict[Chosen, float | None] = {}  # None: the training failed
        self._batch: list[Chosen] = []
        self._to_propose: deque[Chosen] = deque()
        self._pending: set[Chosen] = set()
        self._n_proposed = self._n_batches = 0
        self._exhausted = False

    @property
    def controller(self) -> Controller:
        """The controller that writes the architectures."""
        return self.trainer.controller

    @property
    def finished(self) -> bool:
        """Whether every architecture was proposed and every reward has arrived."""
        return not self._pending and (self._exhausted or self._n_proposed >= self.n_models)

    def propose(self) -> Proposal[str | int] | None:
        """Return the next architecture to train; None while a batch waits for rewards, and when none is left."""
        if self._exhausted or self._n_proposed >= self.n_models:
            return None
        if not self._to_propose and not (self._pending or self._sample_batch()):
            return None
        if not self._to_propose:  # all of the batch is in training: its rewards come first
            return None
        chosen = self._to_propose.popleft()
        self._pending.add(chosen)
        self._n_proposed += 1
        return Proposal(chosen, float(self._n_batches))

    def learn(self, chosen: Chosen, reward: float | None) -> None:
        """Learn the reward of a proposed architecture; the controller is updated when the batch is complete.

        Args:
            chosen: The architecture.
            reward: Its reward, higher is better; None when its training failed.

        Raises:
            ValueError: If the architecture was not proposed, or its reward is known.
        """
        if chosen not in self._pending:
            raise ValueError(f"chosen must be a proposed architecture without a reward, but got {chosen!r}")
        self._pending.remove(chosen)
        self.memory[chosen] = reward
        # The update waits for the complete batch, so that the order of arrival does not matter.
        if not self._pending and not self._to_propose:
            self._update()

    def _sample_batch(self) -> bool:
        """Sample a batch with at least one new architecture, and return whether there is one."""
        # A batch without anything new teaches nothing; the next one is sampled at a higher temperature.
        for n_without_new in range(MAX_BATCHES_WITHOUT_NEW):
            seed = int(np.random.SeedSequence((self.seed, self._n_batches)).generate_state(1)[0])
            generator = torch.Generator().manual_seed(seed)
            n = self.trainer.settings.batch
            self._batch = self.controller.sample(n, generator, temperature=1 + n_without_new / 10)
            self._n_batches += 1
            # `dict.fromkeys` drops repetitions and keeps the order of sampling.
            new = [chosen for chosen in dict.fromkeys(self._batch) if chosen not in self.memory]
            if new:
                self._to_propose.extend(new[: self.n_models - self._n_proposed])
                return True
        self._exhausted = True
        return False

    def _update(self) -> None:
        """Update the controller with all architectures of the batch whose rewards are known."""
        # Repetitions in the batch count as often as they were sampled; failures do not count.
        known = [(chosen, reward) for chosen in self._batch if (reward := self.memory.get(chosen)) is not None]
        if known:
            self.trainer.update([chosen for chosen, _ in known], [reward for _, reward in known])
