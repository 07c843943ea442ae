"""The figure of the pruners: saved against killed, a panel for each set and one for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.pruners.pruner_scores import Scored, saved_at


def draw(out: Path, ours: Sequence[Scored], peers: Sequence[Scored], set_names: Sequence[str]) -> None:
    """`pruners.png`: our curve, every peer a point with its standard errors; up and to the left is better."""
    from matplotlib.figure import Figure

    panels: Mapping[str, str | None] = {"all sets": None, **{name: name for name in set_names}}
    n_columns = min(len(panels), 4)
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(4.5 * n_columns + 1, 4 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax, (title, name) in zip(axes.flat, panels.items(), strict=False):
        points = [(one.killed(name)[0], one.saved(name)[0]) for one in ours]
        across = [share / 100 for share in range(101)]
        ax.plot(
            across, [saved_at(killed, points) for killed in across], color="black", label="SRMPruner, the best of its settings"
        )
        ax.plot(*zip(*points, strict=True), "o", ms=3, color="black")
        for place, family in enumerate(dict.fromkeys(peer.setting.family for peer in peers)):
            label: str | None = family
            for peer in (p for p in peers if p.setting.family == family):
                (saved, saved_error), (killed, killed_error) = peer.saved(name), peer.killed(name)
                ax.errorbar(killed, saved, saved_error, killed_error, fmt="x", ms=4, lw=0.6, color=f"C{place}", label=label)
                label = None
        ax.set(title=title, xlabel="share of the best tenth that was pruned", ylabel="share of epochs saved", xlim=(-0.02, 1.02))
        ax.title.set_fontsize(8)
    axes.flat[0].legend(fontsize=6)
    figure.savefig(out / "pruners.png", dpi=120)
