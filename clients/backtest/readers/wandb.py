"""Runs from histories exported from Weights & Biases as JSON, or from a folder with one CSV or JSON file for each run.

A JSON file is a list of runs (or one run on each line), each {"name", "config", "state", "history": [row, ...]}, as made by
`[{"name": r.name, "config": r.config, "state": r.state, "history": list(r.scan_history())} for r in wandb.Api().runs(...)]`;
or it is the list of rows of one run. A CSV file of many runs, or of a chart, is read as any other table (see `table_layouts`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.csv_file import table_of_csv
from curvestop.clients.backtest.readers.read_options import ReadOptions, choose
from curvestop.clients.backtest.readers.table import is_number
from curvestop.clients.backtest.readers.table_layouts import CLOCK, EPOCH, end_of
from curvestop.clients.backtest.runs import Run, Runs, run_of

Row = Mapping[str, Any]


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of an export.

    Args:
        source: A JSON, JSON-lines or CSV file, or a folder of such files.
        options: `metric` and `epoch`, names of entries of a history's rows.

    Raises:
        ValueError: If the source is not such an export, or its metric or step cannot be chosen.
        OSError: If a file cannot be read.
    """
    path = Path(source)
    files = sorted([*path.glob("*.json"), *path.glob("*.jsonl"), *path.glob("*.csv")]) if path.is_dir() else [path]
    exported = [run for file in files for run in _runs_in(file)]  # each {name, history, and perhaps config and state}
    if not exported:
        raise ValueError(f"{source} has no exported runs")
    # The step must be known first: it is no metric.
    step = options.epoch or _step_name(exported, source)
    rows = (row for run in exported for row in run["history"])
    names = list(dict.fromkeys(name for row in rows for name in row if _may_be_metric(name, row[name], step)))
    metric = choose(names, options.metric, source=source)
    return Runs(source, tuple(_run(source, run, step, metric) for run in exported), metric)


def _may_be_metric(name: str, value: Any, step: str) -> bool:
    # W&B's own entries (_runtime, _timestamp, ...) begin with "_".
    return is_number(value) and name != step and not name.startswith("_") and name not in EPOCH and not CLOCK.search(name)


def _step_name(exported: Iterable[Row], source: str) -> str:
    """Return the name of the rows' entry that counts steps."""
    names = {name for run in exported for row in run["history"] for name in row}
    by_name = {name.lower().lstrip("_"): name for name in sorted(names)}
    found = next((by_name[name] for name in EPOCH if name in by_name), None)
    if found is None:
        raise ValueError(f"{source} has no step in its rows ({', '.join(EPOCH[:3])}): choose one with --epoch-column NAME")
    return str(found)


def _run(source: str, run: Row, step: str, metric: str) -> Run:
    points = []
    for number, row in enumerate(run["history"], start=1):
        value, at = row.get(metric), row.get(step)
        if value in (None, ""):  # a row of another metric
            continue
        try:
            points.append((float(at), float(value)))
        except (TypeError, ValueError):
            raise ValueError(
                f"{source}, run {run['name']}, row {number}: {step} and {metric} must be numbers, but got {at!r} and {value!r}"
            ) from None
    return run_of(run["name"], _configuration(run), points, end_of(run.get("state")))


def _configuration(run: Row) -> dict[str, bool | int | float | str]:
    """Return a run's configuration without W&B's own entries; nested names get dots."""
    flat: dict[str, bool | int | float | str] = {}
    waiting = [(str(name), value) for name, value in (run.get("config") or {}).items() if not str(name).startswith("_")]
    while waiting:  # nested mappings are put back with longer names
        name, value = waiting.pop(0)
        if isinstance(value, Mapping):
            is_wrapped = "value" in value and set(value) <= {"value", "desc"}  # W&B's files have {"value": x} for x
            waiting += [(name, value["value"])] if is_wrapped else [(f"{name}.{key}", item) for key, item in value.items()]
        elif value is not None:
            flat[name] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return flat


def _runs_in(file: Path) -> list[dict[str, Any]]:
    """Return the runs of one file, each with a name and a history."""
    if file.suffix == ".csv":
        table = table_of_csv(file)
        rows = [dict(zip(table.columns, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)]
        return [{"name": file.stem, "history": rows}]
    found = _json(file)
    if isinstance(found, Mapping):
        found = [found] if "history" in found else [{"name": name, "history": rows} for name, rows in found.items()]
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise ValueError(f"{file} must be a list of runs with a history, or of rows, but got {str(found)[:80]}")
    if found and not any("history" in item for item in found):  # the rows of one run
        found = [{"name": file.stem, "history": found}]
    return [_checked(file, number, item) for number, item in enumerate(found)]


def _checked(file: Path, number: int, item: Row) -> dict[str, Any]:
    name = next((str(item[key]) for key in ("name", "display_name", "id", "run") if item.get(key) is not None), str(number))
    history = item.get("history")
    if not isinstance(history, list) or not all(isinstance(row, Mapping) for row in history):
        raise ValueError(f"{file}, run {name}: history must be a list of rows, but got {str(history)[:80]}")
    return {**item, "name": name}


def _json(file: Path) -> Any:
    """Return a file's JSON, or a list of its lines' JSON."""
    text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise ValueError(f"{file} is not JSON: {error}") from None
