"""Neighbors by hand: the mean log odds of the ranks of the five nearest configurations of ten complete trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from curvestop.srm.neighbors import Neighbors


def mean_log_odds(ranks: Sequence[int]) -> float:
    """Of trials that are better than so many of nine others."""
    return sum(math.log((rank + 0.5) / (9 - rank + 0.5)) for rank in ranks) / len(ranks)


@pytest.mark.parametrize(
    ("configurations", "new", "nearest"),
    [
        ([{"optimizer": "adam" if rank < 5 else "sgd"} for rank in range(10)], {"optimizer": "sgd"}, (5, 6, 7, 8, 9)),
        ([{"optimizer": "adam" if rank % 2 else "sgd"} for rank in range(10)], {"optimizer": "adam"}, (1, 3, 5, 7, 9)),
        ([{"width": 1.0 * rank} for rank in range(10)], {"width": 6.9}, (5, 6, 7, 8, 9)),
        # Over two decades by its logarithm, else 0.02 would be nearest to the five least.
        ([{"lr": 10.0**-rank} for rank in range(10)], {"lr": 0.02}, (0, 1, 2, 3, 4)),
        # The widths say nothing where they do not differ.
        ([{"width": 64, "x": 1.0 * rank} for rank in range(10)], {"width": 1, "x": 0.2}, (0, 1, 2, 3, 4)),
        # The last one has no x: that counts as the mean of the others, 4.
        ([{"x": 1.0 * rank} for rank in range(9)] + [{"y": 1.0}], {"x": 4.2}, (3, 4, 5, 6, 9)),
    ],
)
def test_those_with_like_configurations_ended_so(
    configurations: Sequence[dict[str, Any]], new: dict[str, Any], nearest: Sequence[int]
) -> None:
    neighbors = Neighbors()
    for rank, configuration in enumerate(configurations):
        neighbors.add(f"t{rank}", configuration)
    neighbors.add("new", new)
    complete = [(float(rank), f"t{rank}") for rank in range(10)]
    assert neighbors.mean_log_odds("new", complete) == pytest.approx(mean_log_odds(nearest))
    assert neighbors.mean_log_odds("new", complete[:4]) == 0.0
    assert neighbors.mean_log_odds("unknown", complete) == 0.0
