"""Figures of the replay: saved against recovered, and the thesis's Figures 4-1 and 4-5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.replay.compared_rules import OURS, WITHOUT_MODEL
from benchmarks.replay.policy_scores import Result, frontier
from benchmarks.replay.thesis import ThesisReplay


def draw_frontiers(out: Path, results: Sequence[Result]) -> None:
    """Every setting as a point, every family's frontier as a line: `replay_frontier.png`."""
    figure, axes = _subplots(1, 1)
    ax = axes[0]
    for family in dict.fromkeys(r.entry.family for r in results):
        members = [r for r in results if r.entry.family == family]
        strong = family in (OURS, WITHOUT_MODEL)
        line = frontier(members)
        points = ax.plot([r.speedup() for r in members], [r.recovery() for r in members], "o", ms=6 if strong else 3)
        ax.plot(*zip(*line, strict=True), color=points[0].get_color(), lw=2 if strong else 0.8, label=family)
    ax.set(xscale="log", xlabel="speed-up (all epochs / epochs spent)", ylabel="recovery (best found within 0.001)")
    ax.legend(fontsize=7)
    figure.savefig(out / "replay_frontier.png", dpi=150)


def draw_thesis(out: Path, thesis: ThesisReplay) -> None:
    """`thesis_4_1.png`: curves as they are, and as the rule stopped them. `thesis_4_5.png`: speed-up by threshold."""
    if thesis.example is not None:
        curves, ended_at = thesis.example
        figure, axes = _subplots(1, 2)
        for curve, end in zip(curves, ended_at.astype(int), strict=True):
            axes[0].plot(range(1, len(curve) + 1), curve, lw=0.3, alpha=0.4)
            axes[1].plot(range(1, end + 1), curve[:end], lw=0.3, alpha=0.4)
        axes[0].set(title="all curves", xlabel="epoch", ylabel="validation accuracy")
        axes[1].set(title="stopped, threshold 0.95", xlabel="epoch")
        figure.savefig(out / "thesis_4_1.png", dpi=150)
    names = list(dict.fromkeys(p.set_name for p in thesis.points))
    if not names:
        return
    figure, axes = _subplots(1, len(names))
    for ax, name in zip(axes, names, strict=True):
        for variant in dict.fromkeys(p.variant for p in thesis.points):
            points = [p for p in thesis.points if (p.set_name, p.variant) == (name, variant)]
            line = ax.plot([p.threshold for p in points], [p.speedup for p in points], lw=0.8, label=variant)
            for p in points:  # as in the thesis: a triangle where more than half of the orders recover the best
                ax.plot(p.threshold, p.speedup, "^" if p.recovered > 0.5 else "x", color=line[0].get_color())
        ax.set(title=name, xlabel="threshold", ylabel="speed-up")
    axes[0].legend(fontsize=7)
    figure.savefig(out / "thesis_4_5.png", dpi=150)


def _subplots(n_rows: int, n_columns: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * n_columns + 1, 4.5 * n_rows), layout="constrained")
    return figure, list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
