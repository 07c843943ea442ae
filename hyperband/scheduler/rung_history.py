"""What f-Hyperband remembers of earlier rungs, so that a rung has a value to beat from its first configuration on.

This goes beyond Algorithm 2 (Baker 2017, thesis), which begins every rung below R with an empty L: even with perfect
predictions, the first kappa n_next configurations then train to the rung's end, and each one that improves on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curvestop.hyperband.scheduler.trials import RungOpened
from curvestop.srm.policies.stopping_rule import Direction, nth_best


@dataclass(frozen=True)
class CutoffRecall:
    """How much of earlier rungs counts in a new one.

    Attributes:
        quantile: Quantile, in [0, 1], of the values to beat with which earlier rungs of the same bracket and index ended;
            higher stops more.
        n_leaders: At max_epochs, the value to beat is the n_leaders-th best, and a configuration that keeps up with one of
            these n_leaders is not stopped; >= 1.

    Raises:
        ValueError: If a field is out of range.
    """

    quantile: float = 0.75
    n_leaders: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile must be in [0, 1], but got {self.quantile!r}")
        if self.n_leaders < 1:
            raise ValueError(f"n_leaders must be >= 1, but got {self.n_leaders!r}")


class RungHistory:
    """The cutoffs of earlier rungs and the curves of the best complete trials; grows with the run.

    Args:
        recall: How much of the history counts.
        direction: Whether higher or lower values are better.

    Attributes:
        cutoffs: (s, index of the rung) -> the values to beat with which such rungs ended, in order.
        leaders: Curves `(max_epochs,)` of the best complete trials, best first, at most n_leaders; ties keep their order.
    """

    def __init__(self, recall: CutoffRecall, direction: Direction) -> None:
        self.recall, self.direction = recall, direction
        self.cutoffs: dict[tuple[int, int], list[float]] = {}
        self.leaders: list[tuple[float, ...]] = []

    def add_rung(self, rung: RungOpened, scores: Sequence[float], rank: int) -> None:
        """Record a rung that is over.

        Args:
            rung: The rung.
            scores: Observed and predicted values of its configurations at the rung's end.
            rank: The rung's value to beat is the rank-th best score; without so many, nothing is recorded.
        """
        cutoff = nth_best(scores, rank, self.direction)
        if cutoff is not None:
            self.cutoffs.setdefault((rung.bracket.s, rung.index), []).append(cutoff)

    def add_complete(self, values: Sequence[float]) -> None:
        """Record the curve `(max_epochs,)` of a complete trial.

        Args:
            values: Metric after each epoch up to max_epochs; the last one ranks the trial.
        """
        # sorted is stable, so the earlier of equals stays first.
        sign = -1.0 if self.direction == "maximize" else 1.0
        self.leaders = sorted([*self.leaders, tuple(values)], key=lambda v: sign * v[-1])[: self.recall.n_leaders]

    def value_to_beat(self, rung: RungOpened, own_value: float | None) -> float | None:
        """Return the value to beat in a rung below max_epochs.

        Args:
            rung: The rung.
            own_value: The value to beat by the rung's own configurations; None with too few of them.

        Returns:
            The better of `own_value` and the quantile of earlier rungs; None without either.
        """
        earlier = self.cutoffs.get((rung.bracket.s, rung.index))
        if not earlier:
            return own_value
        # Higher stops more: when lower is better, that is the quantile from the other end.
        quantile = self.recall.quantile if self.direction == "maximize" else 1 - self.recall.quantile
        recalled = float(np.quantile(earlier, quantile))
        return recalled if own_value is None else nth_best((own_value, recalled), 1, self.direction)

    def final_value_to_beat(self) -> float | None:
        """Return the value to beat at max_epochs; None with fewer than n_leaders complete trials."""
        return self.leaders[-1][-1] if len(self.leaders) == self.recall.n_leaders else None

    def keeps_up(self, values: Sequence[float]) -> bool:
        """Return whether a curve's best value reaches that of at least one leader after as many epochs.

        Args:
            values: `(tau,)` metric after epochs 1..tau, tau >= 1.

        Returns:
            False also without a leader.
        """
        best_of = max if self.direction == "maximize" else min
        best = best_of(values)  # best so far, not the last: noise at one epoch must not stop a leader
        return any(best_of((best, best_of(leader[: len(values)]))) == best for leader in self.leaders)
