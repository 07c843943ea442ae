"""The results of a run: results.json, curves.csv and curves.html, a standalone plot of all curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.trials import State, TrialRecord

if TYPE_CHECKING:
    import plotly.graph_objects as go  # an extra: at run time only the functions that draw import it

# Every state that a run can end or be interrupted in; trials in other states are drawn as "running".
_COLORS: Mapping[State, str] = {
    "finished": "#2a7f3f",
    "dropped": "#9aa5b1",
    "stopped": "#e0a458",
    "failed": "#c0392b",
    "running": "#3b82c4",
}

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
    utilization: UtilizationTracker | None = None,
) -> Path | None:
    """Write results.json, curves.csv and curves.html.

    Args:
        scheduler: The run, over or not.
        folder: Where to write.
        metric: Name of the metric, for the plot.
        settings: Settings of the run, copied into results.json.
        utilization: How busy the workers were. Default: left out.

    Returns:
        Path of the plot; None if plotly is not installed, and so no plot was written.
    """
    results = json.dumps(results_of(scheduler, settings, utilization), indent=1)
    (folder / "results.json").write_text(results + "\n", encoding="utf-8")
    with (folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(curve_rows(scheduler.records))
    # Last, as the only part that needs an extra: the data is written in any case.
    try:
        figure = draw_curves(scheduler.records, metric=metric)
    except ImportError:
        return None
    plot = folder / "curves.html"
    figure.write_html(plot, include_plotlyjs=True)  # the page works without a network
    return plot


def results_of(
    scheduler: BracketScheduler, settings: Mapping[str, object], utilization: UtilizationTracker | None = None
) -> dict[str, Any]:
    """Return everything about a run, as JSON can hold it.

    Args:
        scheduler: The run, over or not.
        settings: Settings of the run.
        utilization: Adds `busy_share`, the share of the workers' time that they trained, and `trained_s`.
    """
    # The names of these fields are read by users' scripts: they stay.
    times = {} if utilization is None else {"busy_share": utilization.share, "trained_s": utilization.trained_s}
    return {"settings": dict(settings), **summary(scheduler), **times, "trials": [_trial_results(r) for r in scheduler.records]}


def summary(scheduler: BracketScheduler) -> dict[str, Any]:
    """Return the run in a few numbers; `saved` is the share of plain Hyperband's epochs not trained, in [0, 1].

    Args:
        scheduler: The run, over or not.

    Returns:
        Best trial and value (None without a complete trial), numbers of trials, stops, failures and resumed trials, epochs
        trained and planned, and the share saved.
    """
    best = scheduler.best()
    trained, planned = scheduler.epochs_trained, scheduler.epochs_planned
    return {
        "best_trial": None if best is None else best.trial,
        "best_value": None if best is None else best.values[-1],
        "n_trials": len(scheduler.records),
        "n_stops": sum(len(record.stops) for record in scheduler.records),  # a trial may be stopped in several rungs
        "n_failed": sum(record.state == "failed" for record in scheduler.records),
        "n_resumed": sum(record.resumed_at is not None for record in scheduler.records),
        "epochs_trained": trained,
        "epochs_planned": planned,
        "saved": 1.0 - trained / planned if planned else 0.0,
    }


def curve_rows(records: Iterable[TrialRecord]) -> list[tuple[object, ...]]:
    """Return the rows of curves.csv: a header, then one row for each epoch of each trial.

    Args:
        records: The trials of a run; one without a value has no row.
    """
    header = ("trial", "iteration", "bracket", "state", "epoch", "value")
    return [header] + [
        (r.trial, r.iteration, r.bracket, r.state, epoch, repr(value))  # repr: all digits of a float
        for r in records
        for epoch, value in enumerate(r.values, start=1)
    ]


def best_trials(scheduler: BracketScheduler, n: int) -> list[TrialRecord]:
    """Return the n best trials: first those trained longest, among equally long ones by their last value.

    Args:
        scheduler: The run, over or not; its direction says what is best.
        n: How many trials to return, at most.
    """
    sign = -1.0 if scheduler.direction == "maximize" else 1.0
    # Values at different epochs cannot be compared: trained longest comes first.
    with_values = [r for r in scheduler.records if r.values and r.state != "failed"]
    return sorted(with_values, key=lambda r: (-len(r.values), sign * r.values[-1]))[:n]


def format_configuration(configuration: Mapping[str, object]) -> str:
    """Format a configuration on one line, floats with three significant digits.

    Args:
        configuration: Hyperparameters, by name; their order is kept.

    Examples:
        >>> format_configuration({"lr": 0.0123456, "kind": "sgd"})
        'lr=0.0123, kind=sgd'
    """
    return ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in configuration.items())


def draw_curves(records: Sequence[TrialRecord], *, metric: str) -> go.Figure:
    """Draw all curves, one legend entry for each way to end.

    Crosses are stops, with their reasons in the tooltip; triangles are second chances.

    Args:
        records: The trials of a run.
        metric: Name of the metric, for the axis.

    Raises:
        ImportError: If plotly is not installed.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for state, color in _COLORS.items():
        group = [r for r in records if r.values and _drawn_as(r) == state]
        if group:
            figure.add_trace(_curves_of(group, f"{_LABELS[state]} ({len(group)})", color))
    # Also of trials that were promoted later: a stop is a decision, not an end.
    stops = [(r, epoch, decision) for r in records for epoch, decision in r.stops]
    if stops:
        figure.add_trace(
            go.Scatter(
                x=[epoch for _, epoch, _ in stops],
                y=[r.values[epoch - 1] for r, epoch, _ in stops],
                hovertext=[f"{_tooltip(r)}<br>stopped: {escape(decision.reason)}" for r, _, decision in stops],
                name=f"stops ({len(stops)})",
                mode="markers",
                marker={"symbol": "x", "size": 8, "color": "#b7410e"},
                hoverinfo="text",
            )
        )
    resumed = [r for r in records if r.resumed_at is not None]
    if resumed:
        figure.add_trace(
            go.Scatter(
                x=[r.epochs_in_rungs for r in resumed],
                y=[r.values[r.epochs_in_rungs - 1] for r in resumed],
                hovertext=[f"{_tooltip(r)}<br>resumed at epoch {r.resumed_at}" for r in resumed],
                name=f"resumed ({len(resumed)})",
                mode="markers",
                marker={"symbol": "triangle-right", "size": 10, "color": "#3b82c4"},
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


def _curves_of(group: Sequence[TrialRecord], name: str, color: str) -> go.Scatter:
    """Draw many curves as one trace, which a browser handles far faster than a trace a curve."""
    import plotly.graph_objects as go

    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for record in group:
        tooltip = f"{_tooltip(record)}<br>{record.state}: {escape(record.reason)}"
        # The None after each curve makes a gap, so that the line does not run on to the next curve.
        x += [*range(1, len(record.values) + 1), None]
        y += [*record.values, None]
        text += [f"{tooltip}<br>epoch {epoch}: {value:.6g}" for epoch, value in enumerate(record.values, start=1)] + [""]
    line = {"color": color, "width": 1.2}
    return go.Scatter(
        x=x, y=y, hovertext=text, name=name, mode="lines+markers", line=line, marker={"size": 3}, hoverinfo="text", opacity=0.8
    )


def _drawn_as(record: TrialRecord) -> State:
    # "waiting" and "paused" trials of an interrupted run are unfinished, too.
    return record.state if record.state in _COLORS else "running"


def _tooltip(record: TrialRecord) -> str:
    # Parameter names and values come from the user: escaped, since plotly shows tooltips as HTML.
    lines = [f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in record.configuration.items()]
    return "<br>".join([f"<b>{record.trial}</b>", *map(escape, lines)])


def _trial_results(record: TrialRecord) -> dict[str, object]:
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
        "resumed_at": record.resumed_at,
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
