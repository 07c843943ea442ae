"""What a history says of ranks, against counting everything anew."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.policies.rank_history import RankHistory, SortedScores

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@given(scores=SCORES, asked=st.integers(-6, 6).map(float))
def test_ranked_counts_as_counting_does(scores: list[float], asked: float) -> None:
    ranked = SortedScores()
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
    assert SortedScores(scores).median(without=one) == (statistics.median(others) if others else None)


def minimized() -> RankHistory:
    """Three trials of a loss: "a" complete at 2.0, "b" stopped after an epoch, "c" complete at 1.0."""
    history = RankHistory("minimize")
    for trial, values in {"a": [5.0, 2.0], "b": [4.0], "c": [6.0, 1.0]}.items():
        for value in values:
            history.observe(trial, value)
    history.complete("a")
    history.complete("c")
    return history


def test_ranks_are_among_all_that_reached_the_epoch() -> None:
    history = minimized()
    assert [history.share_better(trial, 1) for trial in "abc"] == [0.5, 0.0, 1.0]
    assert history.share_better("a", 2) == 1.0


def test_only_complete_trials_have_final_values() -> None:
    history = minimized()
    assert history.finals.nth_best(1) == -1.0
    assert history.finals.nth_best(3) is None  # "b" was better than both after its last epoch, and does not count
    assert history.best_complete(5) == ("c", "a")
    assert history.n_completed == 2


def test_completing_twice_changes_nothing() -> None:
    history = minimized()
    history.complete("a")
    assert len(history.finals) == 2
    with pytest.raises(KeyError):
        history.complete("unknown")


def test_best_so_far_survives_a_worse_value() -> None:
    history = RankHistory()
    assert [history.observe("a", value) for value in (1.0, 3.0, 2.0)] == [1, 2, 3]
    assert [history.best_so_far("a", epoch) for epoch in (1, 2, 3)] == [1.0, 3.0, 3.0]
    assert list(history.curve("a")) == [1.0, 3.0, 2.0]


def predict(history: RankHistory, epoch: int, scores: Mapping[str, float]) -> list[str]:
    """Add the predicted scores that are missing at an epoch; returns of which trials."""
    missing = list(history.without_prediction(epoch))
    history.add_predictions(epoch, [scores[trial] for trial in missing])
    return missing


def test_all_that_reached_an_epoch_are_ranked_by_the_newest_model_and_each_is_predicted_once() -> None:
    history = minimized()
    assert history.predicted_share_better("a", 1) is None
    assert predict(history, 1, {"a": 0.1, "b": 0.3, "c": 0.2}) == ["a", "b", "c"]
    assert [history.predicted_share_better(trial, 1) for trial in "abc"] == [1.0, 0.0, 0.5]
    history.observe("d", 9.0)
    assert predict(history, 1, {"d": 0.25}) == ["d"]
    assert [history.predicted_share_better(trial, 1) for trial in "abcd"] == [1.0, 0.0, 2 / 3, 1 / 3]
    assert history.predicted_share_better("a", 2) is None
    history.forget_predictions()
    assert history.predicted_share_better("a", 1) is None
    assert predict(history, 1, {"a": 0.9, "b": 0.3, "c": 0.2, "d": 0.1}) == ["a", "b", "c", "d"]
    assert [history.predicted_share_better(trial, 1) for trial in "abcd"] == [0.0, 1 / 3, 2 / 3, 1.0]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.sets(st.integers(0, 29)))
def test_ranks_do_not_depend_on_when_the_predictions_came(arrivals: list[str], predicted_after: set[int]) -> None:
    def score(epoch: int) -> Mapping[str, float]:
        return {trial: (ord(trial) * 7 + epoch * 3) % 5 for trial in "abcd"}

    often, once = RankHistory(), RankHistory()
    for i, trial in enumerate(arrivals):
        epoch = often.observe(trial, 0.0)
        once.observe(trial, 0.0)
        if i in predicted_after:
            predict(often, epoch, score(epoch))
    for trial in set(arrivals):
        for epoch in range(1, len(often.curve(trial)) + 1):
            for history in (often, once):
                predict(history, epoch, score(epoch))
            assert often.predicted_share_better(trial, epoch) == once.predicted_share_better(trial, epoch)


def test_a_trial_finished_early_is_judged_by_what_it_had() -> None:
    history = RankHistory()
    for trial, values in {"early": [0.5], "long": [0.1, 0.6]}.items():
        for value in values:
            history.observe(trial, value)
    history.complete("early")
    assert history.best_so_far("early", 2) == 0.5
    assert history.share_better("early", 2) == 1.0


def test_ranks_are_kept_only_where_asked_for() -> None:
    history = RankHistory(ranked_at={2})
    for trial in "ab":
        history.observe(trial, 1.0)
        history.observe(trial, 2.0)
    assert (len(history.bests[1]), len(history.bests[2])) == (0, 2)
