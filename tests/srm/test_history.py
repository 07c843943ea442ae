"""What a history says of ranks, against counting everything anew."""

from __future__ import annotations

import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.history import History, Ranked
from curvestop.srm.predictive_rank import PredictiveRank
from curvestop.srm.rules import Evidence

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@given(scores=SCORES, asked=st.integers(-6, 6).map(float))
def test_ranked_counts_as_counting_does(scores: list[float], asked: float) -> None:
    ranked = Ranked()
    for score in scores:
        ranked.add(score)
    assert ranked.better_than(asked) == sum(s > asked for s in scores)
    assert ranked.nth_best(1) == max(scores)
    assert ranked.nth_best(len(scores) + 1) is None
    assert ranked.median() == statistics.median(scores)


@given(scores=SCORES, data=st.data())
def test_median_without_one_that_is_there(scores: list[float], data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(scores))
    others = list(scores)
    others.remove(one)
    assert Ranked(scores).median(without=one) == (statistics.median(others) if others else None)


def minimised() -> History:
    """Three trials of a loss: "a" complete at 2.0, "b" stopped after an epoch, "c" complete at 1.0."""
    history = History("minimise")
    for trial, values in {"a": [5.0, 2.0], "b": [4.0], "c": [6.0, 1.0]}.items():
        for value in values:
            history.observe(trial, value)
    history.complete("a")
    history.complete("c")
    return history


def test_ranks_are_among_all_that_reached_the_epoch() -> None:
    history = minimised()
    assert [history.share_better(trial, 1) for trial in "abc"] == [0.5, 0.0, 1.0]
    assert history.share_better("a", 2) == 1.0


def test_only_complete_trials_have_final_values() -> None:
    history = minimised()
    assert history.finals.nth_best(1) == -1.0
    assert history.finals.nth_best(3) is None  # "b" was better than both after its last epoch, and does not count
    assert history.leaders(5) == ("c", "a")
    assert history.completed == ("a", "c")


def test_completing_twice_changes_nothing() -> None:
    history = minimised()
    history.complete("a")
    assert len(history.finals) == 2
    with pytest.raises(KeyError):
        history.complete("unknown")


def test_best_so_far_survives_a_worse_value() -> None:
    history = History()
    assert [history.observe("a", value) for value in (1.0, 3.0, 2.0)] == [1, 2, 3]
    assert [history.best_so_far("a", epoch) for epoch in (1, 2, 3)] == [1.0, 3.0, 3.0]
    assert list(history.curve("a")) == [1.0, 3.0, 2.0]


def test_predictions_of_a_new_model_replace_the_old_ones() -> None:
    history = minimised()
    assert history.predicted_share_better("a", 1) is None
    history.replace_predictions(1, {"a": 0.1, "b": 0.3})
    history.predict("c", 1, 0.2)
    assert [history.predicted_share_better(trial, 1) for trial in "abc"] == [1.0, 0.0, 0.5]
    history.predict("c", 1, 0.4)  # said again
    assert [history.predicted_share_better(trial, 1) for trial in "abc"] == [1.0, 0.5, 0.0]
    history.replace_predictions(1, {"a": 0.9})
    assert history.predicted_share_better("b", 1) is None


def test_ranks_are_kept_only_where_asked_for() -> None:
    history = History(ranked_at={2})
    for trial in "ab":
        history.observe(trial, 1.0)
        history.observe(trial, 2.0)
    assert (len(history.bests[1]), len(history.bests[2])) == (0, 2)


def test_a_decision_in_a_study_of_a_thousand_is_cheap() -> None:
    history = History()
    for i in range(1000):
        trial = str(i)
        for epoch in range(1, 101):
            history.observe(trial, (i * 7919 % 1000) / 1000 * (1 - 0.5**epoch))
        history.complete(trial)
    for epoch in PredictiveRank().looks(100):
        history.replace_predictions(epoch, {str(i): (i * 7907 % 1000) / 1000 for i in range(1000)})
    rule, durations = PredictiveRank(), []
    for i in range(200):
        epoch = PredictiveRank().looks(100)[i % 12]
        began = time.perf_counter()
        history.predict(str(i), epoch, 0.5)
        rule.decide(Evidence(history, str(i), epoch, 100))
        durations.append(time.perf_counter() - began)
    assert statistics.median(durations) < 300e-6  # 100 us when the machine is idle
    print(f"median {statistics.median(durations) * 1e6:.0f} us")
