"""The contract of every scheduler, in whatever order its workers finish: inherited by the tests of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pytest

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.run.journal import Entry, replay
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.trials import Event, TrialEnded, TrialRecord, TrialStopped
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

Curve = Callable[[Any, int], float]
SEEDS = range(3)


def numbered() -> Callable[[], dict[str, float]]:
    """Configurations {"x": 0.0}, {"x": 1.0}, ..."""
    numbers: Iterator[int] = count()
    return lambda: {"x": float(next(numbers))}


def hashed(configuration: Any, epoch: int) -> float:
    """A rising curve towards a height that looks random, yet is known from the configuration."""
    height = math.sin(12.9898 * (configuration["x"] + 1)) * 43758.5453 % 1.0
    return float(height * (1 - 0.6**epoch))


def rising_study(max_epochs: int, **settings: Any) -> Study:
    return Study(StudySettings("s", max_epochs, predictor="ols", rule=StoppingRule(threshold=0.8, min_curves=6), **settings))


@dataclass
class SimulatedRun:
    """A run with simulated workers: at each step one running trial, chosen by a seeded generator, finishes an epoch.

    Attributes:
        scheduler: The scheduler under test.
        n_workers: Number of simulated workers.
        seed: Seed of the order of completions.
        curve: Metric of a configuration after an epoch.
        fails: Whether a trial's training fails in an epoch.
        calls: Calls of the scheduler so far, as its journal has them.
        jobs: Jobs started so far.
        n_busy: Number of busy workers whenever the scheduler had no job for another.
        events: Events of the scheduler so far.
        running: Epochs that each running trial still has to train.
    """

    scheduler: BracketScheduler
    n_workers: int = 1
    seed: int = 0
    curve: Curve = hashed
    fails: Callable[[str, int], bool] = lambda trial, epoch: False
    calls: list[Entry] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    n_busy: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    running: dict[str, Iterator[int]] = field(default_factory=dict)

    def run(self) -> SimulatedRun:
        rng = np.random.default_rng(self.seed)
        while not self.scheduler.finished:
            self.start_jobs()
            if not self.scheduler.finished:
                self.step(list(self.running)[rng.integers(len(self.running))])
            self.events += self.scheduler.take_events()
        return self

    def start_jobs(self) -> None:
        while len(self.running) < self.n_workers:
            job = self.scheduler.ask()
            self.calls.append({"kind": "ask", "trial": None if job is None else job.trial})
            if job is None:
                self.n_busy.append(len(self.running))
                return
            self.start(job)

    def start(self, job: Job) -> None:
        self.jobs.append(job)
        self.running[job.trial] = iter(range(job.first_epoch, job.target_epoch + 1))

    def step(self, trial: str) -> None:
        epoch = next(self.running[trial], None)
        if epoch is None or self.fails(trial, epoch):
            self.end(trial, None if epoch is None else "ValueError: no")
            return
        configuration = next(r.configuration for r in self.scheduler.records if r.trial == trial)
        value = self.curve(configuration, epoch)
        self.calls.append({"kind": "report", "trial": trial, "value": value})
        if self.scheduler.report(trial, value).stop:
            self.end(trial, None)

    def end(self, trial: str, failure: str | None) -> None:
        del self.running[trial]
        self.calls.append({"kind": "tell", "trial": trial, "failure": failure})
        self.scheduler.job_over(trial, failure=failure)


def table(scheduler: BracketScheduler) -> list[tuple[Any, ...]]:
    return [(r.trial, r.configuration, r.state, r.reason, tuple(r.values), r.rung, len(r.stops)) for r in scheduler.records]


def reached(record: TrialRecord, scheduler: BracketScheduler) -> Sequence[int]:
    """Return the epochs of the rungs that a trial was trained to the end of."""
    bracket = next(b for b in scheduler.plan if b.s == record.bracket)
    return [rung.epochs for rung in bracket.rungs if rung.epochs <= len(record.values)]


class SchedulerContract:
    """What every scheduler promises. Inherit and set `make`, which makes a scheduler from the arguments of `BracketScheduler`."""

    make: Callable[..., BracketScheduler]

    def stopping(self, max_epochs: int = 9, **more: Any) -> BracketScheduler:
        settings = {"n_iterations": 5, "kappa": 0.5, "recall": CutoffRecall(), "study": rising_study(max_epochs), **more}
        return self.make(numbered(), max_epochs=max_epochs, **settings)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_inside_a_rung_nothing_is_stopped_where_nothing_differs(self, seed: int) -> None:
        flat = SimulatedRun(self.stopping(), 3, seed, curve=lambda configuration, epoch: 0.1).run()
        assert [record.stops for record in flat.scheduler.records if record.stops] == []
        late = SimulatedRun(self.stopping(), 3, seed, curve=lambda c, epoch: hashed(c, epoch - 2) if epoch > 2 else 0.0).run()
        stopped_after = [epochs for record in late.scheduler.records for epochs, _ in record.stops]
        assert min(stopped_after) > 2

    @pytest.mark.parametrize("seed", SEEDS)
    def test_rungs_are_never_skipped_and_each_job_continues_from_the_one_before(self, seed: int) -> None:
        simulated = SimulatedRun(self.stopping(), 3, seed).run()
        trained = {(job.trial, job.target_epoch): job.first_epoch for job in simulated.jobs}
        stopped = {(e.record.trial, e.target_epoch) for e in simulated.events if isinstance(e, TrialStopped)}
        for record in simulated.scheduler.records:
            ladder = [rung.epochs for rung in next(b for b in simulated.scheduler.plan if b.s == record.bracket).rungs]
            passed = {epochs for trial, epochs in trained.keys() | stopped if trial == record.trial}
            assert sorted(passed) == ladder[: record.rung + 1]
            starts = [trained[record.trial, epochs] for epochs in ladder if (record.trial, epochs) in trained]
            assert starts[0] == 1
            assert all(start <= before + 1 for before, start in zip(ladder, starts[1:], strict=False))
        assert sum(len(record.stops) for record in simulated.scheduler.records) > 0
        assert any(len(r.values) not in reached(r, simulated.scheduler) for r in simulated.scheduler.records)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_same_order_of_completions_gives_the_same_run(self, seed: int) -> None:
        first, second = (SimulatedRun(self.stopping(), 3, seed).run() for _ in range(2))
        assert table(first.scheduler) == table(second.scheduler)
        assert first.calls == second.calls
        assert any(r.stops for r in first.scheduler.records)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_replayed_scheduler_stands_where_it_stood(self, seed: int) -> None:
        complete = SimulatedRun(self.stopping(), 2, seed).run()
        for n in range(0, len(complete.calls) + 1, 61):
            again = self.stopping()
            replay(again, complete.calls[:n])
            simulated = SimulatedRun(again, 2, seed)
            for trial in again.jobs_to_end():
                again.job_over(trial)
            for job in again.jobs_to_resume():
                simulated.start(job)
            running = {e["trial"] for e in complete.calls[:n] if e["kind"] == "ask"}
            assert set(simulated.running) <= running
            simulated.run()
            assert again.finished
        again = self.stopping()
        replay(again, complete.calls)
        assert table(again) == table(complete.scheduler)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_everything_ends_with_a_reason(self, seed: int) -> None:
        simulated = SimulatedRun(self.stopping(), 4, seed, fails=lambda trial, epoch: trial.endswith("2") and epoch == 1).run()
        assert {r.state for r in simulated.scheduler.records} <= {"finished", "dropped", "stopped", "failed"}
        assert all(r.reason for r in simulated.scheduler.records)
        ended = [e.record.trial for e in simulated.events if isinstance(e, TrialEnded)]
        assert sorted(ended) == sorted(r.trial for r in simulated.scheduler.records)  # each has one event
        assert simulated.scheduler.ask() is None

    def test_failures_of_every_kind_are_recorded_and_never_promoted(self) -> None:
        scheduler = self.make(numbered(), max_epochs=9)
        curve: Curve = lambda configuration, epoch: math.nan if configuration["x"] == 0 else configuration["x"] + epoch  # noqa: E731
        SimulatedRun(scheduler, 2, curve=curve, fails=lambda trial, epoch: trial == "i0-s2-001").run()
        failed = {r.trial: (r.reason, r.values) for r in scheduler.records if r.state == "failed"}
        assert failed == {
            "i0-s2-000": ("the metric of epoch 1 is nan, not a finite number", []),
            "i0-s2-001": ("ValueError: no", []),
        }

    def test_when_all_fail_it_is_over(self) -> None:
        simulated = SimulatedRun(self.make(numbered(), max_epochs=9), 3, fails=lambda trial, epoch: True).run()
        assert {r.state for r in simulated.scheduler.records} == {"failed"}
        assert simulated.scheduler.finished
        assert simulated.scheduler.best() is None

    def test_minimising_the_negative_is_maximising(self) -> None:
        up, down = self.stopping(), self.stopping(direction="minimize", study=rising_study(9, direction="minimize"))
        SimulatedRun(up, 2).run()
        SimulatedRun(down, 2, curve=lambda configuration, epoch: -hashed(configuration, epoch)).run()
        outcomes = [[(r.trial, r.state, len(r.values)) for r in s.records] for s in (up, down)]
        assert outcomes[0] == outcomes[1]

    def test_equals_go_to_the_earlier(self) -> None:
        scheduler = self.make(numbered(), max_epochs=9)
        SimulatedRun(scheduler, 1, curve=lambda configuration, epoch: 0.5).run()
        longest = [r.configuration["x"] for r in scheduler.records if r.bracket == 2 and len(r.values) == 9]
        assert longest == [0.0]

    def test_the_study_knows_how_every_trial_ended(self) -> None:
        study = rising_study(9)
        scheduler = self.stopping(study=study)
        SimulatedRun(scheduler, 2).run()
        known = {t.trial: (t.state, list(t.values)) for t in study.trials()}
        states = {"finished": "finished", "dropped": "stopped", "stopped": "stopped"}
        assert known == {r.trial: (states[r.state], r.values) for r in scheduler.records}

    def test_saved_is_what_was_planned_and_not_trained(self) -> None:
        plain, stopping = self.make(numbered(), max_epochs=9, n_iterations=5), self.stopping()
        for scheduler in (plain, stopping):
            SimulatedRun(scheduler, 1).run()
        assert plain.epochs_trained == plain.epochs_planned
        assert stopping.epochs_trained < stopping.epochs_planned

    def test_learn_is_called_when_a_trial_ends(self) -> None:
        learned: list[tuple[str, str]] = []
        scheduler = self.stopping(learn=lambda record: learned.append((record.trial, record.state)))
        SimulatedRun(scheduler, 2).run()
        assert sorted(learned) == sorted((r.trial, r.state) for r in scheduler.records)


class HyperbandContract(SchedulerContract):
    """What Hyperband promises besides, in either order: all that its plan has."""

    def test_no_configuration_takes_the_place_of_a_failed_one(self) -> None:
        simulated = SimulatedRun(self.make(numbered(), max_epochs=9), 3, fails=lambda trial, epoch: True).run()
        assert len(simulated.scheduler.records) == 9 + 5 + 3

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("n_workers", [1, 2, 5])
    def test_the_best_of_every_rung_are_promoted(self, seed: int, n_workers: int) -> None:
        scheduler = self.make(numbered(), max_epochs=9, n_iterations=2)
        SimulatedRun(scheduler, n_workers, seed).run()
        for iteration in range(2):
            for bracket in scheduler.plan:
                here = [r for r in scheduler.records if (r.iteration, r.bracket) == (iteration, bracket.s)]
                assert len(here) == bracket.n_configurations
                for rung, following in zip(bracket.rungs, bracket.rungs[1:], strict=False):
                    through = [r for r in here if len(r.values) >= rung.epochs]
                    best = sorted(through, key=lambda r: -r.values[rung.epochs - 1])[: following.n_configurations]
                    assert len(best) == following.n_configurations
                    assert all(len(r.values) >= following.epochs for r in best)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_nothing_ends_that_could_still_be_promoted(self, seed: int) -> None:
        scheduler = self.make(numbered(), max_epochs=9, n_iterations=2)
        simulated, at_end = SimulatedRun(scheduler, 3, seed), {}
        while not scheduler.finished:
            simulated.start_jobs()
            if simulated.running:
                simulated.step(list(simulated.running)[seed % len(simulated.running)])
            for event in scheduler.take_events():
                if isinstance(event, TrialEnded):
                    at_end[event.record.trial] = {r.trial: list(r.values) for r in scheduler.records}
        dropped = [r for r in scheduler.records if r.state == "dropped"]
        assert dropped
        for record in dropped:
            bracket = next(b for b in scheduler.plan if b.s == record.bracket)
            epochs, n_next = bracket.rungs[record.rung].epochs, bracket.rungs[record.rung + 1].n_configurations
            rivals = [r.trial for r in scheduler.records if (r.iteration, r.bracket) == (record.iteration, record.bracket)]
            values = [v[epochs - 1] for name in rivals if len(v := at_end[record.trial].get(name, [])) >= epochs]
            assert sum(value >= record.values[epochs - 1] for value in values) - 1 >= n_next
