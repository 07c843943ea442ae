"""Searches with a budget, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.hyperband.anytime import OURS, PEERS, compare, headline
from benchmarks.hyperband.budgeted_search import Complete, Draws, Made, scheduled, stopped
from benchmarks.replay.search_set import SearchSet
from curvestop.hyperband.scheduler.asynchronous import Asha
from curvestop.hyperband.scheduler.brackets import Bracket, Rung
from curvestop.srm.curve import Configuration
from curvestop.srm.policies.registry import POLICIES

RISING = np.outer(np.arange(1.0, 101.0), [0.2, 0.5, 1.0])
"""100 runs of 3 epochs that end at 1, 2, ..., 100 and never cross."""


def rising() -> SearchSet:
    return SearchSet("rising", "rising", RISING, np.arange(100.0)[:, None], noise=None)


def one_bracket(sample: Callable[[], Configuration], max_epochs: int, budget: float) -> Made:
    plan = [Bracket((Rung(6, epochs=1), Rung(2, epochs=max_epochs)))]
    return Made(Asha(sample, max_epochs=max_epochs, plan=plan))


def test_random_search_spends_three_epochs_on_each() -> None:
    draws = Draws.of(rising(), 0, 5)
    assert stopped(draws, None) == [Complete(3.0 * (k + 1), draws.search.finals[k]) for k in range(5)]


def test_a_rule_stops_what_it_stops() -> None:
    draws = Draws.of(rising(), 0, 12)
    # "one look" after epoch 1 of 3 with five others: the better half goes on, the first five in any case.
    rule = POLICIES["i-epoch"](share=0.34, keep=0.5)
    finals, spent, expected = draws.search.finals.tolist(), 0, []
    for k, final in enumerate(finals):
        goes_on = k < 5 or sum(other > final for other in finals[:k]) <= 0.5 * k
        spent += 3 if goes_on else 1
        expected += [Complete(float(spent), final)] if goes_on else []
    assert stopped(draws, rule) == expected


def test_a_scheduler_promotes_within_the_budget() -> None:
    draws = Draws.of(rising(), 1, 6)
    finals = draws.search.finals
    found = scheduled(draws, 100, make=one_bracket)
    # One in three is promoted: the best of the first three at once, after 3 + 2 epochs.
    assert found[0] == Complete(5.0, finals[:3].max())
    assert max(complete.score for complete in found) == finals.max()
    assert scheduled(draws, 4 / 3, make=one_bracket) == []  # four epochs complete nothing


def test_two_workers_take_the_next_draw_when_they_are_free() -> None:
    draws = Draws.of(rising(), 2, 3, workers=2)
    a, b, c = 3 * draws.durations
    assert np.mean(draws.durations) == pytest.approx(1)
    ends = {0: a, 1: b, 2: min(a, b) + c}
    finals = draws.search.finals
    assert stopped(draws, None) == sorted(Complete(2 * end, finals[k]) for k, end in ends.items())


def test_found_and_regret() -> None:
    draws = Draws.of(rising(), 0, 3)
    # The best 1 % of 100 runs is the one that ends at 100; the better half is 51..100, with a deviation of sqrt((50^2 - 1) / 12).
    deviation = np.sqrt((50**2 - 1) / 12)
    complete = [Complete(3, 90.0), Complete(7, 100.0)]
    assert draws.figures(complete, 1) == pytest.approx((0.0, 10 / deviation))
    assert draws.figures(complete, 7 / 3) == (1.0, 0.0)
    assert draws.figures(complete, 0.5) == pytest.approx((0.0, 49.5 / deviation))  # nothing is complete: as a median run


def test_where_early_ranks_hold_asha_finds_more_than_random_search() -> None:
    curves = np.outer(np.arange(1.0, 121.0), np.linspace(0.1, 1.0, 27))
    results = compare([SearchSet("s", "s", curves, np.arange(120.0)[:, None], noise=None)], range(3), (20, 40))
    random, ours = results["random, nothing stopped"], results[OURS]
    assert ours.shape == (1, 3, 2, 2)
    assert ours[..., 1].mean() < random[..., 1].mean()
    best_peer = max(results[name][0, :, 0, 0].mean() for name in PEERS)
    assert headline(results, (20, 40))["20"] == [round(float(ours[0, :, 0, 0].mean()), 4), round(float(best_peer), 4)]
