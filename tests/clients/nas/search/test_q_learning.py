"""Q-learning on spaces small enough to work out by hand, and the same calls give the same next architecture."""

from __future__ import annotations

import numpy as np
import pytest

from curvestop.clients.nas.search.q_learning import (
    BLOCKQNN_SCHEDULE,
    METAQNN_SCHEDULE,
    EpsilonSchedule,
    QLearning,
    ReplaySettings,
)
from curvestop.clients.nas.search.q_values import BLOCKQNN_VALUES, QSettings, QValues
from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain
from curvestop.clients.nas.spaces.layers import Layer
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace, State

TWO = ChoiceChain((Choice("operation", ("a", "b")), Choice("operation", ("a", "b"))))


def test_updates_go_from_the_last_layer_to_the_first() -> None:
    """alpha 0.1, reward 1: the last is 0.9 x 0.5 + 0.1 x 1 = 0.55; the first then 0.9 x 0.5 + 0.1 x 0.55 = 0.505."""
    values = QValues(TWO, QSettings(learning_rate=0.1))
    values.learn(("a", "b"), 1.0)
    assert values.of((1, "a")) == pytest.approx({"a": 0.5, "b": 0.55})
    assert values.of((0, None)) == pytest.approx({"a": 0.505, "b": 0.5})
    values.learn(("a", "a"), 0.0)  # the last is 0.45; the first takes the best of what follows, 0.55
    assert values.of((1, "a")) == pytest.approx({"a": 0.45, "b": 0.55})
    assert values.of((0, None))["a"] == pytest.approx(0.9 * 0.505 + 0.1 * 0.55)


def test_equation_2_of_blockqnn_adds_the_reward_at_every_layer() -> None:
    values = QValues(TWO, BLOCKQNN_VALUES)
    values.learn(("a", "b"), 1.0)
    assert values.of((1, "a"))["b"] == pytest.approx(0.505)
    assert values.of((0, None))["a"] == pytest.approx(0.99 * 0.5 + 0.01 * (1 + 0.505))


def test_what_is_not_in_the_space_is_refused() -> None:
    values = QValues(TWO)
    with pytest.raises(ValueError, match="but choice 2, c, is not"):
        values.learn(("a", "c"), 1.0)
    with pytest.raises(ValueError, match="must end with a terminating choice"):
        values.learn(("a",), 1.0)


def test_greedy_takes_the_best_and_epsilon_1_anything() -> None:
    values = QValues(TWO)
    values.learn(("b", "a"), 1.0)
    rng = np.random.default_rng(0)
    assert {values.sample(0.0, rng) for _ in range(20)} == {("b", "a")}
    assert {values.sample(1.0, rng) for _ in range(100)} == set(TWO.all())


def test_schedules_of_both_papers() -> None:
    assert METAQNN_SCHEDULE.n_models == 2_700
    assert [METAQNN_SCHEDULE.at(n) for n in (0, 1_499, 1_500, 1_799, 1_800, 2_699, 9_999)] == [1, 1, 0.9, 0.7, 0.6, 0.1, 0.1]
    assert BLOCKQNN_SCHEDULE.n_models == 178 * 64
    assert METAQNN_SCHEDULE.scaled(150).n_models == 150
    assert METAQNN_SCHEDULE.scaled(10).steps == tuple((k / 10, 1) for k in range(10, 0, -1))
    with pytest.raises(ValueError, match="10 steps needs at least as many models, but got 9"):
        METAQNN_SCHEDULE.scaled(9)


def reward(chosen: tuple[object, ...]) -> float:
    return sum(choice == "b" for choice in chosen) / len(chosen)


def test_nothing_is_trained_twice_and_a_space_that_is_searched_ends_it() -> None:
    search = QLearning(TWO, seed=0, schedule=EpsilonSchedule(((1.0, 100),)))
    trained = []
    while (proposal := search.propose()) is not None:
        trained.append(proposal.chosen)
        search.learn(proposal.chosen, reward(proposal.chosen))
    assert sorted(map(str, trained)) == sorted(map(str, TWO.all()))
    assert search.finished
    assert search.memory == {chosen: reward(chosen) for chosen in TWO.all()}


def test_the_same_calls_give_the_same_next_architecture() -> None:
    def after(n: int) -> QLearning[State, Layer]:
        search = QLearning(MetaQNNSpace(), seed=3, schedule=METAQNN_SCHEDULE.scaled(40))
        for _ in range(n):
            proposal = search.propose()
            assert proposal is not None
            search.learn(proposal.chosen, len(proposal.chosen) / 20)
        return search

    straight, again = after(31), after(30)
    proposal = again.propose()
    assert proposal is not None
    again.learn(proposal.chosen, len(proposal.chosen) / 20)
    assert straight.propose() == again.propose()
    assert list(straight.values.items()) == list(again.values.items())


def test_a_batch_waits_for_its_last_reward_and_is_learnt_in_order_of_proposal() -> None:
    def run(*, reverse: bool) -> dict[object, float]:
        search = QLearning(TWO, seed=1, schedule=EpsilonSchedule(((1.0, 3),)), replay=ReplaySettings(batch=2, n_updates=8))
        first, second = search.propose(), search.propose()
        assert first is not None
        assert second is not None
        assert search.propose() is None
        for chosen in sorted((first.chosen, second.chosen), reverse=reverse):
            assert search.memory == {}
            search.learn(chosen, reward(chosen))
        assert len(search.memory) == 2
        third = search.propose()
        assert third is not None
        search.learn(third.chosen, None)
        assert search.finished
        return {(s, a): q for s, a, q in search.values.items()}

    assert run(reverse=False) == run(reverse=True)


def test_a_failed_architecture_is_not_proposed_again() -> None:
    search = QLearning(TWO, seed=0, schedule=EpsilonSchedule(((1.0, 100),)))
    proposals = []
    while (proposal := search.propose()) is not None:
        proposals.append(proposal.chosen)
        search.learn(proposal.chosen, None)
    assert len(set(proposals)) == len(proposals) == 4
    assert search.memory == {}
    with pytest.raises(ValueError, match="must be a proposed architecture"):
        search.learn(("a", "a"), 1.0)


def test_exploitation_finds_better_ones() -> None:
    """Ten binary decisions, reward the share of "b": random draws have 0.5 on average."""
    chain = ChoiceChain((Choice("operation", ("a", "b")),) * 10)
    search = QLearning(chain, seed=0, schedule=EpsilonSchedule(((1.0, 40), (0.1, 20))), settings=BLOCKQNN_VALUES)
    rewards = []
    while (proposal := search.propose()) is not None:
        rewards.append(reward(proposal.chosen))
        search.learn(proposal.chosen, rewards[-1])
    assert np.mean(rewards[:40]) < 0.6
    assert np.mean(rewards[40:]) > 0.75
