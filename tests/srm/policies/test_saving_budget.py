"""The margin for a saving, by hand, and what a stated saving comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.policies.best_trial_ranks import BestTrialRanks, best_trial_ranks
from curvestop.srm.policies.evidence import Evidence
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.policies.saving_budget import SavingBudget, margin_for


def test_margin_by_hand() -> None:
    # One look after 2 of 10 epochs; a margin of m keeps m / 2 of the trials: 2 + 8 m / 2 = 4 epochs at m = 0.5.
    assert margin_for(0.4, [0.5], [2], 10) == pytest.approx(0.5, rel=1e-5)
    # Looks after 1 and 2 of 4 epochs, half needed at each: 1 + m / 2 + 2 (m / 2)^2 = 2 epochs at m / 2 = 0.5.
    assert margin_for(0.5, [0.5, 0.5], [1, 2], 4) == pytest.approx(1.0, rel=1e-5)
    assert margin_for(0.1, [0.5], [2], 10) == 1e-3  # not even the first decision point is paid for
    assert margin_for(1.5, [0.5], [2], 10) > 2  # all go on


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.floats(0.15, 0.9))
def test_the_margin_spends_what_may_be_spent(needed: list[float], to_spend: float) -> None:
    margin = margin_for(to_spend, needed, [1, 3, 6], 10)
    first, second, third = (min(margin * share, 1.0) for share in needed)
    assert 1 + 2 * first + 3 * first * second + 4 * first * second * third == pytest.approx(10 * to_spend, rel=1e-3)


def history_of(*curves: list[float]) -> RankHistory:
    history = RankHistory()
    for i, values in enumerate(curves):
        for value in values:
            history.observe(str(i), value)
        if len(values) == 4:
            history.complete(str(i))
    return history


def test_what_was_spent_too_much_is_paid_back() -> None:
    ranking = PredictiveRank(shares=(0.25,), min_arrivals=2, protected=1)
    rule = SavingBudget(saving=0.5, ranking=ranking, n_repaying=1)
    # Three trials of four epochs spent 12, and this one 1, where 16 x 0.5 = 8 were to be spent: nothing is left for it.
    history = history_of([1.0] * 4, [2.0] * 4, [3.0] * 4, [2.5])
    decision = rule.decide(Evidence(history, "3", 1, 4))
    assert decision.stop
    assert decision.reason == "rank 2 of 4 at epoch 1, the best 1 continue to save 50% (19% saved so far)"
    # The best one is protected, whatever was spent.
    history.observe("4", 9.0)
    assert not rule.decide(Evidence(history, "4", 1, 4)).stop
    # Trials that were stopped leave something over: 4 + 4 x 1 epochs of 20 x 0.5.
    frugal = history_of([1.0] * 4, [2.0], [3.0], [4.0], [1.5])
    assert not rule.decide(Evidence(frugal, "4", 1, 4)).stop


def test_places_of_leaders_follow_the_history() -> None:
    history = history_of([1.0, 1.0, 1.0, 9.0], [2.0, 2.0, 2.0, 8.0], [3.0])
    rule = PredictiveRank()
    assert best_trial_ranks(rule, history, 2, 1, reliable=True) == BestTrialRanks(usual=0.75, worst=1.0)
    assert best_trial_ranks(rule, history, 1, 1, reliable=True) == BestTrialRanks(usual=1.0, worst=1.0)
    history.observe("late", 0.0)  # one more, worse than both
    assert best_trial_ranks(rule, history, 2, 1, reliable=True) == BestTrialRanks(usual=0.5, worst=2 / 3)
    history.forget_predictions()  # as when a model is new
    history.add_predictions(1, [{"0": 3.0, "1": 2.0}.get(trial, 1.0) for trial in history.without_prediction(1)])
    assert best_trial_ranks(rule, history, 2, 1, reliable=True) == BestTrialRanks(usual=1 / 6, worst=1 / 3)
    assert best_trial_ranks(rule, history, 2, 1, reliable=False) == BestTrialRanks(usual=0.5, worst=2 / 3)


@pytest.mark.parametrize("settings", [{"saving": 0.0}, {"saving": 1.0}, {"n_repaying": 0}, {"slack": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SavingBudget(**settings)  # type: ignore[arg-type]
