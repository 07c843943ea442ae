"""The results of a run: results.json, curves.csv and curves.html, a page of all curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curvestop.frozen_page import page_with
from curvestop.hyperband.run.run_page import report_of_run
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.trials import TrialRecord


def write_results(
    scheduler: BracketScheduler,
    folder: Path,
    *,
    metric: str,
    settings: Mapping[str, object],
    utilization: UtilizationTracker | None = None,
) -> Path:
    """Write results.json, curves.csv and curves.html.

    Args:
        scheduler: The run, over or not.
        folder: Where to write.
        metric: Name of the metric, for the page.
        settings: Settings of the run, copied into results.json.
        utilization: How busy the workers were. Default: left out.

    Returns:
        Path of the page.
    """
    results = json.dumps(results_of(scheduler, settings, utilization), indent=1)
    (folder / "results.json").write_text(results + "\n", encoding="utf-8")
    with (folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(curve_rows(scheduler.records))
    page = folder / "curves.html"
    report = report_of_run(scheduler, name=folder.absolute().name, metric=metric, settings=settings)
    page.write_text(page_with(report), encoding="utf-8")
    return page


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
