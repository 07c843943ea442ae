"""At which epochs curves are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.curve import LearningCurve
from curvestop.srm.grid import Grid
from curvestop.srm.reported import Reported, curve_on


@pytest.mark.parametrize("last", [1, 7, 400])
def test_of_a_short_training_each_epoch_is_a_point(last: int) -> None:
    grid = Grid(last)
    assert [grid.epoch(point) for point in range(1, len(grid) + 1)] == list(range(1, last + 1))
    assert grid.n_points(last + 5) == last


def test_of_a_long_training_400_epochs_are_points() -> None:
    grid = Grid(1000)  # every 2.5th epoch, rounded up
    assert len(grid) == 400
    assert [grid.epoch(point) for point in (1, 2, 3, 399, 400)] == [3, 5, 8, 998, 1000]
    assert [grid.n_points(epoch) for epoch in (0, 2, 3, 4, 5, 999, 1000)] == [0, 0, 1, 1, 2, 399, 400]
    assert [grid.is_point(epoch) for epoch in (3, 4, 5, 1000)] == [True, False, True, True]


@given(st.integers(1, 10**9), st.data())
def test_a_point_is_the_first_epoch_that_passes_it(last: int, data: st.DataObject) -> None:
    grid = Grid(last)
    point = data.draw(st.integers(1, len(grid)))
    assert grid.n_points(grid.epoch(point)) == point
    assert grid.n_points(grid.epoch(point) - 1) == point - 1


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, 1.0), (10, 1.0), (15, 2.0), (20, 3.0), (25, 3.5), (30, 4.0)],
)
def test_between_reports_the_curve_is_a_line(epoch: int, expected: float) -> None:
    assert Reported.of([(20, 3.0), (10, 1.0), (30, 4.0)]).at(epoch) == expected


def test_reports_come_in_any_order() -> None:
    reported = Reported()
    for epoch in (20, 30, 10, 25):
        reported.add(epoch, epoch / 10)
    assert (reported.epochs, reported.in_order, reported.last_epoch) == ([10, 20, 25, 30], (1.0, 2.0, 2.5, 3.0), 30)
    assert (reported.around(10), reported.around(25)) == ((0, 20), (20, 30))


def test_a_curve_is_read_at_the_points_that_it_reached() -> None:
    """Points of 800 epochs are every second epoch; the curve rises by 1 each epoch from epoch 3 on."""
    sparse = LearningCurve("a", {}, (3.0, 8.0), epochs=(3, 8))
    assert curve_on(Grid(800), sparse).values == (3.0, 4.0, 6.0, 8.0)
    assert curve_on(Grid(800), LearningCurve("a", {}, (1.0,))).values == ()
    every = LearningCurve("a", {}, (1.0, 2.0, 3.0, 4.0, 5.0))
    assert curve_on(Grid(800), every).values == (2.0, 4.0)
    assert curve_on(Grid(10), every) is every
