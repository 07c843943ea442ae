"""What was not reported lies on a straight line."""

from __future__ import annotations

import pytest

from curvestop.srm.interpolation import linear_fill


@pytest.mark.parametrize(
    ("curve", "epoch", "value", "expected"),
    [
        ([], 1, 0.5, [0.5]),
        ([], 3, 0.5, [0.5, 0.5, 0.5]),
        ([1.0], 2, 3.0, [3.0]),
        ([1.0], 5, 3.0, [1.5, 2.0, 2.5, 3.0]),
        ([1.0, 2.0], 2, 7.0, []),
        ([1.0, 2.0], 1, 7.0, []),
    ],
)
def test_lines(curve: list[float], epoch: int, value: float, expected: list[float]) -> None:
    assert linear_fill(curve, epoch, value) == expected
