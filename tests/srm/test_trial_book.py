"""What a study keeps of its trials."""

from __future__ import annotations

from random import Random

import pytest

from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial_book import TrialBook


def book(max_epochs: int) -> TrialBook:
    return TrialBook(StudySettings("s", max_epochs, policy="median"))


def report(to: TrialBook, trial: str, **values: float) -> None:
    """Report single values, written as e1000=0.5."""
    for epoch, value in values.items():
        to.record(Report(trial, (value,), first_epoch=int(epoch[1:])))


def test_of_a_long_training_a_curve_is_kept_at_400_points() -> None:
    trials = book(4000)  # a point is ten epochs
    report(trials, "a", e20=0.2, e40=0.6)
    assert list(trials.history.curve("a")) == pytest.approx([0.2, 0.2, 0.4, 0.6])
    report(trials, "a", e45=0.7)
    assert len(trials.history.curve("a")) == 4
    report(trials, "a", e4000=1.0)
    assert len(trials.history.curve("a")) == 400
    assert (trials.n_reached(4000), trials.history.curve("a")[-1]) == (1, 1.0)


def test_a_trial_that_finishes_between_two_points_has_its_last_value_as_the_final_one() -> None:
    trials = book(4000)
    report(trials, "a", e20=0.2, e25=0.3)
    report(trials, "short", e7=0.9)
    for trial in ("a", "short"):
        trials.finish(trial, "finished")
    assert trials.history.ranked_finals == [(0.3, "a"), (0.9, "short")]
    assert [curve.values for curve in trials.reached(4000, 2)] == [(0.2, 0.2, 0.3), (0.9,)]


def test_an_epoch_between_two_points_can_be_asked_about() -> None:
    trials = book(4000)
    report(trials, "a", e10=0.1, e30=0.3)
    report(trials, "b", e14=0.4)
    assert trials.n_reached(15) == 1
    assert list(trials.values_at(15)) == pytest.approx([0.15])
    report(trials, "b", e16=0.6)
    assert list(trials.values_at(15)) == pytest.approx([0.15, 0.5])
    curve_a, curve_b = trials.reached(15, 2)  # the grid of 15 epochs has all of them
    assert curve_a.values == pytest.approx([0.1] * 10 + [0.11, 0.12, 0.13, 0.14, 0.15])
    assert curve_b.values == pytest.approx([0.4] * 14 + [0.5])


@pytest.mark.parametrize("max_epochs", [6, 2400])
def test_the_order_of_a_trials_reports_changes_nothing(max_epochs: int) -> None:
    size, random = max_epochs // 6, Random(0)
    reports = [(trial, epoch * size, random.random()) for trial in "abc" for epoch in (1, 2, 4, 6)]
    in_order, shuffled = book(max_epochs), book(max_epochs)
    for to, these in ((in_order, reports), (shuffled, random.sample(reports, len(reports)))):
        for trial, epoch, value in these:
            to.record(Report(trial, (value,), first_epoch=epoch))
            assert to.history.share_better(trial, 1) >= 0  # read in between, so that it must be corrected
    for trial in "abc":
        assert shuffled.history.curve(trial) == in_order.history.curve(trial)
        for point in range(1, len(in_order.grid)):
            assert shuffled.history.share_better(trial, point) == in_order.history.share_better(trial, point)
    assert shuffled.history.ranked_finals == in_order.history.ranked_finals


@pytest.mark.parametrize("policy", ["threshold", "median", "patience", "any", "learned"])
def test_ten_to_the_nine_epochs_cost_nothing_by_themselves(policy: str) -> None:
    settings = {"rules": [{"name": "median"}]} if policy == "any" else {}
    trials = TrialBook(StudySettings("s", 10**9, policy=policy, policy_settings=settings))
    report(trials, "a", e1000000=0.1)
    assert trials.history.n_observed == 0


def test_more_epochs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_epochs must be at most 10\^9, but got 1000000001: count in larger steps"):
        StudySettings("s", 10**9 + 1)
