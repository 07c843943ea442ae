"""Asynchronous f-Hyperband step by step, and the promises that it shares with the synchronous one."""

from __future__ import annotations

import pytest

from curvestop.hyperband.scheduler.asynchronous import Asha, AsynchronousHyperband
from curvestop.hyperband.scheduler.brackets import Bracket, Rung, single_bracket
from curvestop.hyperband.scheduler.open_rung import OpenRung, Score
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import RungOpened, TrialPromoted, TrialRecord
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts_scheduler import SEEDS, HyperbandContract, SchedulerContract, SimulatedRun, numbered, rising_study


class TestSynchronous(HyperbandContract):
    make = FHyperband


class TestAsynchronous(HyperbandContract):
    make = AsynchronousHyperband

    @pytest.mark.parametrize("seed", SEEDS)
    def test_no_worker_waits_while_there_is_a_configuration_to_draw(self, seed: int) -> None:
        simulated = SimulatedRun(self.stopping(), 4, seed)
        while len(simulated.scheduler.records) < 5 * 17:
            simulated.start_jobs()
            assert len(simulated.running) == 4
            simulated.step(list(simulated.running)[seed % 4])


def job_of(scheduler: AsynchronousHyperband) -> tuple[str, int, int]:
    job = scheduler.ask()
    assert job is not None
    return job.trial, job.first_epoch, job.target_epoch


def measured(scheduler: AsynchronousHyperband, trial: str, *values: float) -> None:
    for value in values:
        scheduler.report(trial, value)
    scheduler.job_over(trial)


def test_one_in_eta_of_those_that_are_through_is_promoted_at_once() -> None:
    scheduler = AsynchronousHyperband(numbered(), max_epochs=9)
    for index, value in enumerate([0.3, 0.1]):
        assert job_of(scheduler) == (f"i0-s2-00{index}", 1, 1)
        measured(scheduler, f"i0-s2-00{index}", value)
    assert job_of(scheduler) == ("i0-s2-002", 1, 1)  # the best floor(2 / 3) of two: none
    measured(scheduler, "i0-s2-002", 0.2)
    assert job_of(scheduler) == ("i0-s2-000", 2, 3)  # of three, the best
    assert job_of(scheduler) == ("i0-s2-003", 1, 1)
    measured(scheduler, "i0-s2-003", 0.9)
    assert job_of(scheduler) == ("i0-s2-003", 2, 3)  # better than the one that was promoted: 2 of 4 were promoted
    assert [(e.record.trial, e.to.index) for e in scheduler.take_events() if isinstance(e, TrialPromoted)] == [
        ("i0-s2-000", 1), ("i0-s2-003", 1),
    ]  # fmt: skip


def test_what_is_not_promoted_is_paused_until_as_many_as_are_promoted_are_better() -> None:
    scheduler = AsynchronousHyperband(numbered(), max_epochs=9)
    for index in range(4):  # of 9, three go on; each value is better than all before
        trial, *_ = job_of(scheduler)
        while not trial.endswith(f"{index}"):
            trial, *_ = job_of(scheduler)  # promotions in between, left in training
        measured(scheduler, trial, 0.1 * (index + 1))
    states = {r.trial: r.state for r in scheduler.records}
    assert states["i0-s2-000"] == "dropped"  # three are better
    assert states["i0-s2-001"] == "paused"  # two are


def test_the_next_bracket_begins_when_all_of_one_are_drawn() -> None:
    scheduler = AsynchronousHyperband(numbered(), max_epochs=9, n_iterations=2)
    names = [job_of(scheduler)[0] for _ in range(9 + 5 + 3 + 1)]
    assert names[8:10] + names[13:15] + names[16:] == [
        "i0-s2-008", "i0-s1-000", "i0-s1-004", "i0-s0-000", "i0-s0-002", "i1-s2-000",
    ]  # fmt: skip


def test_a_stopped_trial_is_not_promoted_before_its_worker_is_free() -> None:
    scheduler = AsynchronousHyperband(numbered(), max_epochs=3)
    for _ in range(3):
        job_of(scheduler)
    for index in range(3):
        scheduler.report(f"i0-s1-00{index}", 0.5)
    assert job_of(scheduler)[0] == "i0-s0-000"
    scheduler.job_over("i0-s1-000")
    assert job_of(scheduler) == ("i0-s1-000", 2, 3)
    with pytest.raises(ValueError, match="trial must be one that is running, but got 'i0-s1-001'"):
        scheduler.report("i0-s1-001", 0.5)


class TestAsha(SchedulerContract):
    make = Asha

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("n_workers", [1, 2, 5])
    @pytest.mark.parametrize("budget", [3, 8.5, 20])
    def test_it_spends_its_plan_and_no_more(self, seed: int, n_workers: int, budget: float) -> None:
        plan = [single_bracket(27, budget=budget)]
        scheduler = self.make(numbered(), max_epochs=27, plan=plan)
        SimulatedRun(scheduler, n_workers, seed).run()
        assert plan[0].n_epochs - 27 < scheduler.epochs_trained <= plan[0].n_epochs <= budget * 27
        assert {record.state for record in scheduler.records} == {"finished", "dropped"}
        best = scheduler.best()
        assert best is not None
        assert best.values[-1] == max(r.values[-1] for r in scheduler.records if len(r.values) == 27)

    def test_failures_count_as_trials_that_came_through_the_first_rung(self) -> None:
        # By hand: the plan has 17 + 5 x 2 + 6 = 33 epochs, each trial counts as one epoch, and 9 are for promotions: 33 - 24 = 9.
        scheduler = self.make(numbered(), max_epochs=9, plan=[single_bracket(9, budget=4)])
        SimulatedRun(scheduler, 3, fails=lambda trial, epoch: True).run()
        assert [r.state for r in scheduler.records] == ["failed"] * 25
        assert scheduler.epochs_trained == 0

    @pytest.mark.parametrize("n_workers", [1, 4])
    def test_what_stops_save_is_spent_on_more_configurations(self, n_workers: int) -> None:
        plan = [single_bracket(27, budget=10)]
        for seed in SEEDS:
            scheduler = self.make(numbered(), max_epochs=27, plan=plan, study=rising_study(27), recall=CutoffRecall())
            SimulatedRun(scheduler, n_workers, seed).run()
            assert sum(len(record.stops) for record in scheduler.records) > 0
            assert len(scheduler.records) > plan[0].n_configurations
            assert plan[0].n_epochs - 27 < scheduler.epochs_trained <= plan[0].n_epochs


def test_asha_ranks_a_rung_by_the_best_value_so_far() -> None:
    # By hand: at the end of rung 1 (epoch 3) the bests are .9, .8 and .5; the last values rank the second trial first.
    curves = {"i0-s1-000": (0.9, 0.2, 0.3), "i0-s1-001": (0.1, 0.2, 0.8), "i0-s1-002": (0.5, 0.4, 0.4)}
    plan = [Bracket((Rung(3, epochs=3), Rung(1, epochs=9)))]
    for scheduler, promoted in (
        (Asha(numbered(), max_epochs=9, plan=plan), "i0-s1-000"),
        (AsynchronousHyperband(numbered(), max_epochs=9, plan=plan), "i0-s1-001"),
        # When lower is better, the best so far are .2, .1 and .4.
        (Asha(numbered(), max_epochs=9, plan=plan, direction="minimize"), "i0-s1-001"),
    ):
        for trial, values in curves.items():
            assert job_of(scheduler) == (trial, 1, 3)
            measured(scheduler, trial, *values)
        assert job_of(scheduler) == (promoted, 4, 9)


def test_a_forecast_ranks_as_much_as_the_value() -> None:
    rung = OpenRung(RungOpened(0, single_bracket(9, budget=4), 0, ()))
    records = [TrialRecord(name, {}, 0, 2) for name in "abcd"]
    # By hand: places by value are 7/8, 5/8, 3/8, 1/8, by forecast 3/8, 7/8, 5/8, 1/8. With l = ln 7 and m = ln 5/3 the sums of
    # the log odds are l - m, m + l, 0 and -2 l.
    for record, value, forecast in zip(records, (0.9, 0.8, 0.5, 0.4), (0.6, 0.9, 0.7, 0.1), strict=True):
        rung.members.append(record)
        rung.scores[record.trial] = Score(value, predicted=False, best=value, forecast=forecast)
    assert [record.trial for record in rung.ranked("maximize")] == ["b", "a", "c", "d"]
    assert [record.trial for record in rung.ranked("minimize")] == ["d", "c", "a", "b"]
    # Without a forecast a trial has its place by value alone: of the three others' forecasts, c's is now the second of three.
    rung.scores["b"] = Score(0.8, predicted=False, best=0.8)
    # a: (ln 7 + 0) / 2 = 0.97, b: ln 5/3 = 0.51, c: (-0.51 + ln 5) / 2 = 0.55
    assert [record.trial for record in rung.ranked("maximize")] == ["a", "c", "b", "d"]


class Forecasting(Asha):
    forecasts_from = 0


class TestForecasting(TestAsha):
    make = Forecasting


def test_asha_promotes_what_will_be_better() -> None:
    def curve(start: float, slope: float) -> list[float]:
        return [start, start + slope, start + 2 * slope]

    # They start with .1, .45 and .5 and end with .7, 1.25 and .5.
    drawn = [{"start": 0.1, "slope": 0.3}, {"start": 0.45, "slope": 0.4}, {"start": 0.5, "slope": 0.0}]
    for knows, promoted in ((False, "i0-s1-002"), (True, "i0-s1-001")):
        study = Study(StudySettings("s", 3, rule=StoppingRule(threshold=0.999)))
        for known in range(25 if knows else 0):
            start, slope = known % 5 / 10, known // 5 / 10
            study.report(f"known {known}", curve(start, slope), configuration={"start": start, "slope": slope})
        plan = [Bracket((Rung(3, epochs=1), Rung(1, epochs=3)))]
        scheduler = Forecasting(iter(drawn).__next__, max_epochs=3, plan=plan, study=study)
        for configuration in drawn:
            measured(scheduler, job_of(scheduler)[0], configuration["start"])
        assert job_of(scheduler) == (promoted, 2, 3)


def test_what_a_promoted_trial_reaches_later_does_not_change_its_place_in_the_rung_below() -> None:
    plan = [Bracket((Rung(6, epochs=1), Rung(2, epochs=3), Rung(1, epochs=9)))]
    scheduler = Asha(numbered(), max_epochs=9, plan=plan)
    for value in (0.5, 0.1, 0.2):
        measured(scheduler, job_of(scheduler)[0], value)
    assert job_of(scheduler) == ("i0-s2-000", 2, 3)
    measured(scheduler, "i0-s2-000", 0.0, 0.9)  # 0.9 at epoch 3: in the first rung it stays 0.5
    measured(scheduler, job_of(scheduler)[0], 0.6)
    # Of four, one may go on: 0.6 is the best of the first rung.
    assert job_of(scheduler) == ("i0-s2-003", 2, 3)
