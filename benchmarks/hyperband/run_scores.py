"""f-Hyperband's runs beside Hyperband's on the same draws: speed-up and best value found, with standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.benchmark_cli import mean_and_error
from benchmarks.hyperband.replayed_run import Array, Course, Setting
from curvestop.srm.policies.stopping_rule import Direction


@dataclass(frozen=True)
class Comparison:
    """One setting on one set. plain, ours: a run of each for every seed, at least one."""

    set_name: str
    setting: Setting
    direction: Direction
    plain: Sequence[Course]
    ours: Sequence[Course]

    def total(self) -> tuple[float, float]:
        """Mean and standard error of Hyperband's epochs over ours."""
        return self._speedup(0)

    def late(self) -> tuple[float, float]:
        """The same over the second half of the iterations; over all when there is but one."""
        return self._speedup(len(self.plain[0].epochs) // 2)

    def speedup_by_iteration(self) -> Array:
        """`(n_seeds, n_iterations)`: Hyperband's epochs in each iteration over ours."""
        ratios: Array = np.array([_steps(p.epochs) / _steps(o.epochs) for p, o in zip(self.plain, self.ours, strict=True)])
        return ratios

    def losses(self) -> list[float]:
        """By how much Hyperband's best value is better than ours, for every seed; negative where ours is better."""
        sign = 1.0 if self.direction == "maximize" else -1.0
        return [float(sign * (p.best[-1] - o.best[-1])) for p, o in zip(self.plain, self.ours, strict=True)]

    def loss(self) -> tuple[float, float]:
        return mean_and_error(self.losses())

    def n_worse(self) -> int:
        """Runs whose best value is worse than Hyperband's."""
        return sum(loss > 0 for loss in self.losses())

    def gap(self) -> float:
        """The mean loss in standard errors of it; with one run, or no spread, 0 without a loss and infinite with one."""
        mean, error = self.loss()
        if error > 0:
            return mean / error
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))

    def details(self) -> dict[str, Any]:
        runs = [{"epochs": c.epochs, "best": c.best} for c in self.ours]
        plain = [{"epochs": c.epochs, "best": c.best} for c in self.plain]
        setting = {k: str(v) for k, v in vars(self.setting).items()}
        return {"set": self.set_name, "setting": setting, "losses": self.losses(), "hyperband": plain, "f-hyperband": runs}

    def _speedup(self, first: int) -> tuple[float, float]:
        pairs = zip(self.plain, self.ours, strict=True)
        return mean_and_error([float(_spent(p.epochs, first) / _spent(o.epochs, first)) for p, o in pairs])


def _steps(cumulative: Array) -> Array:
    return np.diff(cumulative, prepend=0.0)


def _spent(cumulative: Array, first: int) -> float:
    """Epochs from iteration `first` (0-based) on."""
    return float(cumulative[-1] - (cumulative[first - 1] if first else 0.0))
