"""Searching with an LSTM controller that is trained by REINFORCE with a baseline, or by PPO (extra [torch]).

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
from curvestop.clients.nas.spaces.chain import DecisionChain

N_FRUITLESS_BATCHES = 100
"""Batches in a row without a new architecture after which a search is over."""


@dataclass(frozen=True)
class PolicySettings:
    """batch: architectures between updates. steps: of the optimizer in each, all on the batch.

    clip: of PPO's probability ratios, at 1 - clip and 1 + clip; None is REINFORCE. learning_rate, weight_decay: Adam's.
    baseline_decay: of the moving average of batches' mean rewards, from which advantages are reckoned. scaled: divide them by the
    moving average of batches' standard deviations. entropy: weight of the policy's entropy, sampled, in the loss.
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
PPO = PolicySettings(steps=5, clip=0.2, learning_rate=0.005, entropy=0.1)


class PolicyTrainer:
    """A controller, and what improves it."""

    def __init__(self, controller: Controller, settings: PolicySettings) -> None:
        self.controller, self.settings = controller, settings
        self.baseline: float | None = None
        self._spread: float | None = None
        self._optimiser = torch.optim.Adam(controller.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def update(self, architectures: list[Chosen], rewards: list[float]) -> None:
        """Raise the probabilities of architectures whose reward is above the baseline."""
        advantages = torch.tensor(self._advantages(rewards), dtype=torch.float32)
        with torch.no_grad():
            before = self.controller.log_probabilities(architectures)
        for _ in range(self.settings.steps):
            logs = self.controller.log_probabilities(architectures)
            loss = (
                _reinforce(logs, advantages) if self.settings.clip is None else _ppo(logs, before, advantages, self.settings.clip)
            )
            loss = loss + self.settings.entropy * (logs.detach() * logs).sum(dim=1).mean()  # of -E[log p], the score's estimate
            self._optimiser.zero_grad()
            torch.autograd.backward(loss)
            self._optimiser.step()

    def _advantages(self, rewards: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """From the baseline before this batch; equal rewards have no spread of their own, so it is averaged too."""
        mean, spread, decay = float(np.mean(rewards)), float(np.std(rewards)), self.settings.baseline_decay
        baseline = mean if self.baseline is None else self.baseline
        self.baseline = decay * baseline + (1 - decay) * mean
        self._spread = spread if self._spread is None else decay * self._spread + (1 - decay) * spread
        return (np.array(rewards) - baseline) / (self._spread + 1e-8 if self.settings.scaled else 1.0)


def _reinforce(logs: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    return -(logs.sum(dim=1) * advantages).mean()


def _ppo(logs: torch.Tensor, before: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """Schulman et al. 2017, Equation 7, for each decision."""
    ratios = (logs - before).exp()
    clipped = ratios.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratios * advantages[:, None], clipped * advantages[:, None]).sum(dim=1).mean()


class PolicySearch:
    """A searcher (see `QLearning`) whose architectures a controller writes, a batch at a time.

    An architecture sampled again is not trained again: its known reward counts. Its state is a function of the seed and the
    calls made, and of a batch's rewards in whatever order they come.
    """

    label_name: Final = "batch"

    def __init__(
        self,
        chain: DecisionChain,
        *,
        seed: int,
        n_models: int,
        settings: PolicySettings = REINFORCE,
        n_hidden: int = 32,
        decisions_per_layer: int | None = None,
    ) -> None:
        self.seed, self.n_models = seed, n_models
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            controller = Controller(chain, n_hidden=n_hidden, decisions_per_layer=decisions_per_layer)
        self.trainer = PolicyTrainer(controller, settings)
        self.memory: dict[Chosen, float | None] = {}
        self._batch: list[Chosen] = []
        self._to_propose: deque[Chosen] = deque()
        self._pending: set[Chosen] = set()
        self._n_proposed = self._n_batches = 0
        self._exhausted = False

    @property
    def controller(self) -> Controller:
        return self.trainer.controller

    @property
    def finished(self) -> bool:
        return not self._pending and (self._exhausted or self._n_proposed >= self.n_models)

    def propose(self) -> Proposal[str | int] | None:
        """The next architecture; None while the batch's rewards are not in, and when there is none left."""
        if self._exhausted or self._n_proposed >= self.n_models:
            return None
        if not self._to_propose and not (self._pending or self._sampled_new()):
            return None
        if not self._to_propose:
            return None
        chosen = self._to_propose.popleft()
        self._pending.add(chosen)
        self._n_proposed += 1
        return Proposal(chosen, float(self._n_batches))

    def learn(self, chosen: Chosen, reward: float | None) -> None:
        if chosen not in self._pending:
            raise ValueError(f"only what was proposed can be learnt, but got {chosen!r}")
        self._pending.remove(chosen)
        self.memory[chosen] = reward
        if not self._pending and not self._to_propose:
            self._update()

    def _sampled_new(self) -> bool:
        """A batch with something new in it; each without is followed by one that is drawn more evenly, and teaches nothing."""
        for fruitless in range(N_FRUITLESS_BATCHES):
            seed = int(np.random.SeedSequence((self.seed, self._n_batches)).generate_state(1)[0])
            generator = torch.Generator().manual_seed(seed)
            n = self.trainer.settings.batch
            self._batch = self.controller.sample(n, generator, temperature=1 + fruitless / 10)
            self._n_batches += 1
            new = [chosen for chosen in dict.fromkeys(self._batch) if chosen not in self.memory]
            if new:
                self._to_propose.extend(new[: self.n_models - self._n_proposed])
                return True
        self._exhausted = True
        return False

    def _update(self) -> None:
        known = [(chosen, reward) for chosen in self._batch if (reward := self.memory.get(chosen)) is not None]
        if known:
            self.trainer.update([chosen for chosen, _ in known], [reward for _, reward in known])
