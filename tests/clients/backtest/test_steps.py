"""Steps become epochs: every case with the values that its rule gives by hand."""

from __future__ import annotations

import math

import pytest

from curvestop.clients.backtest.runs import Run
from curvestop.clients.backtest.steps import values_by_epoch


def run(*points: tuple[float, float], name: str = "a") -> Run:
    return Run(name, {}, tuple(step for step, _ in points), tuple(value for _, value in points))


def numbered(*steps: tuple[float, ...]) -> list[list[float]]:
    """Return the values by epoch of runs whose k-th value is k."""
    return values_by_epoch([run(*((step, float(k)) for k, step in enumerate(its))) for its in steps]).values


def line(name: str, every: int, end: int) -> Run:
    """Return a run whose value is its step, in thousands."""
    return run(*((step, step / 1000) for step in range(every, end + 1, every)), name=name)


def test_steps_on_one_even_grid() -> None:
    assert numbered((0, 1, 2), (0, 1)) == [[0, 1, 2], [0, 1]]
    assert numbered((390, 780, 1170), (390, 780)) == [[0, 1, 2], [0, 1]]
    assert numbered((1, 2, 4), (1, 2, 3)) == [[0, 1, 1.5, 2], [0, 1, 2]]  # epoch 3 was not reported: half way
    assert numbered((2, 3), (1, 2, 3)) == [[0, 0, 1], [0, 1, 2]]  # nor was epoch 1: as the first that was


def test_epochs_of_different_lengths_are_paired_by_their_number() -> None:
    # Batches of 32 and of 72: as many epochs, of 1563 and 695 steps.
    found = values_by_epoch([line("small", 1563, 15630), line("large", 695, 6950), line("cut", 695, 2085)])
    assert found.values[0] == pytest.approx([1.563 * k for k in range(1, 11)])
    assert found.values[1] == pytest.approx([0.695 * k for k in range(1, 11)])
    assert found.values[2] == pytest.approx([0.695, 1.39, 2.085])
    assert found.note is not None
    assert "'large' every 695 steps from 695 to 6950, 'small' every 1563 steps from 1563 to 15630" in found.note


def test_steps_that_are_nearly_alike_are_paired_by_their_number() -> None:
    assert numbered((101, 203, 299), (100, 200, 301)) == [[0, 1, 2], [0, 1, 2]]
    assert numbered((0.5, 1.0), (0.25, 1.75)) == [[0, 1], [0, 1]]
    assert numbered((101.5, 203, 299), (100, 200)) == [[0, 1, 2], [0, 1]]


@pytest.mark.parametrize("ends", [(98304, 100_000), (65536, 500_000)])
def test_reports_at_different_steps_are_compared_at_common_steps(ends: tuple[int, int]) -> None:
    # As in a log of PPO, which reports every 8192 timesteps, and A2C, every 2000: k-th values are at steps four times apart.
    ppo, a2c = line("PPO", 8192, ends[0]), line("A2C", 2000, ends[1])
    found = values_by_epoch([ppo, a2c])
    assert found.values[0] == pytest.approx([8.192 * k for k in range(1, ends[0] // 8192 + 1)])
    # Both have the value of their step; A2C's first report is before the first common step.
    assert found.values[1] == pytest.approx([8.192 * k for k in range(1, round(ends[1] / 8192) + 1)])
    assert found.steps == "every 8192 steps from step 8192"
    assert found.note == (
        f"runs report at different steps ('A2C' every 2000 steps from 2000 to {ends[1]}, 'PPO' every 8192 steps from 8192 to "
        f"{ends[0]}): they are compared every 8192 steps from step 8192, with straight lines between two reports"
    )


def test_a_run_that_diverged_ends_there_at_common_steps() -> None:
    diverged = run(*((100 * k, 1.0) for k in range(1, 6)), (600, math.nan), name="diverged")
    values = values_by_epoch([line("a", 170, 1700), line("b", 170, 1700), diverged]).values
    assert values[2][:-1] == [1.0, 1.0, 1.0]  # at 170, 340 and 510; the fourth common step is 680
    assert math.isnan(values[2][-1])
