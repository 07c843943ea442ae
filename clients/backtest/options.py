"""How a backtest is to be made: what the command line says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DELTAS = (0.9, 0.95, 0.99)
"""Probabilities at which the threshold policy stops (Delta)."""
MARGINS = (1.5, 2.0, 2.5, 3.5, 5.0)
"""Of the default policy; a wider margin keeps more."""


@dataclass(frozen=True)
class Plan:
    """orders: the curves' own order, and shuffled ones. risk: in (0, 1), the share of the best runs that may be lost.

    processes: 0 for as many as there are processors, at most two.
    """

    orders: int = 3
    seed: int = 0
    deltas: Sequence[float] = DELTAS
    margins: Sequence[float] = MARGINS
    risk: float = 0.05
    processes: int = 0

    def __post_init__(self) -> None:
        if self.orders < 1:
            raise ValueError(f"orders must be >= 1, but got {self.orders!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, but got {self.seed!r}")
