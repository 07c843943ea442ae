"""The thesis's Figures 4-7 (speed-up by setting), 4-8 (best value against epochs) and 4-9 (speed-up against iteration)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hyperband.replayed_run import Course
from benchmarks.hyperband.run_scores import Comparison


def draw(out: Path, shipped: Sequence[Comparison], others: Sequence[Comparison]) -> None:
    """`hyperband_4_7.png`, `hyperband_4_8.png` and `hyperband_4_9.png`, a panel for each set."""
    names = list(dict.fromkeys(c.set_name for c in shipped))
    for number, panel, comparisons in (
        ("4_7", _by_setting, [*shipped, *others]),
        ("4_8", _best, shipped),
        ("4_9", _by_iteration, shipped),
    ):
        figure, panels = _subplots(len(names))
        for ax, name in zip(panels, names, strict=False):
            panel(ax, [c for c in comparisons if c.set_name == name])
            ax.set_title(name, fontsize=8)
        figure.savefig(out / f"hyperband_{number}.png", dpi=120)


def _by_setting(ax: Any, comparisons: Sequence[Comparison]) -> None:
    """A triangle where the best value is within a standard error of Hyperband's, an x where not, as in the thesis."""
    for place, comparison in enumerate(comparisons):
        mean, error = comparison.total()
        ax.errorbar(place, mean, error, marker="^" if comparison.gap() <= 1 else "x", color="C0")
    ax.set_xticks(range(len(comparisons)), [c.setting.name for c in comparisons], rotation=90, fontsize=6)
    ax.set_ylabel("speed-up over Hyperband")


def _best(ax: Any, comparisons: Sequence[Comparison]) -> None:
    for label, runs in (("Hyperband", comparisons[0].plain), *((f"f-Hyperband, {c.setting.name}", c.ours) for c in comparisons)):
        epochs, best = (_mean(runs, what) for what in ("epochs", "best"))
        ax.plot(epochs, best, marker="^", ms=3, lw=0.8, label=label)
    ax.set(xlabel="epochs trained", ylabel="best value so far")
    ax.legend(fontsize=6)


def _by_iteration(ax: Any, comparisons: Sequence[Comparison]) -> None:
    for comparison in comparisons:
        ratios = comparison.speedup_by_iteration()
        iterations, mean = np.arange(1, ratios.shape[1] + 1), ratios.mean(axis=0)
        error = ratios.std(axis=0, ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else 0 * mean
        line = ax.plot(iterations, mean, label=comparison.setting.name)
        ax.fill_between(iterations, mean - error, mean + error, alpha=0.3, color=line[0].get_color())
    ax.set(xlabel="Hyperband iteration", ylabel="speed-up over Hyperband")


def _mean(runs: Sequence[Course], what: str) -> Any:
    return np.mean([getattr(run, what) for run in runs], axis=0)


def _subplots(n: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    n_columns = min(n, 4)
    n_rows = -(-n // n_columns)
    figure = Figure(figsize=(4.5 * n_columns + 1, 4 * n_rows), layout="constrained")
    return figure, list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
