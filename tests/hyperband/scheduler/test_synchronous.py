"""f-Hyperband step by step; `test_algorithms.py` compares whole runs with the paper's nested loops."""

import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.brackets import brackets, total_epochs
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import RungOpened, TrialEnded, TrialStopped
from curvestop.srm.curve import Decision
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

Curve = Callable[[Any, int], float]


def numbered() -> Callable[[], dict[str, float]]:
    """Configurations {"x": 0.0}, {"x": 1.0}, ..."""
    numbers: Iterator[int] = count()
    return lambda: {"x": float(next(numbers))}


def by_x(configuration: Any, epoch: int) -> float:
    """A metric that is known from the configuration."""
    return float(configuration["x"]) + epoch


def train(scheduler: FHyperband, job: Job, curve: Curve = by_x) -> Decision:
    """Run one job to its end."""
    decision = Decision.carry_on("")
    for epoch in range(job.first_epoch, job.target_epoch + 1):
        decision = scheduler.report(job.trial, curve(job.configuration, epoch))
        if decision.stop:
            break
    scheduler.job_over(job.trial)
    return decision


def run(scheduler: FHyperband, curve: Curve = by_x) -> FHyperband:
    while (job := scheduler.ask()) is not None:
        train(scheduler, job, curve)
    assert scheduler.finished
    return scheduler


def taken(scheduler: FHyperband) -> Job:
    job = scheduler.ask()
    assert job is not None
    return job


def study(**settings: Any) -> Study:
    return Study(StudySettings("s", predictor="ols", rule=StoppingRule(min_curves=6), **settings))


def rungs_of(scheduler: FHyperband) -> list[tuple[int, int, int, int]]:
    events = [e for e in scheduler.take_events() if isinstance(e, RungOpened)]
    return [(e.iteration, e.bracket.s, len(e.trials), e.rung.epochs) for e in events]


def test_without_a_study_it_is_plain_hyperband() -> None:
    scheduler = run(FHyperband(numbered(), max_epochs=9, n_iterations=2))
    assert rungs_of(scheduler) == [
        (0, 2, 9, 1), (0, 2, 3, 3), (0, 2, 1, 9), (0, 1, 5, 3), (0, 1, 1, 9), (0, 0, 3, 9),
        (1, 2, 9, 1), (1, 2, 3, 3), (1, 2, 1, 9), (1, 1, 5, 3), (1, 1, 1, 9), (1, 0, 3, 9),
    ]  # fmt: skip
    assert scheduler.epochs_trained == scheduler.epochs_planned == 2 * total_epochs(brackets(9, eta=3))
    best = scheduler.best()
    assert best is not None
    assert (best.trial, best.configuration, best.score) == ("i1-s0-002", {"x": 33.0}, 42.0)


def test_trials_are_named_by_iteration_bracket_and_number() -> None:
    scheduler = run(FHyperband(numbered(), max_epochs=3))
    assert [record.trial for record in scheduler.records] == ["i0-s1-000", "i0-s1-001", "i0-s1-002", "i0-s0-000", "i0-s0-001"]


def test_the_best_are_promoted_and_continue_from_their_checkpoint() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    for _ in range(9):
        assert train(scheduler, taken(scheduler)).reason == "reached epoch 1, the end of its rung"
    promoted = [taken(scheduler) for _ in range(3)]
    assert [job.configuration["x"] for job in promoted] == [8.0, 7.0, 6.0]
    assert {(job.first_epoch, job.target_epoch) for job in promoted} == {(2, 3)}


def test_minimise_promotes_the_lowest() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9, direction="minimize")
    for _ in range(9):
        train(scheduler, taken(scheduler))
    assert [taken(scheduler).configuration["x"] for _ in range(3)] == [0.0, 1.0, 2.0]


def test_ties_go_to_the_earlier() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    for _ in range(9):
        train(scheduler, taken(scheduler), lambda configuration, epoch: 0.5)
    assert [taken(scheduler).configuration["x"] for _ in range(3)] == [0.0, 1.0, 2.0]


def test_a_rung_waits_for_running_jobs_and_their_order_changes_nothing() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    jobs = [taken(scheduler) for _ in range(9)]
    assert scheduler.ask() is None
    assert not scheduler.finished
    for job in reversed(jobs[1:]):
        scheduler.report(job.trial, by_x(job.configuration, 1))
        scheduler.job_over(job.trial)
        assert scheduler.ask() is None
    scheduler.report(jobs[0].trial, 0.0)
    assert scheduler.ask() is None  # its worker is still busy
    scheduler.job_over(jobs[0].trial)
    assert taken(scheduler).configuration["x"] == 8.0


def test_a_failed_trial_is_recorded_never_promoted_and_the_rung_continues() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    jobs = [taken(scheduler) for _ in range(9)]
    scheduler.job_over(jobs[8].trial, failure="ValueError: no")
    assert scheduler.report(jobs[7].trial, math.nan).stop
    scheduler.job_over(jobs[7].trial)
    for job in jobs[:7]:
        train(scheduler, job)
    assert [taken(scheduler).configuration["x"] for _ in range(3)] == [6.0, 5.0, 4.0]
    failed = {r.trial: (r.state, r.reason, r.values, r.epochs) for r in scheduler.records if r.state == "failed"}
    assert failed == {
        "i0-s2-007": ("failed", "the metric of epoch 1 is nan, not a finite number", [], 1),
        "i0-s2-008": ("failed", "ValueError: no", [], 0),
    }


def test_what_failed_trials_did_not_train_is_not_saved() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    while (job := scheduler.ask()) is not None:
        if job.trial == "i0-s0-001":
            scheduler.report(job.trial, 1.0)
            scheduler.job_over(job.trial, failure="the worker was killed by SIGKILL")
        else:
            train(scheduler, job)
    assert scheduler.epochs_trained == scheduler.epochs_planned == total_epochs(brackets(9, eta=3)) - 8


def test_a_generator_that_ends_before_its_rung_does_has_failed() -> None:
    scheduler = FHyperband(numbered(), max_epochs=1)
    scheduler.job_over(taken(scheduler).trial)
    assert scheduler.finished
    assert scheduler.records[0].reason == "train ended after 0 epochs, before its rung's end at 1"
    assert scheduler.best() is None


def test_a_failure_after_the_last_epoch_of_a_rung_changes_nothing() -> None:
    scheduler = FHyperband(numbered(), max_epochs=1)
    job = taken(scheduler)
    scheduler.report(job.trial, 1.0)
    scheduler.job_over(job.trial, failure="the worker was killed by SIGKILL")
    assert scheduler.records[0].state == "finished"


def test_a_rung_shrinks_when_too_many_failed() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    for index, job in enumerate([taken(scheduler) for _ in range(9)]):
        if index < 2:
            train(scheduler, job)
        else:
            scheduler.job_over(job.trial, failure="no")
    assert [taken(scheduler).configuration["x"] for _ in range(2)] == [1.0, 0.0]
    assert scheduler.ask() is None


def test_when_all_fail_the_next_bracket_begins() -> None:
    scheduler = FHyperband(numbered(), max_epochs=9)
    while (job := scheduler.ask()) is not None:
        scheduler.job_over(job.trial, failure="no")
    assert scheduler.finished
    assert rungs_of(scheduler) == [(0, 2, 9, 1), (0, 1, 5, 3), (0, 0, 3, 9)]


class Asked(Study):
    """A study that remembers what it was asked."""

    def __init__(self, settings: StudySettings) -> None:
        super().__init__(settings)
        self.asked: list[tuple[str, int, int | None, float | None]] = []

    def answer(self, report: Report) -> Decision:
        if report.ask:
            self.asked.append((report.trial, report.first_epoch, report.target_epoch, report.value_to_beat))
        return super().answer(report)


@pytest.mark.parametrize(
    ("kappa", "k"),
    [(1.0, 3), (0.5, 2), (0.01, 1), (2.0, 6)],  # the rung of 9 promotes 3: k = max(1, ceil(kappa x 3))
)
def test_the_value_to_beat_is_the_kth_best_observed_in_the_rung(kappa: float, k: int) -> None:
    # Nine curves are too few for a model here, so nothing is stopped and every question is asked.
    asked = Asked(StudySettings("s", max_epochs=27, predictor="ols", rule=StoppingRule(min_curves=10)))
    scheduler = FHyperband(numbered(), max_epochs=27, study=asked, kappa=kappa)
    for _ in range(27):
        train(scheduler, taken(scheduler))
    for _ in range(9):  # best first: x = 26, 25, ..., 18, which have x + 3 at epoch 3
        train(scheduler, taken(scheduler))
    expected = [
        (f"i0-s3-{x:03d}", epoch, 3, 26.0 + 3 - (k - 1))
        for x in range(26 - k, 17, -1)
        for epoch in (1, 2)  # epoch 1 again: what is known is judged before it trains on
    ]
    assert asked.asked == expected


def test_at_r_the_best_of_all_brackets_and_iterations_is_to_beat() -> None:
    asked = Asked(StudySettings("s", max_epochs=3, predictor="ols"))
    run(FHyperband(numbered(), max_epochs=3, study=asked, n_iterations=2))
    assert asked.asked == [
        # x = 0, 1, 2 for one epoch, x = 2 continues to R with nothing to beat and has 2 + 3 there
        ("i0-s0-000", 1, 3, 5.0), ("i0-s0-000", 2, 3, 5.0),
        ("i0-s0-001", 1, 3, 6.0), ("i0-s0-001", 2, 3, 6.0),
        ("i1-s1-002", 1, 3, 7.0), ("i1-s1-002", 2, 3, 7.0),
        ("i1-s0-000", 1, 3, 10.0), ("i1-s0-000", 2, 3, 10.0),
        ("i1-s0-001", 1, 3, 11.0), ("i1-s0-001", 2, 3, 11.0),
    ]  # fmt: skip


def one_that_is_stopped_yet_promising(*, count_predictions: bool) -> tuple[FHyperband, Asked]:
    """Eight curves that gain 1 from epoch 1 to 3, so last-seen has sigma = 1; then 5.2 at epoch 1 where 5 is to beat."""
    starts = [0.0] * 9 + [1.0, 1.0, 4.0, 5.2, 0.0] + [0.0] * 3
    asked = Asked(StudySettings("s", max_epochs=9, predictor="last-seen", rule=StoppingRule(threshold=0.3, min_curves=6)))
    scheduler = FHyperband(numbered(), max_epochs=9, study=asked, count_predictions=count_predictions)
    for _ in range(9 + 3 + 1 + 5):
        train(scheduler, taken(scheduler), lambda configuration, epoch: starts[int(configuration["x"])] + (epoch - 1) / 2)
    return scheduler, asked


def test_a_stopped_configuration_is_promoted_by_its_prediction_and_continues_from_where_it_was() -> None:
    scheduler, _ = one_that_is_stopped_yet_promising(count_predictions=False)
    (stop, other) = [event for event in scheduler.take_events() if isinstance(event, TrialStopped)]
    assert (stop.record.trial, stop.target_epoch, stop.decision.model_epoch) == ("i0-s1-003", 3, 1)
    assert stop.decision.probability == pytest.approx(0.42074, abs=1e-5)  # Phi(5 - 5.2)
    assert other.record.trial == "i0-s1-004"
    job = taken(scheduler)
    assert (job.trial, job.first_epoch, job.target_epoch) == ("i0-s1-003", 2, 9)
    ended = {e.record.trial: e.record.state for e in scheduler.take_events() if isinstance(e, TrialEnded)}
    assert ended == {}  # they were taken above
    states = {r.trial: r.state for r in scheduler.records if r.bracket == 1}
    assert states == {
        "i0-s1-000": "dropped", "i0-s1-001": "dropped", "i0-s1-002": "dropped", "i0-s1-003": "running", "i0-s1-004": "stopped",
    }  # fmt: skip


@pytest.mark.parametrize(("count_predictions", "to_beat"), [(False, 5.0), (True, 5.2)])
def test_predictions_are_to_beat_only_when_asked_for(count_predictions: bool, to_beat: float) -> None:
    _, asked = one_that_is_stopped_yet_promising(count_predictions=count_predictions)
    assert asked.asked[-1] == ("i0-s1-004", 1, 3, to_beat)


def test_the_study_knows_how_every_trial_ended() -> None:
    known = study(max_epochs=3)
    scheduler = FHyperband(numbered(), max_epochs=3, study=known)
    while (job := scheduler.ask()) is not None:
        if job.trial in ("i0-s1-000", "i0-s0-000"):  # one before its first epoch: the study does not know it
            if job.trial == "i0-s0-000":
                scheduler.report(job.trial, 1.0)
            scheduler.job_over(job.trial, failure="no")
        else:
            train(scheduler, job)
    assert {t.trial: (t.state, len(t.values)) for t in known.trials()} == {
        "i0-s1-001": ("stopped", 1),
        "i0-s1-002": ("finished", 3),
        "i0-s0-000": ("failed", 1),
        "i0-s0-001": ("finished", 3),
    }


def test_events_come_in_order() -> None:
    scheduler = run(FHyperband(numbered(), max_epochs=3))
    seen = [
        event.rung.epochs if isinstance(event, RungOpened) else (event.record.trial, event.record.state)
        for event in scheduler.take_events()
    ]
    assert seen == [
        1, ("i0-s1-000", "dropped"), ("i0-s1-001", "dropped"),
        3, ("i0-s1-002", "finished"),
        3, ("i0-s0-000", "finished"), ("i0-s0-001", "finished"),
    ]  # fmt: skip
    assert scheduler.take_events() == ()


def test_reports_of_trials_that_do_not_run() -> None:
    scheduler = FHyperband(numbered(), max_epochs=3)
    job = taken(scheduler)
    scheduler.report(job.trial, 1.0)
    with pytest.raises(ValueError, match=f"trial must be one that is running, but got '{job.trial}'"):
        scheduler.report(job.trial, 1.0)
    with pytest.raises(ValueError, match="trial must be one that is running, but got 'i7-s7-000'"):
        scheduler.report("i7-s7-000", 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kappa": 0.0}, "kappa must be finite and > 0, but got 0.0"),
        ({"kappa": math.nan}, "kappa must be finite and > 0, but got nan"),
        ({"n_iterations": 0}, "n_iterations must be >= 1, but got 0"),
        ({"eta": 1}, "eta must be >= 2"),
        ({"study": study(max_epochs=9)}, "the study must have max_epochs = 3 and direction = 'maximize', but has 9"),
        ({"study": study(max_epochs=3, direction="minimize")}, "but has 3 and 'minimize'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FHyperband(numbered(), max_epochs=3, **settings)


def test_in_the_last_rung_a_policy_may_decide() -> None:
    """The example of `PolicyReplay`: the sixth and the seventh trial are compared with the median, 3, of five complete ones."""
    levels = iter([1, 2, 3, 4, 5, 2, 4])
    median = Study(StudySettings("s", 4, policy="median"))
    search = FHyperband(lambda: {"x": next(levels)}, max_epochs=4, eta=5, n_iterations=7, study=median, policy_decides=True)
    run(search, lambda configuration, epoch: float(configuration["x"]))
    assert [record.epochs for record in search.records] == [4, 4, 4, 4, 4, 1, 4]
