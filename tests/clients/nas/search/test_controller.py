"""LSTM controllers: probabilities that add up, skip connections, the bandit of the poster's Figure 2, searches that repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curvestop.clients.nas.search.controller import Chosen, Controller
from curvestop.clients.nas.search.policy_search import PPO, REINFORCE, PolicySearch, PolicySettings, PolicyTrainer
from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain

LAYER = (Choice("height", (3, 5, 7)), Choice("width", (3, 5, 7)), Choice("channels", (16, 64, 128)))
BINARY = ChoiceChain((Choice("operation", ("a", "b")),) * 3)
REWARDS = {3: 0.9, 5: 0.925, 7: 0.95, 16: 0.9, 64: 0.925, 128: 0.95}


def bandit(chosen: Chosen, rng: np.random.Generator) -> float:
    """Return the reward of Figure 2: the mean over the choices of the option's value times U(0.9, 1.1)."""
    return float(np.mean([REWARDS[int(option)] * rng.uniform(0.9, 1.1) for option in chosen]))


@pytest.mark.parametrize(
    "settings", [PolicySettings(batch=32), PolicySettings(batch=32, steps=3, clip=0.2)], ids=["reinforce", "ppo"]
)
def test_the_linear_bandit_is_won(settings: PolicySettings) -> None:
    torch.manual_seed(1)
    trainer = PolicyTrainer(Controller(ChoiceChain(LAYER * 2)), settings)
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    best = (7, 7, 128, 7, 7, 128)
    assert trainer.controller.probability(best) < 0.01
    for _ in range(60):
        batch = trainer.controller.sample(32, generator)
        trainer.update(batch, [bandit(chosen, rng) for chosen in batch])
    assert trainer.controller.probability(best) > 0.8


def test_probabilities_of_all_architectures_add_up() -> None:
    torch.manual_seed(0)
    controller = Controller(BINARY, n_hidden=8)
    assert sum(controller.probability(chosen) for chosen in BINARY.all()) == pytest.approx(1, abs=1e-5)


def test_skip_connections_are_decided_between_layers() -> None:
    torch.manual_seed(0)
    chain = ChoiceChain((Choice("operation", ("a", "b")),) * 3)
    controller = Controller(chain, n_hidden=8, choices_per_layer=1)
    pairs = ("1->2", "1->3", "2->3")
    every = [
        (*options, *(pair for pair, bit in zip(pairs, bits, strict=True) if bit))
        for options in chain.all()
        for bits in np.ndindex(2, 2, 2)
    ]
    assert sum(controller.probability(chosen) for chosen in every) == pytest.approx(1, abs=1e-5)
    sampled = controller.sample(200, torch.Generator().manual_seed(0))
    assert set(sampled) <= set(every)
    assert {pair for chosen in sampled for pair in chosen[3:]} == set(pairs)
    with pytest.raises(ValueError, match="must divide the number of choices, 3, but got 2"):
        Controller(chain, choices_per_layer=2)
    with pytest.raises(ValueError, match="must be of the controller's space"):
        controller.probability(("a", "x", "b"))


def test_skip_connections_that_pay_are_learnt() -> None:
    torch.manual_seed(0)
    trainer = PolicyTrainer(Controller(BINARY, choices_per_layer=1), PolicySettings(batch=32))
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        batch = trainer.controller.sample(32, generator)
        trainer.update(batch, [float("1->3" in chosen) for chosen in batch])
    sampled = trainer.controller.sample(100, generator)
    assert np.mean(["1->3" in chosen for chosen in sampled]) > 0.9


def reward(chosen: Chosen) -> float:
    return sum(option == "b" for option in chosen) / 3


@pytest.mark.parametrize("settings", [REINFORCE, PPO], ids=["reinforce", "ppo"])
def test_the_same_calls_in_any_order_of_a_batch_give_the_same_search(settings: PolicySettings) -> None:
    chain = ChoiceChain((Choice("operation", ("a", "b", "c")),) * 3)

    def run(*, reverse: bool) -> list[Chosen]:
        search = PolicySearch(chain, seed=2, n_models=12, settings=settings, n_hidden=8)
        trained: list[Chosen] = []
        while not search.finished:
            batch = []
            while (proposal := search.propose()) is not None:
                batch.append(proposal.chosen)
            for chosen in sorted(batch, key=str, reverse=reverse):
                search.learn(chosen, reward(chosen))
            trained += batch
        return trained

    trained = run(reverse=False)
    assert trained == run(reverse=True)
    assert len(set(trained)) == len(trained) == 12


def test_a_space_that_is_searched_ends_it_and_failures_teach_nothing() -> None:
    search = PolicySearch(BINARY, seed=0, n_models=100, n_hidden=8)
    trained = []
    while (proposal := search.propose()) is not None:
        trained.append(proposal.chosen)
        search.learn(proposal.chosen, None)
    assert len(set(trained)) == len(trained) <= 8
    assert search.finished
    with pytest.raises(ValueError, match="must be a proposed architecture"):
        search.learn(("a", "a", "a"), 1.0)
