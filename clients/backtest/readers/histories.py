"""Runs from histories: for each run its rows (a mapping for each report) and its configuration, as loggers write them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.csv_file import table_of_csv
from curvestop.clients.backtest.readers.names import best_step, is_clock, is_step, run_name
from curvestop.clients.backtest.readers.read_options import ReadOptions, choose, listed
from curvestop.clients.backtest.readers.run_columns import RunColumns, end_of
from curvestop.clients.backtest.readers.table import is_number
from curvestop.clients.backtest.readers.text import text_of
from curvestop.clients.backtest.runs import Runs, no_curves, run_of

Row = Mapping[str, Any]
"""One report: values by name."""


@dataclass(frozen=True)
class History:
    """One run as its logger wrote it.

    Attributes:
        name: Name of the run.
        rows: Its reports in the order in which they were recorded.
        configuration: Its hyper-parameters, nested or not.
        state: The source's word for its state; None if it has none.
    """

    name: str
    rows: Sequence[Row]
    configuration: Row = field(default_factory=dict)
    state: str | None = None


def runs_of_histories(source: str, histories: Sequence[History], options: ReadOptions) -> Runs:
    """Return the runs of histories.

    Args:
        source: Name of the source, for people.
        histories: The histories.
        options: `metric` and `epoch`, names of entries of the rows. Without any entry that counts steps, the rows are counted.

    Raises:
        ValueError: If the metric or the step cannot be chosen, or a value is no number; the error names the run and row.
    """
    metric = _metric(source, histories, options.metric)
    # A row without the metric is one of another metric.
    with_metric = [[row for row in history.rows if row.get(metric) not in (None, "")] for history in histories]
    step = options.epoch or _step(with_metric)
    if options.epoch and not any(options.epoch in row for its in with_metric for row in its):
        raise ValueError(f"{source} has no {options.epoch!r} beside {metric!r}, but {listed(_names(with_metric))}")
    settings = RunColumns.of(source, [flat(history.configuration) for history in histories])
    runs = [
        run_of(history.name, settings.configuration([i]), _points(source, history, step, metric), end_of(history.state))
        for i, history in enumerate(histories)
    ]
    return Runs(source, tuple(runs), metric, left_out=settings.left_out)


def points_of(source: str, history: History, options: ReadOptions) -> list[tuple[float, float]]:
    """Return the (step, value) of each report of a run that may go on; nothing if it has none yet.

    Args:
        source: Name of the source, for people.
        history: The run.
        options: `metric` and `epoch`, names of entries of the rows. Without any entry that counts steps, the reports are counted
            from 0.

    Raises:
        ValueError: If the metric cannot be chosen, or a value is no number; the error names the run and row.
    """
    if not history.rows:
        return []
    metric = _metric(source, [history], options.metric)
    rows = [row for row in history.rows if row.get(metric) not in (None, "")]
    return _points(source, history, options.epoch or _step([rows]), metric)


def _metric(source: str, histories: Sequence[History], chosen: str | None) -> str:
    """Return the chosen metric, or the only number that is no step or time; one that changes, if there are several."""
    rows = [history.rows for history in histories]
    names = [name for name in _names(rows) if any(_may_be_metric(name, row.get(name)) for its in rows for row in its)]
    if chosen is None and len(names) > 1:
        changing = [name for name in names if any(len({str(row[name]) for row in its if name in row}) > 1 for its in rows)]
        names = changing or names
    return choose(names, chosen, source=source)


def _names(rows: Sequence[Sequence[Row]]) -> list[str]:
    return list(dict.fromkeys(str(name) for its in rows for row in its for name in row))


def _may_be_metric(name: str, value: Any) -> bool:
    # W&B's own entries (_runtime, _timestamp, ...) begin with "_".
    return is_number(value) and not isinstance(value, bool) and not (name.startswith("_") or is_step(name) or is_clock(name))


def _step(rows: Sequence[Sequence[Row]]) -> str | None:
    """Return the name of the entry that counts the reports of a metric, of rows that have the metric."""

    def numbers(name: str) -> list[list[float | None]]:
        return [[float(row[name]) if is_number(row.get(name)) else None for row in its] for its in rows]

    return best_step((name for name in _names(rows) if is_step(name)), numbers)


def _points(source: str, history: History, step: str | None, metric: str) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for number, row in enumerate(history.rows, start=1):
        value = row.get(metric)
        if value in (None, ""):
            continue
        at = len(points) if step is None else row.get(step)
        try:
            point = float(at), float(value)  # type: ignore[arg-type]  # None is a TypeError
        except (TypeError, ValueError):
            point = math.nan, 0.0
        if not math.isfinite(point[0]):
            raise ValueError(
                f"{source}, run {history.name}, row {number}: {step} and {metric} must be numbers, but got {at!r} and {value!r}"
            )
        points.append(point)
    return points


def flat(configuration: Row) -> dict[str, bool | int | float | str]:
    """Return a configuration with the names of nested mappings joined by dots, without W&B's own entries.

    Args:
        configuration: Hyper-parameters by name. What is neither number nor text becomes JSON.

    Examples:
        >>> flat({"lr": {"value": 0.1}, "net": {"width": 64}, "_wandb": {}})
        {'lr': 0.1, 'net.width': 64}
    """
    found: dict[str, bool | int | float | str] = {}
    waiting = [(str(name), value) for name, value in configuration.items() if not str(name).startswith("_")]
    while waiting:  # nested mappings are put back with longer names
        name, value = waiting.pop(0)
        if isinstance(value, Mapping):
            is_wrapped = "value" in value and set(value) <= {"value", "desc"}  # W&B's files have {"value": x} for x
            waiting += [(name, value["value"])] if is_wrapped else [(f"{name}.{key}", item) for key, item in value.items()]
        elif value is not None:
            found[name] = value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)
    return found


def histories_in(file: Path, *, is_growing: bool = False) -> list[History]:
    """Return the histories of one file.

    Args:
        file: A CSV file with the rows of one run; or JSON: a list of runs, {"name", "config", "state", "history": [row, ...]}, or
            one of them; a mapping of names to rows; the rows of one run; or what transformers writes (`log_history`). The items
            of a list may also stand in a line each.
        is_growing: Whether a program may be writing the file; see `table_of_csv`. JSON lines may be half written in any case.

    Raises:
        ValueError: If the file is none of these.
        OSError: If it cannot be read.
    """
    if file.suffix not in (".json", ".jsonl"):
        table = table_of_csv(file, is_growing=is_growing)
        rows = [dict(zip(table.columns, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)]
        return [History(run_name(file), rows)]
    found = _json(file)
    if isinstance(found, Mapping) and "log_history" in found:
        return [History(run_name(file), found["log_history"], found.get("trial_params") or {})]
    if isinstance(found, Mapping):
        is_rows = all(isinstance(rows, list) for rows in found.values())
        found = (
            [{"name": name, "history": rows} for name, rows in found.items()] if is_rows and "history" not in found else [found]
        )
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise ValueError(f"{file} must be a list of runs with a history, or of rows, but got {str(found)[:80]}")
    if any("history" in item for item in found):
        return [_history(file, number, item) for number, item in enumerate(found)]
    if any("summary" in item for item in found):
        raise no_curves(str(file), "export the histories too: list(run.scan_history()) for every run")
    return [History(run_name(file), found)]


def _history(file: Path, number: int, item: Row) -> History:
    name = next((str(item[key]) for key in ("name", "display_name", "id", "run") if item.get(key) is not None), str(number))
    rows = item.get("history")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"{file}, run {name}: history must be a list of rows, but got {str(rows)[:80]}")
    return History(name, rows, item.get("config") or {}, item.get("state"))


def _json(file: Path) -> Any:
    """Return a file's JSON, or a list of its lines' JSON."""
    text = text_of(file)
    try:
        return json.loads(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            complete = [json.loads(line) for line in lines[:-1]]
        except ValueError:
            complete = []
        if not complete:
            raise ValueError(f"{file} is not JSON: {error}") from None
    try:
        return [*complete, json.loads(lines[-1])]
    except ValueError:
        return complete  # a program that is killed leaves half a line
