"""What earlier rungs add to the value to beat, with values by hand, and a run that stops for it."""

from __future__ import annotations

from itertools import count

import pytest

from curvestop.hyperband.scheduler.brackets import brackets
from curvestop.hyperband.scheduler.rung_history import CutoffRecall, RungHistory
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import RungOpened
from curvestop.srm.curve import Decision
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

RUNG = RungOpened(0, brackets(9)[0], 1, ("a", "b", "c"))
OTHER = RungOpened(0, brackets(9)[1], 0, ("a", "b", "c", "d", "e"))


def remembering(direction: Direction = "maximize", **recall: float) -> RungHistory:
    """Rungs that ended with 1, 2, 3, 4 and 5 to beat."""
    memory = RungHistory(CutoffRecall(**recall), direction)  # type: ignore[arg-type]
    for cutoff in (3.0, 1.0, 2.0, 5.0, 4.0):
        memory.add_rung(RUNG, [cutoff - 1, cutoff + 1, cutoff], 2)
    return memory


def test_the_quantile_of_earlier_rungs_is_to_be_beaten() -> None:
    memory = remembering(quantile=0.75)
    assert memory.cutoffs == {(2, 1): [3.0, 1.0, 2.0, 5.0, 4.0]}
    assert memory.value_to_beat(RUNG, None) == 4.0
    assert memory.value_to_beat(RUNG, 3.5) == 4.0
    assert memory.value_to_beat(RUNG, 4.5) == 4.5


def test_lower_is_better_when_minimising() -> None:
    memory = remembering("minimize", quantile=0.75)
    assert memory.value_to_beat(RUNG, None) == 2.0
    assert memory.value_to_beat(RUNG, 1.5) == 1.5


def test_rungs_of_other_brackets_are_others() -> None:
    assert remembering().value_to_beat(OTHER, None) is None
    assert remembering().value_to_beat(OTHER, 7.0) == 7.0


def test_a_rung_with_too_few_values_is_not_remembered() -> None:
    memory = RungHistory(CutoffRecall(), "maximize")
    memory.add_rung(RUNG, [1.0], 2)
    assert memory.cutoffs == {}


def test_who_is_not_behind_all_leaders_leads() -> None:
    memory = RungHistory(CutoffRecall(n_leaders=2), "maximize")
    memory.add_complete([5.0, 1.0, 7.0])
    assert memory.final_value_to_beat() is None
    memory.add_complete([0.0, 3.0, 9.0])
    memory.add_complete([9.0, 9.0, 2.0])
    assert memory.leaders == [(0.0, 3.0, 9.0), (5.0, 1.0, 7.0)]
    assert memory.final_value_to_beat() == 7.0
    assert memory.keeps_up([0.0])
    assert not memory.keeps_up([-1.0])
    assert memory.keeps_up([2.0, 3.0])
    assert not memory.keeps_up([2.0, 2.9])


def test_leaders_of_a_loss() -> None:
    memory = RungHistory(CutoffRecall(n_leaders=1), "minimize")
    memory.add_complete([4.0, 2.0])
    assert memory.keeps_up([4.0])
    assert not memory.keeps_up([4.1])


@pytest.mark.parametrize(
    ("name", "value", "rule"), [("quantile", 1.5, r"quantile must be in \[0, 1\]"), ("n_leaders", 0, "n_leaders must be >= 1")]
)
def test_impossible_recalls_are_refused(name: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=f"{rule}, but got {value}"):
        CutoffRecall(**{name: value})  # type: ignore[arg-type]


def test_a_trial_that_ends_a_short_rung_is_no_leader() -> None:
    """The best of three after one epoch is promoted to three epochs: before any trial has those there is none to keep up with."""
    rates = iter([1.0, 3.0, 2.0, 4.0, 5.0])
    study = Study(StudySettings("s", max_epochs=3, predictor="last-seen"))
    scheduler = FHyperband(lambda: {"lr": next(rates)}, max_epochs=3, study=study, recall=CutoffRecall(n_leaders=1))
    for _ in range(3):
        job = scheduler.ask()
        assert job is not None
        assert scheduler.report(job.trial, float(job.configuration["lr"])).stop
        scheduler.job_over(job.trial)
    job = scheduler.ask()
    assert job is not None
    assert (job.configuration, job.first_epoch, job.target_epoch) == ({"lr": 3.0}, 2, 3)
    assert scheduler.report(job.trial, 3.1) == Decision.carry_on("no value to beat yet at epoch 3")
    assert scheduler.report(job.trial, 3.2).stop
    scheduler.job_over(job.trial)
    job = scheduler.ask()  # of the bracket whose only rung has three epochs
    assert job is not None
    assert scheduler.report(job.trial, 4.0) == Decision.carry_on("after 1 epoch it keeps up with one of the best complete trials")


def epochs_of(recall: CutoffRecall | None) -> tuple[int, float]:
    """Six Hyperbands of configurations that keep their distance: epochs trained and the best value."""
    numbers = count()
    study = Study(StudySettings("s", max_epochs=27, predictor="ols", rule=StoppingRule(min_curves=6)))
    scheduler = FHyperband(
        lambda: {"x": float(next(numbers) * 31 % 97)}, max_epochs=27, study=study, kappa=0.5, n_iterations=6, recall=recall
    )
    while (job := scheduler.ask()) is not None:
        epoch = job.first_epoch
        while not scheduler.report(job.trial, float(job.configuration["x"]) + epoch + 0.1 * (-1) ** epoch).stop:
            epoch += 1
        scheduler.job_over(job.trial)
    best = scheduler.best()
    assert best is not None
    return scheduler.epochs_trained, best.values[-1]


def test_memory_saves_epochs_and_finds_the_same_best() -> None:
    with_it, without = epochs_of(CutoffRecall(n_leaders=1)), epochs_of(None)
    assert with_it[0] < 0.9 * without[0]
    assert with_it[1] == without[1]
