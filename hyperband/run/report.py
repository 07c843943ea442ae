"""What a run leaves behind: results.json, curves.csv and a standalone plot of all curves, curves.html."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.trials import State, TrialRecord

_COLOURS: Mapping[State, str] = {
    "finished": "#2a7f3f",
    "dropped": "#9aa5b1",
    "stopped": "#e0a458",
    "failed": "#c0392b",
    "running": "#3b82c4",
}
"""Every state that may be left when a run is over or interrupted; other states are drawn as "running"."""

_LABELS: Mapping[State, str] = {
    "finished": "trained to the end",
    "dropped": "not promoted",
    "stopped": "stopped as hopeless",
    "failed": "failed",
    "running": "unfinished",
}


def write_results(
    scheduler: BracketScheduler,
    folder: Path,
    *,
    metric: str,
    settings: Mapping[str, object],
    busy: UtilizationTracker | None = None,
) -> Path:
    """Write the three files; returns the path of the plot."""
    results = json.dumps(results_of(scheduler, settings, busy), indent=1)
    (folder / "results.json").write_text(results + "\n", encoding="utf-8")
    with (folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(curve_rows(scheduler.records))
    plot = folder / "curves.html"
    figure = draw(scheduler.records, metric=metric)
    figure.write_html(plot, include_plotlyjs=True)
    return plot


def results_of(
    scheduler: BracketScheduler, settings: Mapping[str, object], busy: UtilizationTracker | None = None
) -> dict[str, Any]:
    """All there is to know of a run, as JSON can hold it. busy_share: of the workers' time, that they trained."""
    times = {} if busy is None else {"busy_share": busy.share, "trained_s": busy.trained_s}
    return {"settings": dict(settings), **summary(scheduler), **times, "trials": [_trial(r) for r in scheduler.records]}


def summary(scheduler: BracketScheduler) -> dict[str, Any]:
    """The run in a few numbers. saved: the part of plain Hyperband's epochs not trained, in [0, 1]."""
    best = scheduler.best()
    trained, planned = scheduler.epochs_trained, scheduler.epochs_planned
    return {
        "best_trial": None if best is None else best.trial,
        "best_value": None if best is None else best.values[-1],
        "n_trials": len(scheduler.records),
        "n_stops": sum(len(record.stops) for record in scheduler.records),
        "n_failed": sum(record.state == "failed" for record in scheduler.records),
        "epochs_trained": trained,
        "epochs_planned": planned,
        "saved": 1.0 - trained / planned if planned else 0.0,
    }


def curve_rows(records: Iterable[TrialRecord]) -> list[tuple[object, ...]]:
    """A header, then one row for each epoch of each trial."""
    header = ("trial", "iteration", "bracket", "state", "epoch", "value")
    return [header] + [
        (r.trial, r.iteration, r.bracket, r.state, epoch, repr(value))
        for r in records
        for epoch, value in enumerate(r.values, start=1)
    ]


def ranked(scheduler: BracketScheduler, n: int) -> list[TrialRecord]:
    """The best n trials: those trained longest first, then by their last value."""
    sign = -1.0 if scheduler.direction == "maximize" else 1.0
    with_values = [r for r in scheduler.records if r.values and r.state != "failed"]
    return sorted(with_values, key=lambda r: (-len(r.values), sign * r.values[-1]))[:n]


def short(configuration: Mapping[str, object]) -> str:
    """A configuration on one line, floats to three digits."""
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in configuration.items())


def draw(records: Sequence[TrialRecord], *, metric: str) -> go.Figure:
    """All curves, one legend entry for each way to end; crosses are stops, with their reasons under the pointer."""
    figure = go.Figure()
    for state, color in _COLOURS.items():
        group = [r for r in records if r.values and _drawn_as(r) == state]
        if group:
            figure.add_trace(_lines(group, f"{_LABELS[state]} ({len(group)})", color))
    stopped = [(r, epoch, decision) for r in records for epoch, decision in r.stops]
    if stopped:
        figure.add_trace(
            go.Scatter(
                x=[epoch for _, epoch, _ in stopped],
                y=[r.values[epoch - 1] for r, epoch, _ in stopped],
                hovertext=[f"{_hover(r)}<br>stopped: {escape(decision.reason)}" for r, _, decision in stopped],
                name=f"stops ({len(stopped)})",
                mode="markers",
                marker={"symbol": "x", "size": 8, "color": "#b7410e"},
                hoverinfo="text",
            )
        )
    figure.update_layout(
        template="plotly_white",
        title="Learning curves",
        xaxis={"title": "epoch", "rangemode": "tozero"},
        yaxis={"title": metric},
        hovermode="closest",
        hoverlabel={"align": "left"},
    )
    return figure


def _lines(group: Sequence[TrialRecord], name: str, color: str) -> go.Scatter:
    """Many curves as one trace, with a gap after each."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for record in group:
        hover = f"{_hover(record)}<br>{record.state}: {escape(record.reason)}"
        x += [*range(1, len(record.values) + 1), None]
        y += [*record.values, None]
        text += [f"{hover}<br>epoch {epoch}: {value:.6g}" for epoch, value in enumerate(record.values, start=1)] + [""]
    line = {"color": color, "width": 1.2}
    return go.Scatter(
        x=x, y=y, hovertext=text, name=name, mode="lines+markers", line=line, marker={"size": 3}, hoverinfo="text", opacity=0.8
    )


def _drawn_as(record: TrialRecord) -> State:
    return record.state if record.state in _COLOURS else "running"


def _hover(record: TrialRecord) -> str:
    lines = [f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in record.configuration.items()]
    return "<br>".join([f"<b>{record.trial}</b>", *map(escape, lines)])


def _trial(record: TrialRecord) -> dict[str, object]:
    return {
        "trial": record.trial,
        "configuration": dict(record.configuration),
        "iteration": record.iteration,
        "bracket": record.bracket,
        "rung": record.rung,
        "state": record.state,
        "reason": record.reason,
        "epochs_trained": record.epochs,
        "epochs_planned": record.planned_epochs,
        "predicted_final": record.predicted_final,
        "values": record.values,
        "stops": [
            {
                "epoch": epoch,
                "reason": decision.reason,
                "probability": decision.probability,
                "predicted": None if decision.prediction is None else decision.prediction.mean,
                "sigma": None if decision.prediction is None else decision.prediction.sigma,
            }
            for epoch, decision in record.stops
        ],
    }
