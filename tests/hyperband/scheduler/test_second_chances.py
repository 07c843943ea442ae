"""Second chances in a run: who is resumed, what it may cost, and how a chance ends. Every scheduler keeps its own promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from curvestop.hyperband.scheduler.asynchronous import Asha, AsynchronousHyperband
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, Rung, single_bracket
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.second_chances import KEPT, SecondChances
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import TrialEnded, TrialRecord, TrialResumed, TrialStopped
from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.report import Report
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import KeywordReports
from curvestop.srm.trial import EndState, Trial, TrialState
from tests.contracts_scheduler import SEEDS, SchedulerContract, SimulatedRun, numbered, rising_study


class ScriptedStudy(KeywordReports):
    """A study whose chances are written down by a test: {trial: {epochs seen: chance}}; other trials have none.

    Attributes:
        stops: `(trial, epochs)` at which it stops.
        resumed: Names of the trials that were resumed, in order.
    """

    settings = StudySettings("scripted", max_epochs=9)

    def __init__(self, chances: Mapping[str, Mapping[int, float]], stops: tuple[tuple[str, int], ...] = ()) -> None:
        self._chances, self.stops = chances, stops
        self.resumed: list[str] = []
        self._epochs: dict[str, int] = {}
        self._stopped: list[str] = []

    def answer(self, report: Report) -> Decision:
        epochs = self._epochs[report.trial] = report.first_epoch + len(report.values) - 1
        is_own = report.ask and report.value_to_beat is None
        stop = is_own and (report.trial, epochs) in self.stops
        chance = self._chances.get(report.trial, {}).get(epochs) if is_own else None
        return Decision(stop, "its chance is too small" if stop else "continues", chance=chance)

    def predict(
        self, values: Any, *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        return None

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        if state == "stopped":
            self._stopped.append(trial)
        return state

    def trials(self) -> tuple[Trial, ...]:
        return ()

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        known = [
            SecondChance(trial, {}, self._epochs[trial] + 1, self._chances[trial][self._epochs[trial]])
            for trial in self._stopped
            if self._epochs[trial] in self._chances.get(trial, {})
        ]
        return sorted(known, key=lambda one: -one.chance)[:n]

    def resume(self, trial: str) -> None:
        self._stopped.remove(trial)
        self.resumed.append(trial)


def at_the_end_of(scheduler: BracketScheduler) -> list[tuple[str, int, int]]:
    """Run a scheduler with one worker; return the jobs of second chances as (trial, first epoch, last epoch)."""
    simulated = SimulatedRun(scheduler, curve=lambda configuration, epoch: configuration["x"])
    found: list[tuple[str, int, int]] = []
    while not scheduler.finished:
        simulated.start_jobs()
        resumed = [event.record for event in scheduler.take_events() if isinstance(event, TrialResumed)]
        first_epochs = [record.epochs + 1 for record in resumed]
        while simulated.running:
            simulated.step(*simulated.running)
        found += [(record.trial, first, record.epochs) for record, first in zip(resumed, first_epochs, strict=True)]
    return found


# 9 configurations, each better than the one before: i0-s2-000 to -005 are dropped after epoch 1, two more after epoch 3, and
# -008 is complete: 9 + 3 x 2 + 6 = 21 epochs in rungs.
PLAN = [Bracket((Rung(9, epochs=1), Rung(3, epochs=3), Rung(1, epochs=9)))]


def scripted(study: ScriptedStudy, share: float) -> FHyperband:
    return FHyperband(numbered(), max_epochs=9, plan=PLAN, study=study, second_chances=SecondChances(study, share))


def test_the_most_promising_goes_first_and_gives_way_to_a_better_one() -> None:
    # The decision points of 9 epochs are all of 1 to 8. At the share .25, 21 epochs in rungs allow 7 of second chances.
    study = ScriptedStudy({"i0-s2-001": {1: 0.03, 2: 0.02, 3: 0.01}, "i0-s2-004": {1: 0.025, 2: 0.05, 3: 0.04, 4: 0.015, 5: 0.3}})
    scheduler = scripted(study, 0.25)
    assert at_the_end_of(scheduler) == [
        ("i0-s2-001", 2, 2),  # .03 is the best; at epoch 2 it has .02, and the other .025
        ("i0-s2-004", 2, 4),  # .025, .05, .04; then .015 against .02
        ("i0-s2-001", 3, 3),  # .02; then .01 against .015
        ("i0-s2-004", 5, 6),  # .3 at epoch 5, none stated at 6; 1 + 3 + 1 + 2 epochs are all there are
    ]
    assert study.resumed == ["i0-s2-001", "i0-s2-004"] * 2
    records = {record.trial: record for record in scheduler.records}
    assert (records["i0-s2-004"].state, records["i0-s2-004"].resumed_at, records["i0-s2-004"].epochs) == ("dropped", 2, 6)
    assert records["i0-s2-004"].reason == "second chance up to epoch 6: the epochs for second chances are spent"
    assert records["i0-s2-001"].reason == (
        "second chance up to epoch 3: i0-s2-004 is more promising: 1.5% against 1% chance to end as the best"
    )
    assert (scheduler.epochs_trained, scheduler.epochs_planned) == (28, 21)


def test_a_chance_that_the_study_stops_again_is_the_last() -> None:
    study = ScriptedStudy({"i0-s2-001": dict.fromkeys(range(1, 9), 0.9), "i0-s2-002": {1: 0.1}}, stops=(("i0-s2-001", 3),))
    scheduler = scripted(study, 0.25)
    assert at_the_end_of(scheduler) == [("i0-s2-001", 2, 3), ("i0-s2-002", 2, 6)]
    record = next(r for r in scheduler.records if r.trial == "i0-s2-001")
    assert (record.state, record.reason, [epoch for epoch, _ in record.stops]) == ("stopped", "its chance is too small", [3])


def test_one_that_trains_to_the_end_is_complete() -> None:
    study = ScriptedStudy({"i0-s2-005": {1: 0.1}})
    scheduler = scripted(study, 0.3)  # 21 x .3 / .7 = 9 epochs
    assert at_the_end_of(scheduler) == [("i0-s2-005", 2, 9)]
    record = next(r for r in scheduler.records if r.trial == "i0-s2-005")
    assert (record.state, record.reason) == ("finished", "trained to 9 epochs in a second chance")
    assert (record.epochs_in_rungs, record.planned_epochs) == (1, 1)


def test_a_failure_and_a_metric_that_is_no_number_end_a_chance() -> None:
    study = ScriptedStudy({"i0-s2-003": {1: 0.2}, "i0-s2-004": {1: 0.1}})
    scheduler = scripted(study, 0.25)
    simulated = SimulatedRun(scheduler, fails=lambda trial, epoch: trial == "i0-s2-003" and epoch == 2)
    simulated.curve = lambda c, epoch: float("nan") if c["x"] == 4 and epoch == 2 else c["x"]
    simulated.run()
    reasons = {r.trial: (r.state, r.reason) for r in scheduler.records if r.resumed_at is not None}
    assert reasons == {
        "i0-s2-003": ("failed", "ValueError: no"),
        "i0-s2-004": ("failed", "the metric of epoch 2 is nan, not a finite number"),
    }


def test_an_idle_worker_resumes_while_a_rung_waits_and_goes_back_to_the_rung() -> None:
    study = ScriptedStudy({"i0-s2-002": dict.fromkeys(range(1, 9), 0.1)})
    scheduler = FHyperband(numbered(), max_epochs=9, plan=PLAN, study=study, second_chances=SecondChances(study, 0.4))

    def started() -> tuple[str, int]:
        job = scheduler.ask()
        assert job is not None
        return job.trial, job.first_epoch

    for _ in range(9):
        trial, _ = started()
        scheduler.report(trial, float(trial[-1]))
        scheduler.job_over(trial)
    assert [started() for _ in range(3)] == [("i0-s2-008", 2), ("i0-s2-007", 2), ("i0-s2-006", 2)]
    for trial in ("i0-s2-008", "i0-s2-007"):
        for _ in range(2):
            scheduler.report(trial, float(trial[-1]))
        scheduler.job_over(trial)
    assert started() == ("i0-s2-002", 2)  # the rung waits for i0-s2-006
    assert scheduler.ask() is None  # nobody else has a chance
    assert not scheduler.report("i0-s2-002", 2.0).stop
    for _ in range(2):
        scheduler.report("i0-s2-006", 6.0)
    scheduler.job_over("i0-s2-006")
    decision = scheduler.report("i0-s2-002", 2.0)
    assert (decision.stop, decision.reason) == (True, "second chance up to epoch 3: its worker has a trial of a rung to train")
    scheduler.job_over("i0-s2-002")
    assert started() == ("i0-s2-008", 4)
    assert started() == ("i0-s2-002", 4)  # a second worker


def test_only_the_most_promising_keep_their_checkpoints() -> None:
    n = 2 * KEPT
    chances = SecondChances(study := ScriptedStudy({f"{k}": {1: (k + 1) / 100} for k in range(n)}), 0.1)
    gone: list[TrialRecord] = []
    for k in range(n):
        study.answer(Report(f"{k}", [0.5], {}))
        study.finish(f"{k}", "stopped")
        gone += chances.hold(TrialRecord(f"{k}", {}, 0, 0, [0.5], 1))
    assert [record.trial for record in gone] == [f"{k}" for k in range(n - KEPT)]
    assert not any(record.may_resume for record in gone)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match="second chances must be a share of the epochs"):
        SecondChances(ScriptedStudy({}), share)


class WithChances(SchedulerContract):
    """The promises of every scheduler, kept with second chances; what is planned leaves these out."""

    share = 0.1

    def stopping(self, max_epochs: int = 9, **more: Any) -> BracketScheduler:
        study = more.pop("study", None) or rising_study(max_epochs)
        return super().stopping(max_epochs, study=study, second_chances=SecondChances(study, self.share), **more)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_rungs_are_never_skipped_and_each_job_continues_from_the_one_before(self, seed: int) -> None:
        simulated = SimulatedRun(self.stopping(), 3, seed).run()
        epochs, jobs = Counter[str](), iter(simulated.jobs)
        for call in simulated.calls:
            if call["kind"] == "report":
                epochs[call["trial"]] += 1
            elif call["kind"] == "ask" and call["trial"] is not None:
                assert next(jobs).first_epoch == epochs[call["trial"]] + 1

    def test_learn_is_called_when_a_trial_ends(self) -> None:
        learned: list[str] = []
        scheduler = self.stopping(learn=lambda record: learned.append(record.trial))
        SimulatedRun(scheduler, 2).run()
        assert sorted(learned) == sorted(r.trial for r in scheduler.records)  # once, a second chance or not

    @pytest.mark.parametrize("seed", SEEDS)
    def test_they_cost_their_share_at_most(self, seed: int) -> None:
        for n_workers in (1, 3):
            simulated = SimulatedRun(self.stopping(), n_workers, seed).run()
            records = simulated.scheduler.records
            resumed = [r for r in records if r.resumed_at is not None]
            spent = sum(r.epochs - r.epochs_in_rungs for r in resumed)
            assert resumed
            assert 0 < spent <= self.share * simulated.scheduler.epochs_trained
            assert not any(r.may_resume for r in records)
            assert {e.record.trial for e in simulated.events if isinstance(e, TrialResumed)} == {r.trial for r in resumed}
            assert sum(isinstance(e, TrialStopped) for e in simulated.events) == sum(len(r.stops) for r in records)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_trial_is_over_once_and_never_resumed_after_that(self, seed: int) -> None:
        over: set[str] = set()
        for event in SimulatedRun(self.stopping(), 3, seed).run().events:
            if isinstance(event, TrialEnded):
                assert event.record.trial not in over
                over.add(event.record.trial)
            elif isinstance(event, TrialResumed):
                assert event.record.trial not in over


class TestSynchronous(WithChances):
    make = FHyperband


class TestAsynchronous(WithChances):
    make = AsynchronousHyperband


class TestAsha(WithChances):
    make = Asha


@pytest.mark.parametrize("is_reserved", [False, True])
@pytest.mark.parametrize("n_workers", [1, 4])
def test_asha_spends_its_budget_and_no_more(n_workers: int, is_reserved: bool) -> None:
    plan = [single_bracket(27, budget=10)]
    for seed in SEEDS:
        study = rising_study(27)
        chances = SecondChances(study, 0.05, is_reserved=is_reserved)
        scheduler = Asha(
            numbered(), max_epochs=27, plan=plan, study=study, kappa=1.0, recall=CutoffRecall(), second_chances=chances
        )
        SimulatedRun(scheduler, n_workers, seed).run()
        spent = sum(r.epochs - r.epochs_in_rungs for r in scheduler.records)
        assert 0 < spent <= 0.05 * scheduler.epochs_trained
        assert scheduler.epochs_trained <= 270
        assert not is_reserved or scheduler.epochs_trained - spent <= 0.95 * 270


def test_asha_without_a_reserve_trains_its_rungs_as_without_second_chances() -> None:
    tables = []
    for share in (None, 0.05):
        study = rising_study(27)
        chances = None if share is None else SecondChances(study, share)
        scheduler = Asha(numbered(), max_epochs=27, plan=[single_bracket(27, budget=10)], study=study, second_chances=chances)
        SimulatedRun(scheduler).run()
        tables.append([(r.trial, r.values[: r.epochs_in_rungs]) for r in scheduler.records])
    assert tables[0] == tables[1]
