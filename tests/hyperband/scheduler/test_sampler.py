"""Optuna's samplers learn from finished, stopped and failed trials alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from curvestop.hyperband.scheduler.sampler import SpaceSampler, final_value
from curvestop.hyperband.scheduler.search_space import load_space
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import State, TrialRecord
from tests.contracts_scheduler import SimulatedRun, rising_study, table

SPACE = '[x]\ntype = "float"\nlow = 0.0\nhigh = 100.0\n'


@pytest.fixture
def space(tmp_path: Path) -> Path:
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path / "space.toml"


def record(number: int, x: float, state: State, values: list[float], predicted: float | None = None) -> TrialRecord:
    return TrialRecord(f"t{number}", {"x": x}, 0, 0, values, state=state, number=number, predicted_final=predicted)


@pytest.mark.parametrize(
    ("state", "predicted", "final"),
    [("finished", None, 0.5), ("stopped", 0.9, 0.9), ("dropped", 0.9, 0.9), ("dropped", None, None), ("failed", 0.9, None)],
)
def test_the_value_that_a_trial_counts_with(state: State, predicted: float | None, final: float | None) -> None:
    assert final_value(record(0, 1.0, state, [0.1, 0.5], predicted)) == final


@pytest.mark.parametrize("ended", ["finished", "stopped", "dropped"])
def test_tpe_draws_near_what_was_good_also_when_that_was_only_predicted(space: Path, ended: State) -> None:
    sampler = SpaceSampler(load_space(space), kind="tpe", seed=0)
    for number in range(40):
        x = float(sampler.draw()["x"])
        closeness = -abs(x - 70.0)
        sampler.learn(record(number, x, ended, [closeness if ended == "finished" else 0.0], closeness))
    later = [float(sampler.draw()["x"]) for _ in range(30)]
    assert sum(abs(x - 70.0) < 15.0 for x in later) >= 14  # 9 of 30 by chance


def test_without_a_prediction_a_pruned_trial_counts_with_its_curve(space: Path) -> None:
    sampler = SpaceSampler(load_space(space), kind="tpe", seed=0)
    for number in range(40):
        x = float(sampler.draw()["x"])
        sampler.learn(record(number, x, "dropped", [-abs(x - 70.0)]))
    assert sum(abs(float(sampler.draw()["x"]) - 70.0) < 15.0 for _ in range(30)) >= 14


def test_a_run_with_tpe_is_repeated_exactly_and_is_not_the_random_one(space: Path) -> None:
    def run(kind: str) -> SimulatedRun:
        sampler = SpaceSampler(load_space(space), kind=kind, seed=1)
        scheduler = FHyperband(sampler.draw, learn=sampler.learn, max_epochs=9, n_iterations=3, study=rising_study(9))
        return SimulatedRun(scheduler, 2, fails=lambda trial, epoch: trial.endswith("04")).run()

    first, again, other = run("tpe"), run("tpe"), run("random")
    assert table(first.scheduler) == table(again.scheduler)
    assert [r.configuration for r in first.scheduler.records[:9]] == [r.configuration for r in again.scheduler.records[:9]]
    assert [r.configuration for r in first.scheduler.records] != [r.configuration for r in other.scheduler.records]
    assert any(r.predicted_final is not None for r in first.scheduler.records)


def test_mistakes(space: Path) -> None:
    with pytest.raises(ValueError, match="sampler must be one of random, tpe, but got 'grid'"):
        SpaceSampler(load_space(space), kind="grid", seed=0)
    with pytest.raises(ValueError, match="seed must be >= 0, but got -1"):
        SpaceSampler(load_space(space), seed=-1)
