"""A picture of one search: real curves, where each was stopped, and what was predicted beside where it would have ended.

    python -m benchmarks.pictures.stopped_curves --data ../shared/data --out docs/images --set deepobs-cifar100-allcnnc

Trials are replayed one after the other through a `Study` with default settings, which is not told of the epochs after a stop. The
policy has coefficients that never saw the set's domain, and nothing is clipped, as in `python -m benchmarks.replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.replay.left_out import coefficients_by_domain, shipped
from benchmarks.replay.search_set import domain_of
from benchmarks.replay.shuffled_study import shuffled
from curvestop.clients.backtest.curve_set import Array, CurveSet, Outcome
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

KEPT, DOT, PALE, BEST = "#3b7dd8", "#24292f", "#d0d5da", "#d1495b"
LEGEND = (
    (KEPT, "-", "ran to its end"),
    (DOT, ".", "stopped here"),
    (PALE, "-", "what the stop saved"),
    (BEST, "-", "the best of all"),
)


@dataclass(frozen=True)
class Search:
    """What a study did to a set of curves.

    epochs: `(T,)`; sets of more than 150 epochs are read at 100 of them. stops: trial -> at which of them, counted from 1, and
    with which answer it was stopped; the others ran to their end.
    """

    study: CurveSet
    metric: str
    epochs: Array
    stops: dict[int, tuple[int, Decision]]

    def ended_at(self) -> Array:
        """`(n,)` epochs that each trial ran."""
        n, horizon = self.study.curves.shape
        return np.array([self.stops[i][0] if i in self.stops else horizon for i in range(n)], dtype=float)

    def predicted(self) -> list[tuple[float, float, float]]:
        """Of the stopped trials with a model: predicted final value, its sigma, the final value of the whole curve."""
        answered = [(trial, decision.prediction) for trial, (_, decision) in self.stops.items()]
        return [(p.mean, p.sigma, float(self.study.curves[trial, -1])) for trial, p in answered if p is not None]


def searched(curve_set: CurveFile, seed: int, n_trials: int) -> Search:
    """Every trial, epoch by epoch, until it is stopped or over."""
    replayed = shuffled(curve_set, seed, n_trials=n_trials)
    n, horizon = replayed.curves.shape
    study = Study(StudySettings(replayed.name, horizon, direction=replayed.direction))
    stops = {}
    for trial in range(n):
        configuration = {f"x{j}": value for j, value in enumerate(replayed.configurations[trial].tolist())}
        for epoch, value in enumerate(replayed.curves[trial].tolist(), start=1):
            decision = study.report(str(trial), [value], first_epoch=epoch, configuration=configuration)
            if decision.stop:
                stops[trial] = (epoch, decision)
                study.finish(str(trial), "stopped")
                break
        else:
            study.finish(str(trial))
    metric = str(curve_set.meta.get("metric", "metric")).partition(" (")[0]
    return Search(replayed, metric, np.linspace(1, curve_set.n_epochs, horizon), stops)


def draw(path: Path, search: Search, saved: float) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.6, 3.9), layout="constrained")
        curves, ends = figure.subplots(1, 2, width_ratios=(1.7, 1))
        _draw_curves(curves, search)
        curves.set(
            title=f"{len(search.study.curves)} trainings: {saved:.0%} of the epochs saved", xlabel="epoch", ylabel=search.metric
        )
        _draw_ends(ends, search)
        figure.savefig(path, dpi=110)


def _draw_curves(ax: Any, search: Search) -> None:
    """Each up to where it was stopped, and pale how it would have gone on; blue to the end; the best one in red."""
    epochs, values = search.epochs, search.study.curves
    best = int(search.study.finals.argmax())
    for trial, end in enumerate(search.ended_at().astype(int)):
        color, width, order = (BEST, 2.0, 3) if trial == best else (KEPT, 0.6, 2)
        if trial in search.stops:
            ax.plot(epochs[end - 1 :], values[trial, end - 1 :], color=PALE, lw=0.6, zorder=0)
            ax.plot(epochs[end - 1], values[trial, end - 1], ".", color=DOT, ms=4, zorder=4)
            color = DOT
        ax.plot(epochs[:end], values[trial, :end], color=color, lw=width, zorder=order)
    for color, style, label in LEGEND:
        ax.plot([], [], style, color=color, label=label)
    ax.legend(edgecolor="none", framealpha=0.9, loc="best").set_zorder(5)


def _draw_ends(ax: Any, search: Search) -> None:
    """Predicted against real final values of the stopped trials, with 95 % intervals."""
    if rows := search.predicted():
        mean, sigma, final = map(np.array, zip(*rows, strict=True))
        ax.errorbar(final, mean, 1.96 * sigma, fmt=".", color=DOT, ecolor=PALE, elinewidth=0.8, ms=4)
        ax.axline((final[0], final[0]), slope=1, color=KEPT, lw=0.8)
        ax.axvline(search.study.sign * search.study.finals.max(), color=BEST, lw=1.2)
    ax.set(title="the stopped ones", xlabel="where each would have ended", ylabel="predicted at the stop, with 95 % interval")


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--set", default="deepobs-cifar100-allcnnc", help="name of a curve set (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=100, help="trials in the study (default: %(default)s)")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for curve_set in load_all(options.data, [options.set]):
        domain = domain_of(curve_set.name)
        with shipped(coefficients_by_domain([domain])[domain]):
            search = searched(curve_set, options.seed, options.trials)
        outcome = Outcome.of(search.study, search.ended_at())
        rows = search.predicted()
        headline = {
            "set": curve_set.name,
            "saved": 1 - 1 / outcome.speedup,
            "stopped": len(search.stops),
            "best_kept": not outcome.best_stopped,
            "top_tenth_stopped": outcome.top_stopped,
            "inside_95": float(np.mean([abs(m - f) <= 1.96 * s for m, s, f in rows])) if rows else None,
        }
        draw(options.out / "stopped-curves.png", search, 1 - 1 / outcome.speedup)
        benchmark_cli.conclude(options.out, "stopped_curves", headline)


if __name__ == "__main__":
    main()
