"""Runs from the table that `curvestop export` wrote: a row for the settings, and for every trial, value, decision and end."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from curvestop.clients.backtest.readers.table import Table
from curvestop.clients.backtest.runs import Run, Runs, run_of


def is_export(table: Table) -> bool:
    """Return whether a table has the columns of an export.

    Args:
        table: Any table; columns beyond those of an export do not matter.
    """
    # A subset: later versions of the export may have more columns.
    return {"kind", "trial", "epoch", "value", "configuration", "state"} <= set(table.columns)


def runs_of_export(table: Table) -> Runs:
    """Return the runs of an export.

    Args:
        table: A table for which `is_export` is true.

    Raises:
        ValueError: If a row lacks what its kind needs; the error names the line.
    """
    settings: dict[str, Any] = {}
    points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    configurations: dict[str, Any] = {}
    states: dict[str, str] = {}
    for row, (kind, trial) in enumerate(zip(table.columns["kind"], table.columns["trial"], strict=True)):
        if kind == "study":
            settings = _json(table, row)
        elif kind == "trial":
            configurations[trial] = _json(table, row)
        elif kind == "value":
            points[trial].append((table.number("epoch", row) or 0.0, _value(table, row)))
        elif kind == "end":
            states[trial] = table.columns["state"][row]
            # An end at an epoch is a divergence: the value that was not finite has no row of its own.
            if (epoch := table.number("epoch", row)) is not None:
                points[trial].append((epoch, float("nan")))
    # One run for each row of a trial, in their order: that in which the trials began.
    runs = [_run(name, configuration, points[name], states.get(name)) for name, configuration in configurations.items()]
    return Runs(table.source, tuple(runs), str(settings.get("metric", "value")), settings.get("direction"))


def _run(trial: str, configuration: Any, points: list[tuple[float, float]], state: str | None) -> Run:
    return run_of(trial, configuration, points, "finished" if state == "finished" else "unfinished")


def _value(table: Table, row: int) -> float:
    value = table.number("value", row)
    if value is None:
        raise ValueError(f"{table.source}, {table.where(row)}: value must be a number, but is empty")
    return value


def _json(table: Table, row: int) -> dict[str, Any]:
    text = table.columns["configuration"][row]
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        raise ValueError(f"{table.source}, {table.where(row)}: configuration must be JSON, but got {text!r}") from None
    return dict(found)
