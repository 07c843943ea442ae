"""Figures of a study as Plotly draws them in notebooks: `from curvestop import plot`, then `plot.curves(study)`.

Each function takes a study in this process or on a server, an Optuna study, or the result of a backtest; see `Source`.
Needs plotly (extra `[plots]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Literal

from curvestop.clients.reports.calibration import (
    INTERVAL_SIGMAS,
    by_stage,
    reliability_bins,
    resolved_forecasts,
    share_interval,
)
from curvestop.clients.reports.sources import Source, view_of
from curvestop.clients.reports.study_log import StudyView, TrialView
from curvestop.clients.reports.study_report import stage_name

try:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots
except ImportError as error:
    raise ImportError("curvestop.plot needs plotly: pip install 'curvestop[plots]'") from error

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#808890"
"""Colors that everyone can tell apart (Okabe and Ito)."""
STAGE_COLORS = ("#cc79a7", "#e69f00", "#56b4e9", "#0072b2", "#009e73")


def curves(study: Source) -> go.Figure:
    """Draw the learning curves; where a trial was stopped, or would have been, its reason is under the pointer.

    Args:
        study: The study.

    Returns:
        The metric over epochs, one line of each color for all trials of a kind, the best trial bold.
    """
    view = view_of(study)
    best = _best(view)
    groups: dict[str, list[TrialView]] = {"complete": [], "running": [], "stopped": [], "failed": []}
    for trial in view.trials.values():
        if trial is not best and trial.values:
            groups[_kind(view, trial)].append(trial)
    figure = go.Figure()
    colors = {"complete": BLUE, "running": GREEN, "stopped": ORANGE, "failed": GREY}
    for kind, trials in groups.items():
        if trials:
            x, y = _joined(view, trials)
            figure.add_scatter(x=x, y=y, name=kind, mode="lines", line={"color": colors[kind], "width": 1}, opacity=0.5)
    if best is not None:
        x, y = _joined(view, [best])
        figure.add_scatter(x=x, y=y, name=f"best: {best.name}", mode="lines", line={"color": BLUE, "width": 3})
    stops = [(trial, stop) for trial in view.trials.values() if (stop := trial.stop or trial.shadow_stop) and stop.epoch]
    if stops:
        figure.add_scatter(
            x=[view.settings.axis.amount(stop.epoch) for _, stop in stops],
            y=[trial.reported.at(stop.epoch) for trial, stop in stops],
            name="would have been stopped" if view.settings.shadow else "where it was stopped",
            mode="markers",
            marker={"symbol": "x", "size": 6, "color": ORANGE},
            hovertext=[f"{escape(trial.name)}: {escape(stop.decision.reason)}" for trial, stop in stops],
            hoverinfo="text",
        )
    return _titled(figure, x=view.settings.resource, y=view.settings.metric)


def forecasts(study: Source) -> go.Figure:
    """Draw what was predicted beside what came of it, with the stated 95 % intervals; on the dotted line they are equal.

    Args:
        study: The study. The last forecast of each stage of a trial's curve counts, if its outcome is known.

    Returns:
        Predicted over actual values, one color for each stage.
    """
    view = view_of(study)
    found = resolved_forecasts(view)
    figure = go.Figure()
    if not found:
        return _empty(figure, "no forecast has come true yet: forecasts begin when enough trials are complete")
    ends = [min(f.actual for f in found), max(f.actual for f in found)]
    figure.add_scatter(x=ends, y=ends, mode="lines", name="equal", line={"color": GREY, "dash": "dot"}, hoverinfo="skip")
    for stage, of_stage in enumerate(by_stage(found)):
        if of_stage:
            figure.add_scatter(
                x=[f.actual for f in of_stage],
                y=[f.mean for f in of_stage],
                error_y={"array": [INTERVAL_SIGMAS * f.sigma for f in of_stage], "thickness": 1, "width": 0},
                name=stage_name(stage),
                mode="markers",
                marker={"color": STAGE_COLORS[stage], "size": 6},
                hovertext=[f"{escape(f.trial)} after {view.settings.axis.span(f.epoch)}" for f in of_stage],
            )
    metric = view.settings.metric
    return _titled(figure, x=f"{metric} that came", y=f"{metric} predicted")


def calibration(study: Source) -> go.Figure:
    """Draw stated probabilities against what came true, with 95 % intervals; on the dotted line they are right.

    Args:
        study: The study.

    Returns:
        Share of the trials that were no better than the value to beat, over its stated probability.
    """
    bins = reliability_bins(resolved_forecasts(view_of(study)))
    figure = go.Figure()
    if not bins:
        return _empty(figure, "no stated probability can be checked yet")
    shares = [bin_.n_no_better / bin_.n for bin_ in bins]
    bounds = [share_interval(bin_.n_no_better, bin_.n) for bin_ in bins]
    line = {"color": GREY, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="right", line=line, hoverinfo="skip")
    figure.add_scatter(
        x=[bin_.mean_stated for bin_ in bins],
        y=shares,
        error_y={
            "array": [high - share for share, (_, high) in zip(shares, bounds, strict=True)],
            "arrayminus": [share - low for share, (low, _) in zip(shares, bounds, strict=True)],
        },
        mode="lines+markers",
        name="came true",
        marker={"color": BLUE},
        hovertext=[f"{bin_.n_no_better} of {bin_.n}" for bin_ in bins],
    )
    return _titled(figure, x="stated probability of being no better", y="share that was no better")


def savings(study: Source) -> go.Figure:
    """Draw the epochs that each trial trained, and those that its stop saved (in shadow mode: would have saved).

    Args:
        study: The study.

    Returns:
        A stacked bar for each trial, in the order of their first reports.
    """
    view = view_of(study)
    trials = list(view.trials.values())
    amount, shadow = view.settings.axis.amount, view.settings.shadow
    saved = [_would_save(trial) if shadow else trial.epochs_saved for trial in trials]
    trained = [trial.last_epoch - (n if shadow else 0) for trial, n in zip(trials, saved, strict=True)]
    names = [trial.name for trial in trials]
    figure = go.Figure(layout={"barmode": "stack", "bargap": 0})
    figure.add_bar(x=names, y=[amount(n) for n in trained], name="trained", marker_color=BLUE)
    saved_name = "would have been saved" if shadow else "saved"
    figure.add_bar(x=names, y=[amount(n) for n in saved], name=saved_name, marker_color=ORANGE)
    figure.update_xaxes(type="category")
    return _titled(figure, x="trial", y=f"{view.settings.resource}s")


def parameters(study: Source, *, kind: Literal["scatter", "parallel"] = "scatter") -> go.Figure:
    """Draw the last value of each trial over its parameters.

    Args:
        study: The study.
        kind: "scatter" for one small chart for each parameter; "parallel" for parallel coordinates of the complete trials.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind not in ("scatter", "parallel"):
        raise ValueError(f"kind must be 'scatter' or 'parallel', but got {kind!r}")
    view = view_of(study)
    return _scatters(view) if kind == "scatter" else _parallel(view)


def importances(study: Source, *, seed: int = 0) -> go.Figure:
    """Draw how much of the final values' variance each parameter explains, as Optuna's fANOVA evaluator tells.

    Args:
        study: The study; its complete trials count that have all parameters.
        seed: Seed of the evaluator.

    Returns:
        A bar for each parameter, the largest first; the shares add up to 1.
    """
    view = view_of(study)
    shares = _importances(view, seed)
    figure = go.Figure()
    if not shares:
        return _empty(figure, "importances need two complete trials with parameters that differ")
    figure.add_bar(x=list(shares.values()), y=list(shares), orientation="h", marker_color=BLUE)
    figure.update_yaxes(autorange="reversed")
    return _titled(figure, x=f"share of the variance of {view.settings.metric}", y="")


def _importances(view: StudyView, seed: int) -> dict[str, float]:
    import optuna

    complete = list(view.complete())
    distributions = {name: _distribution(values) for name, values in _varying(complete).items()}
    trials = [trial for trial in complete if distributions.keys() <= trial.configuration.keys()]
    if not distributions or len(trials) < 2:
        return {}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction=view.settings.direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    for trial in trials:
        params = {name: trial.configuration[name] for name in distributions}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=trial.final))
    return optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed), params=list(distributions)
    )


def _distribution(values: Sequence[Any]) -> Any:
    import optuna

    if any(isinstance(value, str | bool) for value in values):
        return optuna.distributions.CategoricalDistribution(list(dict.fromkeys(values)))
    if all(isinstance(value, int) for value in values):
        return optuna.distributions.IntDistribution(min(values), max(values))
    return optuna.distributions.FloatDistribution(min(values), max(values))


def _scatters(view: StudyView) -> go.Figure:
    trials = [trial for trial in view.trials.values() if trial.values]
    names = list(_varying(trials))
    if not names:
        return _empty(go.Figure(), "no parameter has two values")
    figure = make_subplots(rows=1, cols=len(names), shared_yaxes=True)
    for column, name in enumerate(names, start=1):
        for kind, color in (("complete", BLUE), ("running", GREEN), ("stopped", ORANGE), ("failed", GREY)):
            shown = [trial for trial in trials if _kind(view, trial) == kind and name in trial.configuration]
            if shown:
                figure.add_scatter(
                    x=[trial.configuration[name] for trial in shown],
                    y=[trial.final for trial in shown],
                    mode="markers",
                    name=kind,
                    legendgroup=kind,
                    showlegend=column == 1,
                    marker={"color": color, "size": 6, "opacity": 0.7},
                    hovertext=[escape(trial.name) for trial in shown],
                    row=1,
                    col=column,
                )
        figure.update_xaxes(title=name, type="log" if name in view.settings.log_scaled else None, row=1, col=column)
    figure.update_yaxes(title=view.settings.metric, row=1, col=1)
    return figure.update_layout(template="plotly_white")


def _parallel(view: StudyView) -> go.Figure:
    complete = list(view.complete())
    names = _varying(complete)
    trials = [trial for trial in complete if names.keys() <= trial.configuration.keys()]
    if not names or not trials:
        return _empty(go.Figure(), "parallel coordinates need complete trials with parameters that differ")
    dimensions = [_dimension(name, [trial.configuration[name] for trial in trials]) for name in names]
    finals = [trial.final for trial in trials]
    dimensions.append({"label": view.settings.metric, "values": finals})
    return go.Figure(go.Parcoords(line={"color": finals, "colorscale": "Viridis", "showscale": True}, dimensions=dimensions))


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates; texts and flags are numbered in the order in which they came."""
    if not any(isinstance(value, str | bool) for value in values):
        return {"label": name, "values": list(values)}
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return {
        "label": name,
        "values": [numbers[value] for value in values],
        "tickvals": list(numbers.values()),
        "ticktext": [str(value) for value in numbers],
    }


def _varying(trials: Sequence[TrialView]) -> dict[str, list[Any]]:
    """Return the values of each parameter that has at least two, by name: a server does not keep the order."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.configuration.items():
            values.setdefault(name, []).append(value)
    return {name: found for name, found in sorted(values.items()) if len(set(found)) > 1}


def _kind(view: StudyView, trial: TrialView) -> str:
    if view.is_complete(trial):
        return "complete"
    return "stopped" if trial.state == "running" and trial.stop is not None else trial.state


def _best(view: StudyView) -> TrialView | None:
    return max(view.complete(), key=lambda trial: view.sign * trial.final, default=None)


def _would_save(trial: TrialView) -> int:
    """Return the epochs that were trained after the shadow stop; 0 without one."""
    stop = trial.shadow_stop
    return 0 if stop is None else trial.last_epoch - stop.epoch


def _joined(view: StudyView, trials: Sequence[TrialView]) -> tuple[list[float | None], list[float | None]]:
    """Return many curves as one line with gaps: one trace draws much faster than many."""
    x: list[float | None] = []
    y: list[float | None] = []
    for trial in trials:
        x += [*map(view.settings.axis.amount, trial.reported.epochs), None]
        y += [*trial.reported.in_order, None]
    return x, y


def _titled(figure: go.Figure, *, x: str, y: str) -> go.Figure:
    return figure.update_layout(template="plotly_white", xaxis_title=x, yaxis_title=y)


def _empty(figure: go.Figure, why: str) -> go.Figure:
    """Say in the figure why it has nothing to show."""
    figure.add_annotation(text=why, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    return figure.update_layout(template="plotly_white", xaxis_visible=False, yaxis_visible=False)
