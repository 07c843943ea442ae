"""The chart of the replay: saved against lost, for all rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.replay.compared_rules import OURS
from benchmarks.replay.paired import Results
from benchmarks.replay.search_scores import Scores


class Labelled(Protocol):
    """A rule with settings.

    Attributes:
        family: Rules of one family differ in their settings only.
        label: Name of the rule in the results.
    """

    @property
    def family(self) -> str: ...
    @property
    def label(self) -> str: ...


PANELS = {"best_lost": "searches that lost their best trial", "top_lost": "share of the best tenth lost"}
MARKERS = "o^sDvP*X"


def draw(path: Path, title: str, entries: Sequence[Labelled], results: Results) -> None:
    """Draw every setting as a point and ours as a line, against both losses."""
    figure, axes = subplots(1, 2)
    for ax, (measure, words) in zip(axes, PANELS.items(), strict=True):
        y = Scores._fields.index(measure)
        for place, family in enumerate(dict.fromkeys(entry.family for entry in entries)):
            means = [results[entry.label].mean(axis=(0, 1)) for entry in entries if entry.family == family]
            style: dict[str, Any] = {"lw": 0, "marker": MARKERS[place % len(MARKERS)], "ms": 5}
            if family == OURS:
                style = {"lw": 2, "marker": "o", "color": "black", "zorder": 3}
            ax.plot([m[0] for m in means], [m[y] for m in means], label=family, **style)
        ax.set(xlabel="share of epochs saved", ylabel=words)
    axes[0].legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def subplots(n_rows: int, n_columns: int) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, in order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * n_columns + 1, 4.5 * n_rows), layout="constrained")
    return figure, list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
