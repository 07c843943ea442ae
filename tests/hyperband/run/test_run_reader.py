"""Brackets as they fill: by hand on a small schedule, and of a run's folder."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from curvestop.hyperband.run.run_reader import RunReader, members_of_run
from curvestop.hyperband.scheduler.bracket_table import bracket_rows
from curvestop.hyperband.scheduler.synchronous import FHyperband
from tests.hyperband.run.test_resume import hyperband, prepared


def rung(epochs: int, planned: int, reached: int, training: int, stopped: int) -> dict[str, int]:
    return {"epochs": epochs, "planned": planned, "reached": reached, "training": training, "stopped": stopped}


def train(scheduler: FHyperband, n_jobs: int, *, fails: int = -1) -> None:
    for number in range(n_jobs):
        job = scheduler.ask()
        assert job is not None
        for epoch in range(job.first_epoch, job.target_epoch + 1):
            if number == fails:
                scheduler.job_over(job.trial, failure="ValueError: no")
                break
            if scheduler.report(job.trial, float(job.configuration["x"]) + epoch).stop:
                scheduler.job_over(job.trial)


def test_rungs_fill_as_trials_reach_them() -> None:
    """R = 3, eta = 3: bracket s = 1 has 3 configurations @ 1 epoch and 1 @ 3; s = 0 has 2 @ 3."""
    numbers = count()
    scheduler = FHyperband(lambda: {"x": float(next(numbers))}, max_epochs=3)
    train(scheduler, 2, fails=0)
    assert bracket_rows(members_of_run(scheduler)) == [
        {"iteration": 0, "s": 1, "rungs": [rung(1, 3, 1, 1, 1), rung(3, 1, 0, 0, 0)]}
    ]
    train(scheduler, 1)
    assert bracket_rows(members_of_run(scheduler))[0]["rungs"] == [rung(1, 3, 2, 0, 1), rung(3, 1, 0, 1, 0)]
    train(scheduler, 3)
    assert scheduler.finished
    assert bracket_rows(members_of_run(scheduler)) == [
        {"iteration": 0, "s": 1, "rungs": [rung(1, 3, 2, 0, 1), rung(3, 1, 1, 0, 0)]},
        {"iteration": 0, "s": 0, "rungs": [rung(3, 2, 2, 0, 0)]},
    ]


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    here = prepared(tmp_path / "here")
    assert hyperband(here, "run", "train.py", "--space", "space.toml", "--out", "run", "--max-epochs", "3", "--mode", "sync") == 0
    reader = RunReader(here / "run")
    told = reader.read()
    assert told == {
        "name": "run",
        "over": True,
        "trained": 11,
        "planned": 11,
        "brackets": [
            {"iteration": 0, "s": 1, "rungs": [rung(1, 3, 3, 0, 0), rung(3, 1, 1, 0, 0)]},
            {"iteration": 0, "s": 0, "rungs": [rung(3, 2, 2, 0, 0)]},
        ],
    }
    assert reader.read() is told  # nothing new: not read again
    with pytest.raises(ValueError, match="must be the folder of a run"):
        RunReader(tmp_path).read()
