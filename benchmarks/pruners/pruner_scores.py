"""What pruners amount to on a set of curves: saved against killed, and which of Optuna's lie above our curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.benchmark_cli import mean_and_error
from benchmarks.pruners.pruner_settings import Setting
from curvestop.clients.backtest.curve_set import Outcome

Figure = tuple[float, float]
"""Mean and standard error."""


@dataclass(frozen=True)
class Scored:
    """A setting's outcomes, by set, one for each order; the same orders for all, a slow pruner the first ones of them."""

    setting: Setting
    outcomes: Mapping[str, Sequence[Outcome]]

    def saved(self, set_name: str | None = None, n_orders: int | None = None) -> Figure:
        """Share of all epochs that were not trained."""
        return self._figure("saved", set_name, n_orders)

    def killed(self, set_name: str | None = None, n_orders: int | None = None) -> Figure:
        """Share of the best tenth that was pruned."""
        return self._figure("top_stopped", set_name, n_orders)

    def best_killed(self, set_name: str | None = None) -> Figure:
        """Share of the studies whose best run was pruned."""
        return self._figure("best_stopped", set_name)

    def regret(self, set_name: str | None = None) -> Figure:
        """What the best complete trial falls short of the best of all, in standard deviations of the better half."""
        return self._figure("regret", set_name)

    def n_orders(self, set_name: str) -> int:
        return len(self.outcomes[set_name])

    def _figure(self, field: str, set_name: str | None, n_orders: int | None = None) -> Figure:
        """Without a set: of all, weighing the same; the error is that of the orders."""
        names = list(self.outcomes) if set_name is None else [set_name]
        table = np.array([[float(getattr(o, field)) for o in self.outcomes[name][:n_orders]] for name in names])  # (sets, orders)
        return mean_and_error(table.mean(axis=0).tolist())


def saved_at(killed: float, points: Iterable[tuple[float, float]]) -> float:
    """The most that is saved at no more killed: points are (killed, saved), with straight lines between the best of them.

    A point on a line is had by drawing one of its two settings for each study. Killing nothing saves nothing, if no point does.
    """
    best = [(0.0, 0.0)]
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if y > best[-1][1]:
            best = [*(best[:-1] if x == best[-1][0] else best), (x, y)]
    return float(np.interp(killed, [x for x, _ in best], [y for _, y in best]))


@dataclass(frozen=True)
class Above:
    """A peer that saves more on a set (None: all) than our curve at as many killed. by: how much; error: of the peer's saved."""

    set_name: str | None
    setting: Setting
    saved: float
    killed: float
    by: float
    error: float


def above(peer: Scored, ours: Sequence[Scored], set_name: str | None) -> Above | None:
    """None where it lies on the curve or below. Our curve is that of the peer's orders."""
    n_orders = peer.n_orders(set_name or next(iter(peer.outcomes)))
    curve = [(one.killed(set_name, n_orders)[0], one.saved(set_name, n_orders)[0]) for one in ours]
    (saved, error), (killed, _) = peer.saved(set_name), peer.killed(set_name)
    by = saved - saved_at(killed, curve)
    return Above(set_name, peer.setting, saved, killed, by, error) if by > 1e-9 else None


def details(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Every setting on every set, for the JSON."""
    return [
        {
            "family": one.setting.family,
            "setting": one.setting.label,
            "set": name,
            "orders": one.n_orders(name),
            **{
                figure: [_finite(value) for value in getattr(one, figure)(name)]
                for figure in ("saved", "killed", "best_killed", "regret")
            },
        }
        for one in scored
        for name in one.outcomes
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
