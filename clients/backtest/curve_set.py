"""What is replayed: the learning curves of one search in the order of their arrival, and what a replay of them amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Configuration
from curvestop.srm.policies.stopping_rule import Direction

Array = npt.NDArray[np.float64]

NOTHING: Array = np.empty(0)
CLOSE = 1e-3
"""A final pick this close to the best one counts as recovered (in the metric)."""
N_GOOD = 7
"""So many of the best runs, at most a tenth of all, are good ones: losing one is the risk of stopping. Three orders tell 5 %."""


@dataclass(frozen=True)
class CurveSet:
    """Curves in the order of their arrival.

    curves: `(n, T)` in the metric. configurations: `(n, f)` numbers. lengths: `(n,)` epochs 1..T that each run trained; None when
    all trained T. Beyond them a curve is not looked at; its last value is not finite where the run diverged.
    whole: `(n,)`, whether the last value is the run's final one; None when all are.
    """

    name: str
    seed: int
    curves: Array
    configurations: Array
    direction: Direction
    lengths: npt.NDArray[np.intp] | None = None
    whole: npt.NDArray[np.bool_] | None = None

    @property
    def sign(self) -> float:
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def horizon(self) -> int:
        return int(self.curves.shape[1])

    @cached_property
    def epochs(self) -> npt.NDArray[np.intp]:
        """`(n,)` epochs that each run trained."""
        return np.full(len(self.curves), self.horizon) if self.lengths is None else self.lengths

    @cached_property
    def is_whole(self) -> npt.NDArray[np.bool_]:
        """`(n,)`."""
        return np.ones(len(self.curves), dtype=bool) if self.whole is None else self.whole

    @cached_property
    def finals(self) -> Array:
        """`(n,)` scores of the final values: higher is better, -inf for a run without one."""
        last = np.take_along_axis(self.curves, self.epochs[:, None] - 1, axis=1)[:, 0]
        scores: Array = np.where(self.is_whole, self.sign * last, -np.inf)
        return scores

    def configuration(self, row: int) -> Configuration:
        return {f"x{j}": value for j, value in enumerate(self.configurations[row].tolist())}


@dataclass(frozen=True)
class Outcome:
    """What a rule did to one study. Only runs with a final value count as good ones, and as what may be picked in the end.

    speedup: all epochs over the epochs spent, warm-up included. time_speedup: the same for simulated time on the workers.
    recovered: the best run that was let to its end is within `CLOSE` of the best of all. shortfall: how far it falls short, in
    the metric; regret: the same in standard deviations of the better half of the final values (inf when none ran to its end).
    top_stopped: share of the best tenth that was stopped. best_stopped: the very best was. good_stopped: of the `N_GOOD` best,
    at most a tenth of all, best first, which were. stated, happened: P(no better than the best so far) at every look with a
    model, and whether it came true.
    """

    speedup: float
    time_speedup: float
    recovered: bool
    shortfall: float
    regret: float
    top_stopped: float
    best_stopped: bool
    good_stopped: tuple[bool, ...]
    stated: Array
    happened: Array

    @property
    def saved(self) -> float:
        """Share of the epochs that was not trained."""
        return 1 - 1 / self.speedup

    @staticmethod
    def of(
        study: CurveSet, ended_at: Array, time_speedup: float | None = None, stated: Array = NOTHING, happened: Array = NOTHING
    ) -> Outcome:
        """ended_at: `(n,)` epochs that each trial ran. Raises ValueError without a run that has a final value."""
        finals, stopped = study.finals, ended_at < study.epochs
        known = finals[study.is_whole]
        if not len(known):
            raise ValueError(f"a replay needs runs that were trained to their end, but got none among {len(finals)}")
        full = finals[study.is_whole & ~stopped]
        shortfall = float(known.max() - full.max()) if len(full) else np.inf
        top = finals >= np.quantile(known, 0.9)
        speedup = float(study.epochs.sum()) / float(ended_at.sum())
        good = np.argsort(-finals, kind="stable")[: min(N_GOOD, max(1, len(known) // 10))]
        return Outcome(
            speedup=speedup,
            time_speedup=speedup if time_speedup is None else time_speedup,
            recovered=shortfall <= CLOSE,
            shortfall=shortfall,
            regret=shortfall / (float(np.std(known[known >= np.median(known)])) or 1.0),
            top_stopped=float(stopped[top].mean()),
            best_stopped=bool(stopped[finals.argmax()]),
            good_stopped=tuple(stopped[good].tolist()),
            stated=stated,
            happened=happened,
        )
