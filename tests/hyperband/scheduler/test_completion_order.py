"""Which trial is next, by hand; and that a run in this order is the same whatever is fast or slow."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from curvestop.hyperband.executors.base import Job, JobOver, Measured
from curvestop.hyperband.run.journal import Journal, JournaledScheduler
from curvestop.hyperband.scheduler.asynchronous import AsynchronousHyperband
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.completion_order import CompletionOrder
from curvestop.hyperband.scheduler.run_loop import run_in_completion_order
from curvestop.hyperband.scheduler.synchronous import FHyperband
from tests.contracts_scheduler import hashed, numbered, rising_study, table


def test_every_epoch_takes_as_long_and_the_earlier_job_goes_first() -> None:
    order = CompletionOrder()
    assert order.next_trial is None
    order.started("a")
    order.started("b")
    order_of_trials: list[str] = []
    for _ in range(4):
        assert order.next_trial is not None
        order_of_trials.append(order.next_trial)
        order.measured(order.next_trial, stop=False)
    assert order_of_trials == ["a", "b", "a", "b"]
    order.measured("a", stop=True)
    assert order.next_trial == "a"  # its end comes before b's epoch
    order.over("a")
    order.started("c")  # when b has an epoch more to go
    assert order.next_trial == "b"


class Pretended:
    """An executor whose news comes in an order that a throw decides."""

    def __init__(self, n_workers: int, rng: random.Random) -> None:
        self.n_idle, self._rng = n_workers, rng
        self._jobs: dict[str, Job] = {}
        self._ready: list[Callable[[], Measured | JobOver]] = []
        self._epochs: dict[str, int] = {}

    def start(self, job: Job) -> None:
        self.n_idle -= 1
        self._jobs[job.trial], self._epochs[job.trial] = job, job.first_epoch
        self._ready.append(lambda: self._measured(job))

    def _measured(self, job: Job) -> Measured | JobOver:
        if job.trial.endswith("04"):
            return self._over(job.trial, "ValueError: no")
        return Measured(job.trial, hashed(job.configuration, self._epochs[job.trial]))

    def _over(self, trial: str, failure: str | None = None) -> JobOver:
        self.n_idle += 1
        return JobOver(trial, failure)

    def wait(self) -> tuple[Measured | JobOver, ...]:
        return (self._ready.pop(self._rng.randrange(len(self._ready)))(),)

    def train_next_epoch(self, trial: str) -> None:
        self._epochs[trial] += 1
        self._ready.append(lambda: self._measured(self._jobs[trial]))

    def stop(self, trial: str) -> None:
        self._ready.append(lambda: self._over(trial))

    def delete_checkpoint(self, trial: str) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("kind", [FHyperband, AsynchronousHyperband])
def test_several_workers_give_one_table_whoever_is_fast(tmp_path: Path, kind: type[BracketScheduler]) -> None:
    tables = []
    for seed in range(4):
        scheduler = kind(numbered(), max_epochs=9, n_iterations=3, kappa=0.5, study=rising_study(9))
        with Journal(tmp_path / f"{kind.__name__}{seed}") as journal:
            journaled = JournaledScheduler(scheduler, journal)
            run_in_completion_order(journaled, Pretended(3, random.Random(seed)), journaled.completion_order, n_workers=3)
        assert scheduler.finished
        tables.append(table(scheduler))
    assert tables[0] == tables[1] == tables[2] == tables[3]
    assert any(row[-1] for row in tables[0])
