"""What replays amount to: one rule's outcomes by set, pooled, on a frontier, and against another family of rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.benchmark_cli import mean_and_error
from benchmarks.replay.compared_rules import Entry
from curvestop.clients.backtest.curve_set import Outcome


@dataclass(frozen=True)
class Result:
    """An entry's outcomes over the orders of every set."""

    entry: Entry
    outcomes: Mapping[str, Sequence[Outcome]]

    def recovery(self, sets: Iterable[str] | None = None) -> float:
        """Share of recovered studies, sets weighing the same."""
        return float(np.mean([np.mean([o.recovered for o in self.outcomes[s]]) for s in sets or self.outcomes]))

    def speedup(self, sets: Iterable[str] | None = None) -> float:
        """Geometric mean over orders and sets."""
        return float(np.exp(np.mean([np.mean([np.log(o.speedup) for o in self.outcomes[s]]) for s in sets or self.outcomes])))

    def mean(self, field: str) -> float:
        return float(np.mean([np.mean([getattr(o, field) for o in outcomes]) for outcomes in self.outcomes.values()]))

    def median_regret(self) -> float:
        return float(np.median([o.regret for outcomes in self.outcomes.values() for o in outcomes]))

    def recovery_errors(self) -> tuple[float, float]:
        """Standard errors of the recovery: over orders (all sets pooled in each) and over sets (all orders pooled in each)."""
        table = np.array([[float(o.recovered) for o in outcomes] for outcomes in self.outcomes.values()])  # (sets, orders)
        return mean_and_error(table.mean(axis=0).tolist())[1], mean_and_error(table.mean(axis=1).tolist())[1]

    def calibration_error(self) -> float | None:
        """Mean distance between stated probability and frequency over ten equally filled bins; None without statements."""
        stated = np.concatenate([o.stated for outcomes in self.outcomes.values() for o in outcomes])
        if not len(stated):
            return None
        happened = np.concatenate([o.happened for outcomes in self.outcomes.values() for o in outcomes])
        bins = np.array_split(np.argsort(stated, kind="stable"), 10)
        return float(np.mean([abs(stated[b].mean() - happened[b].mean()) for b in bins if len(b)]))


def fastest(results: Iterable[Result], recovery: float, sets: Sequence[str] | None = None) -> Result | None:
    """The result with the greatest speed-up among those that recover at least this share; None when there is none."""
    reached = [r for r in results if r.recovery(sets) >= recovery - 1e-9]
    return max(reached, key=lambda r: r.speedup(sets), default=None)


def frontier(results: Iterable[Result]) -> list[tuple[float, float]]:
    """(speed-up, recovery) of the results that no other beats in both, by speed-up."""
    points = sorted(((r.speedup(), r.recovery()) for r in results), reverse=True)
    best, kept = -1.0, []
    for speedup, recovery in points:
        if recovery > best:
            kept.append((speedup, recovery))
            best = recovery
    return kept[::-1]


def recovery_at(results: Sequence[Result], speedup: float, sets: Sequence[str] | None = None) -> float:
    """The best recovery of these settings at this speed-up: their frontier, straight between its points over log speed-up.

    Slower than the slowest: that one's; faster than the fastest: nothing is known, the fastest one's counts.
    """
    points = sorted((np.log(r.speedup(sets)), r.recovery(sets)) for r in results)
    speeds = np.array([s for s, _ in points])
    # A setting that is both faster and better makes every slower one at least as good.
    best = np.maximum.accumulate([r for _, r in points][::-1])[::-1]
    return float(np.interp(np.log(speedup), speeds, best))


def gaps(ours: Result, plain: Sequence[Result]) -> dict[str, float]:
    """By set: our recovery less the plain rule's at our speed-up on that set."""
    return {s: ours.recovery([s]) - recovery_at(plain, ours.speedup([s]), [s]) for s in ours.outcomes}
