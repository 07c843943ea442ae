"""What f-Hyperband remembers of rungs that are over, so that a rung has something to beat from its first configuration on.

This goes beyond Algorithm 2 (Baker 2017, thesis), which begins every rung below R with an empty L: even perfect predictions then
train the first kappa n_next whole, and each that improves on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curvestop.hyperband.scheduler.trials import RungOpened
from curvestop.srm.policies.stopping_rule import Direction, nth_best


@dataclass(frozen=True)
class CutoffRecall:
    """quantile: in [0, 1], higher stops more; of the values to beat at which earlier rungs of the same bracket and place ended.

    n_leaders: >= 1; at R the value to beat is the n_leaders-th best, and who is not behind all of these so far is not stopped.
    """

    quantile: float = 0.75
    n_leaders: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile must be in [0, 1], but got {self.quantile!r}")
        if self.n_leaders < 1:
            raise ValueError(f"n_leaders must be >= 1, but got {self.n_leaders!r}")


class RungHistory:
    """Grows with the run; plain numbers, so that it can be saved.

    cutoffs: (s, rung's index) -> the value to beat at the end of each such rung, in order.
    leaders: curves of the best trained to R, best first, at most n_leaders; the earlier of equals first.
    """

    def __init__(self, recall: CutoffRecall, direction: Direction) -> None:
        self.recall, self.direction = recall, direction
        self.cutoffs: dict[tuple[int, int], list[float]] = {}
        self.leaders: list[tuple[float, ...]] = []

    def rung_is_over(self, rung: RungOpened, scores: Sequence[float], n_to_finish: int) -> None:
        """scores: observed and predicted values of its configurations."""
        cutoff = nth_best(scores, n_to_finish, self.direction)
        if cutoff is not None:
            self.cutoffs.setdefault((rung.bracket.s, rung.index), []).append(cutoff)

    def trained_to_the_end(self, values: Sequence[float]) -> None:
        """values: a curve of R epochs."""
        sign = -1.0 if self.direction == "maximize" else 1.0
        self.leaders = sorted([*self.leaders, tuple(values)], key=lambda v: sign * v[-1])[: self.recall.n_leaders]

    def value_to_beat(self, rung: RungOpened, here: float | None) -> float | None:
        """The better of `here`, what this rung has to beat by itself, and the quantile of the earlier ones."""
        earlier = self.cutoffs.get((rung.bracket.s, rung.index))
        if not earlier:
            return here
        quantile = self.recall.quantile if self.direction == "maximize" else 1 - self.recall.quantile
        remembered = float(np.quantile(earlier, quantile))
        return remembered if here is None else nth_best((here, remembered), 1, self.direction)

    def final_value_to_beat(self) -> float | None:
        """That of configurations trained to R; None with fewer than n_leaders of them."""
        return self.leaders[-1][-1] if len(self.leaders) == self.recall.n_leaders else None

    def leads(self, values: Sequence[float]) -> bool:
        """Whether the best value so far equals or beats that of at least one of the leaders after as many epochs."""
        best_of = max if self.direction == "maximize" else min
        best = best_of(values)
        return any(best_of((best, best_of(leader[: len(values)]))) == best for leader in self.leaders)
