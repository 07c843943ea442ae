"""`BacktestOptions`: how a backtest is made. Imports neither numpy nor Optuna, so that the command line starts quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DELTAS = (0.9, 0.95, 0.99)
"""Thresholds Delta at which policy "threshold" is replayed."""
MARGINS = (1.5, 2.5)
"""Margins at which policy "predictive-rank" is replayed; a wider margin keeps more trials."""
RISKS = (0.01, 0.1)
"""Risks at which the default policy is replayed besides its own; a smaller risk keeps more trials."""


@dataclass(frozen=True)
class BacktestOptions:
    """How a backtest is made.

    Attributes:
        orders: Number of replays, >= 1: one in the recorded order, the others in shuffled ones.
        seed: Seed >= 0 of the shuffled orders.
        deltas: Thresholds in (0, 1] for policy "threshold".
        margins: Margins for policy "predictive-rank".
        risk: Share of the best runs, in (0, 1), that the recommended setting may lose; also the risk of policy "risk".
        rule: File with the user's own rule, which is replayed, too; see `own_rule.Stop`.
        processes: Number of processes; 0 for two if there is enough to do, else one.

    Raises:
        ValueError: If `orders` is < 1 or `seed` is < 0. The other fields are checked when they are used.
    """

    orders: int = 3
    seed: int = 0
    deltas: Sequence[float] = DELTAS
    margins: Sequence[float] = MARGINS
    risk: float = 0.05
    rule: Path | None = None
    processes: int = 0  # the result does not depend on it

    def __post_init__(self) -> None:
        # Policies check deltas, margins and risk themselves when `settings_to_try` makes them.
        if self.orders < 1:
            raise ValueError(f"orders must be >= 1, but got {self.orders!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, but got {self.seed!r}")
