"""Stopping rules, worked by hand on small histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.curve import Prediction
from curvestop.srm.policies.evidence import Evidence, Rule, epochs_at
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.policies.registry import POLICIES
from curvestop.srm.policies.risk_budget import RiskBudget
from curvestop.srm.policies.rules import Combination, Halving, Median, Patience, Rank, Threshold, i_epoch
from curvestop.srm.policies.saving_budget import SavingBudget
from curvestop.srm.policies.shadow import Shadow
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule


def history_of(curves: Mapping[str, Sequence[float]], *, complete: str = "", direction: Direction = "maximize") -> RankHistory:
    history = RankHistory(direction)
    for trial, values in curves.items():
        for value in values:
            history.observe(trial, value)
        if trial in complete:
            history.complete(trial)
    return history


FIVE = {trial: [score, score + 0.1, score + 0.2] for trial, score in zip("abcde", (0.1, 0.2, 0.3, 0.4, 0.5), strict=True)}


def stops(rule: Rule, curves: Mapping[str, Sequence[float]], *, max_epochs: int = 10, complete: str = "") -> dict[str, bool]:
    """What the rule says of every trial at its last epoch, all having been observed."""
    history = history_of(curves, complete=complete)
    return {t: rule.decide(Evidence(history, t, len(v), max_epochs)).stop for t, v in curves.items()}


def test_looks_are_distinct_epochs_before_the_last() -> None:
    assert epochs_at((0.05, 0.1, 0.5, 0.9, 1.0), 10) == (1, 5, 9)
    assert epochs_at((0.05, 0.9), 2) == (1,)
    assert epochs_at((0.5,), 1) == ()


def test_rank_keeps_a_share() -> None:
    # After one epoch "a" is behind 4 of 4 others, "b" behind 3 of 4, "c" behind half.
    heads = {trial: values[:1] for trial, values in FIVE.items()}
    assert stops(Rank(keep=(0.6, 0.8), min_arrivals=4), heads) == {"a": True, "b": True, "c": False, "d": False, "e": False}


def test_rank_waits_for_enough_others() -> None:
    heads = {trial: values[:1] for trial, values in FIVE.items()}
    assert not any(stops(Rank(min_arrivals=5), heads).values())


def test_later_looks_keep_the_later_share() -> None:
    rule = Rank(keep=(0.6, 0.8), n_early=1, shares=(0.1, 0.3), min_arrivals=4)
    assert stops(rule, FIVE) == {"a": True, "b": False, "c": False, "d": False, "e": False}


def test_a_look_that_was_passed_between_two_decisions_is_made_up_for() -> None:
    history = history_of(FIVE)
    rule = Rank(shares=(0.2,), min_arrivals=4)
    assert rule.decide(Evidence(history, "a", 3, 10, previous=1)).stop
    assert not rule.decide(Evidence(history, "a", 3, 10, previous=2)).stop  # looked already


def test_i_epoch_looks_once() -> None:
    assert tuple(i_epoch(share=0.1).decision_points(50)) == (5,)


def test_halving_keeps_the_best_of_a_rung() -> None:
    heads = {trial: values[:1] for trial, values in FIVE.items()}
    assert tuple(Halving(first_share=0.1, eta=3).decision_points(10)) == (1, 3, 9)
    assert stops(Halving(eta=2), heads) == {"a": True, "b": True, "c": True, "d": False, "e": False}  # 5 // 2 go on
    assert not any(stops(Halving(eta=2, pool=6), heads).values())
    assert stops(Halving(eta=3), {"only": [0.0]}) == {"only": False}


def test_halving_keeps_those_equal_to_the_last_that_it_keeps() -> None:
    # Two of five continue; "b" and "c" are both second best.
    heads = {"a": [3.0], "b": [2.0], "c": [2.0], "d": [1.0], "e": [1.0]}
    assert stops(Halving(eta=2), heads) == {"a": False, "b": False, "c": False, "d": True, "e": True}


def test_a_rank_keeps_those_equal_to_the_last_that_it_keeps() -> None:
    # A quarter of the four others may be better: one is better than "b" and "c", three are better than "d" and "e".
    heads = {"a": [3.0], "b": [2.0], "c": [2.0], "d": [1.0], "e": [1.0]}
    assert stops(i_epoch(keep=0.25, min_arrivals=4), heads) == {"a": False, "b": False, "c": False, "d": True, "e": True}


def test_a_trial_equal_to_the_median_continues() -> None:
    heads = {"a": [1.0, 1.0], "b": [2.0, 2.0], "c": [3.0, 3.0], "low": [1.5], "equal": [2.0]}
    assert stops(Median(min_trials=3), heads, complete="abc", max_epochs=2)["low"]
    assert not stops(Median(min_trials=3), heads, complete="abc", max_epochs=2)["equal"]
    equal = Evidence(history_of(heads, complete="abc"), "equal", 1, 2)
    assert Median(min_trials=3).decide(equal).reason == "the best value so far, 2, is no worse than the median 2 at epoch 1"


def test_of_fewer_trials_than_eta_the_best_one_continues() -> None:
    assert stops(Halving(first_share=0.1, eta=3), {"a": [0.1], "b": [0.2]}) == {"a": True, "b": False}
    assert stops(Halving(first_share=0.1, eta=3), {"a": [0.1], "b": [0.2], "c": [0.3]}) == {"a": True, "b": True, "c": False}


def test_a_pool_that_is_not_full_is_said() -> None:
    history = history_of({"a": [0.1], "b": [0.2]})
    decision = Halving(first_share=0.1, pool=4).decide(Evidence(history, "a", 1, 10))
    assert (decision.stop, decision.reason) == (False, "only 1 other trial reached epoch 1, fewer than 3")


def test_who_is_held_out_is_the_same_for_ever() -> None:
    held_out = "".join(trial for trial in "abcdefgh" if Shadow(Rank(), hold_out=0.5).is_held_out(trial))
    assert held_out == "bcfg"  # those of zlib.crc32(b"0/a"), ... that are below 2**31


BY_VALUES: Mapping[str, Rule] = {
    "rank": Rank(keep=(0.3, 0.5), shares=(0.3,), min_arrivals=1),
    "i-epoch": i_epoch(share=0.3, keep=0.2, min_arrivals=1),
    "asha": Halving(first_share=0.3),
    "successive-halving": Halving(first_share=0.3, pool=4),
    "median of the complete": Median("completed", min_trials=1),
    "median of all": Median("all", min_trials=1),
    "predictive-rank": PredictiveRank(
        start=0.2, keep=(0.1, 0.5), min_arrivals=1, min_completed=2, protected=1, shares=(0.3,), slack=0.01
    ),
    "risk": RiskBudget(risk=0.5, ranking=PredictiveRank(min_arrivals=1, shares=(0.3,)), slack=0.01, least=0.01),
    "saving": SavingBudget(saving=0.9, ranking=PredictiveRank(min_arrivals=1, protected=0, shares=(0.3,))),
    "threshold": Threshold(StoppingRule(threshold=0.01)),
    "learned": LearnedPolicy(risk=0.5, min_others=1, min_completed=1, shares=(0.3,)),
}
few_values = st.sampled_from([0.0, 0.1, 0.2])
populations = st.lists(st.tuples(few_values, few_values, few_values), min_size=3, max_size=12)


@pytest.mark.parametrize("name", BY_VALUES)
@given(curves=populations, n_complete=st.integers(2, 3), direction=st.sampled_from(["maximize", "minimize"]))
def test_ties(name: str, curves: Sequence[tuple[float, ...]], n_complete: int, direction: Direction) -> None:
    """Equal trials are decided alike, and where all are equal none is stopped."""
    rule = BY_VALUES[name]
    history = history_of({f"t{i}": c for i, c in enumerate(curves)}, direction=direction)
    for i in range(n_complete):
        history.complete(f"t{i}")
    stopped: dict[tuple[float, ...], bool] = {}
    for i, curve in enumerate(curves[n_complete:], start=n_complete):
        evidence = Evidence(
            history, f"t{i}", 3, 10, prediction=Prediction(curve[-1], 0.0), n_curves=n_complete, all_equal=len(set(curves)) == 1
        )
        stop = rule.decide(evidence).stop
        assert stopped.setdefault(curve, stop) == stop
        assert not stop or len(set(curves)) > 1
        # A trial that leads all the way, alone or beside others, is never stopped.
        best_of = max if direction == "maximize" else min
        assert not stop or curve != tuple(map(best_of, zip(*curves, strict=True)))


def test_the_two_readings_of_the_median_rule() -> None:
    # Over complete trials ("d", "e") the median after epoch 2 is 0.55; over all other trials of "c" it is (0.3 + 0.5) / 2.
    curves = {t: v[:2] for t, v in FIVE.items() if t in "abc"} | {t: FIVE[t] for t in "de"}
    assert stops(Median("completed", min_trials=2), curves, complete="de")["c"]
    assert not stops(Median("all", min_trials=2), curves, complete="de")["c"]
    assert not stops(Median("completed", min_trials=3), curves, complete="de")["c"]


def test_median_without_stops_in_its_warm_up() -> None:
    assert list(Median(warm_up=0.25).decision_points(8)) == [3, 4, 5, 6, 7]


def test_patience() -> None:
    rule = Patience(share=0.2)
    assert stops(rule, {"flat": [0.5, 0.4, 0.5], "rising": [0.5, 0.4, 0.6], "short": [0.5, 0.4]}) == {
        "flat": True,
        "rising": False,
        "short": False,
    }


def test_patience_waits_while_no_trial_ever_changed() -> None:
    rule = Patience(share=0.2)
    assert stops(rule, {"first": [0.0] * 9}) == {"first": False}
    assert stops(rule, {"flat": [0.0] * 4, "same": [0.0] * 4}) == {"flat": False, "same": False}
    assert stops(rule, {"flat": [0.0] * 4, "rising": [0.0, 0.0, 0.0, 0.1]}) == {"flat": True, "rising": False}
    assert stops(rule, {"alone on a plateau": [0.0, 0.1, 0.1, 0.1]}) == {"alone on a plateau": True}


def test_threshold_is_the_thesis_rule() -> None:
    history = history_of({"a": [0.5, 0.9], "b": [0.1]}, complete="a")
    rule = POLICIES["threshold"](threshold=0.95)
    surely_worse = Evidence(history, "b", 1, 2, prediction=Prediction(0.5, 0.1), n_curves=20)
    decision = rule.decide(surely_worse)
    assert decision.stop
    assert decision.probability == pytest.approx(0.99997, abs=1e-5)  # Phi(4)
    assert not rule.decide(Evidence(history, "b", 1, 2, prediction=Prediction(0.8, 0.1), n_curves=20)).stop  # Phi(1)
    assert rule.decide(Evidence(history, "b", 1, 2)).probability is None


def test_combinations() -> None:
    yes, no = Halving(eta=2), Rank(min_arrivals=5)
    heads = {trial: values[:1] for trial, values in FIVE.items()}
    assert stops(Combination((yes, no), "any"), heads)["a"]
    assert not stops(Combination((yes, no), "all"), heads)["a"]
    assert tuple(Combination((i_epoch(share=0.5), i_epoch(share=0.2))).decision_points(10)) == (2, 5)


def predicted(**by_trial: float) -> RankHistory:
    """`FIVE` after two epochs, "d" and "e" complete, and these predicted scores."""
    curves = {t: v[:2] for t, v in FIVE.items() if t in "abc"} | {t: FIVE[t] for t in "de"}
    history = history_of(curves, complete="de")
    for epoch in (1, 2, 3) if by_trial else ():
        history.add_predictions(epoch, [by_trial.get(trial, 0.0) for trial in history.without_prediction(epoch)])
    return history


LATE = PredictiveRank(
    margin=1.0, slack=0.0, n_leaders=2, keep=(0.1, 0.9), min_completed=2, min_arrivals=4, protected=1, shares=(0.2,), late=0.0
)


def test_the_better_of_raw_and_predicted_place_counts() -> None:
    history = predicted(a=0.9, b=0.1, c=0.2, d=0.5, e=0.6)
    assert [LATE.rank_share(history, t, 2) for t in "abc"] == [0.0, 0.75, 0.5]
    assert LATE.rank_share(history, "a", 2, reliable=False) == 1.0
    assert not LATE.decide(Evidence(history, "a", 2, 10)).stop
    assert LATE.decide(Evidence(history, "b", 2, 10)).stop


def test_what_the_leaders_needed_is_kept() -> None:
    # The leaders "d" and "e" once had places 0.25 and 0: the best quarter is kept; with a margin of 2, half.
    history = predicted()
    assert LATE.kept_share(history, 2, 10) == 0.25
    assert replace(LATE, margin=2.0).kept_share(history, 2, 10) == 0.5
    assert replace(LATE, n_leaders=1).kept_share(history, 2, 10) == 0.1  # the least
    assert replace(LATE, start=0.7, min_completed=3).kept_share(history, 2, 10) == 0.7


def test_the_margin_is_wider_at_hasty_looks_and_where_stopping_saves_little() -> None:
    rule = PredictiveRank(margin=2.0, hasty=1.5, late=0.5)
    assert rule.margin_at(0.0) == 3.0
    assert rule.margin_at(0.75) == 4.0  # 2 / sqrt(1 / 4)
    assert rule.decision_points(100) == (2, 4, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90)
    history = predicted()  # a leader once had place 0.25
    assert replace(LATE, late=1.0).kept_share(history, 2, 4) == 0.5


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_ranks_do_not_depend_on_the_metrics_scale(scale: float, shift: float) -> None:
    moved = {t: [scale * y + shift for y in values] for t, values in FIVE.items()}
    rule = Rank(shares=(0.3,), min_arrivals=4)
    assert stops(rule, moved) == stops(rule, FIVE)


def test_minimised_metrics_are_ranked_the_other_way() -> None:
    history = history_of({t: [-y for y in values] for t, values in FIVE.items()}, direction="minimize")
    rule = Rank(shares=(0.3,), min_arrivals=4)
    assert {t: rule.decide(Evidence(history, t, 3, 10)).stop for t in FIVE} == stops(rule, FIVE)


def test_risk_budget_abstains_until_it_can_keep_its_word() -> None:
    rule = RiskBudget(risk=0.5, ranking=LATE)
    assert rule.n_needed == 1
    assert RiskBudget(risk=0.05).n_needed == 19
    assert "stops nothing yet" in RiskBudget(risk=0.2, ranking=LATE).decide(Evidence(predicted(), "a", 2, 10)).reason
    # The one leader "e" had place 0, so nothing in excess of it: the least share is kept.
    decision = rule.decide(Evidence(predicted(), "a", 2, 10))
    assert decision.stop
    assert decision.reason == "rank 5 of 5 at epoch 2, the best 1 continue at a risk of 0.5"


def test_shadowed_trials_continue() -> None:
    evidence = Evidence(predicted(), "a", 2, 10)
    for shadowed in (Shadow(LATE, shadow=True), Shadow(LATE, hold_out=0.9999)):
        decision = shadowed.decide(evidence)
        assert not decision.stop
        assert "would have stopped" in decision.reason
    assert Shadow(LATE).decide(evidence).stop
    share = sum(Shadow(LATE, hold_out=0.1).is_held_out(str(i)) for i in range(2000)) / 2000
    assert share == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("rank", {"keep": (0.0, 0.5)}), ("asha", {"eta": 1}), ("predictive-rank", {"n_leaders": 0}), ("risk", {"risk": 0.0})],
)
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        POLICIES[name](**settings)


def test_the_top_k_are_protected() -> None:
    history = predicted(a=0.9, b=0.1, c=0.2, d=0.5, e=0.6)
    assert LATE.decide(Evidence(history, "c", 2, 10)).stop  # two of the four others are better both by value and predicted
    assert not replace(LATE, protected=3).decide(Evidence(history, "c", 2, 10)).stop
    assert replace(LATE, protected=3).decide(Evidence(history, "b", 2, 10)).stop


def test_a_model_that_is_not_trusted_may_speak_for_a_trial_and_is_said_to_be_doubtful() -> None:
    history = predicted(a=0.9, b=0.1, c=0.2, d=0.5, e=0.6)
    unreliable = Evidence(history, "a", 2, 10, prediction=Prediction(0.5, 0.1), n_curves=20, why_unreliable="it knows too little")
    decision = LATE.decide(unreliable)
    assert not decision.stop
    assert decision.reason.endswith("(the model is unreliable: it knows too little)")
    none_yet = LATE.decide(Evidence(predicted(), "a", 2, 10, why_unreliable="fewer than 20 curves"))
    assert none_yet.stop
    assert none_yet.reason == "rank 5 of 5 at epoch 2, the best 2 continue (no forecast yet: fewer than 20 curves)"
