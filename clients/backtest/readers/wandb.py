"""Runs from histories exported from Weights & Biases as JSON, or a folder of one CSV or JSON file for each run.

A JSON file is a list of runs (or one on each line), each {"name", "config", "state", "history": [row, ...]}, which is what
`[{"name": r.name, "config": r.config, "state": r.state, "history": list(r.scan_history())} for r in wandb.Api().runs(...)]`
gives; or the rows of one run. A CSV file of many runs, or of a chart, is read as any other (see `tables`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.csv_file import table_of_csv
from curvestop.clients.backtest.readers.tables import CLOCK, EPOCH, Wanted, end_of, is_number, one_of
from curvestop.clients.backtest.runs import Run, Runs, run_of

Row = Mapping[str, Any]


def read(source: str, wanted: Wanted) -> Runs:
    """Raises ValueError for what is no such export, OSError when a file cannot be read."""
    path = Path(source)
    files = sorted([*path.glob("*.json"), *path.glob("*.jsonl"), *path.glob("*.csv")]) if path.is_dir() else [path]
    told = [run for file in files for run in _runs_in(file)]
    if not told:
        raise ValueError(f"{source} has no exported runs")
    step = wanted.epoch or _step_of(told, source)
    names = list(dict.fromkeys(name for run in told for row in run["history"] for name in row if _may_be(name, row[name], step)))
    metric = one_of(names, wanted.metric, source=source)
    return Runs(source, tuple(_run(source, run, step, metric) for run in told), metric)


def _may_be(name: str, value: Any, step: str) -> bool:
    return is_number(value) and name != step and not name.startswith("_") and name not in EPOCH and not CLOCK.search(name)


def _step_of(told: Iterable[Row], source: str) -> str:
    keys = {key for run in told for row in run["history"] for key in row}
    by_name = {key.lower().lstrip("_"): key for key in sorted(keys)}
    found = next((by_name[name] for name in EPOCH if name in by_name), None)
    if found is None:
        raise ValueError(f"{source} must have a step in its rows ({', '.join(EPOCH[:3])}; or --epoch-column NAME)")
    return str(found)


def _run(source: str, run: Row, step: str, metric: str) -> Run:
    points = []
    for number, row in enumerate(run["history"], start=1):
        value, at = row.get(metric), row.get(step)
        if value in (None, ""):
            continue
        try:
            points.append((float(at), float(value)))
        except (TypeError, ValueError):
            raise ValueError(
                f"{source}, run {run['name']}, row {number}: {step} and {metric} must be numbers, but got {at!r} and {value!r}"
            ) from None
    return run_of(run["name"], _configuration(run), points, end_of(run.get("state")))


def _configuration(run: Row) -> dict[str, bool | int | float | str]:
    """W&B's own entries are left out; {"value": x} is x, as its files have it; nested names get dots."""
    flat: dict[str, bool | int | float | str] = {}
    waiting = [(str(name), value) for name, value in (run.get("config") or {}).items() if not str(name).startswith("_")]
    while waiting:
        name, value = waiting.pop(0)
        if isinstance(value, Mapping):
            is_wrapped = "value" in value and set(value) <= {"value", "desc"}
            waiting += [(name, value["value"])] if is_wrapped else [(f"{name}.{key}", its) for key, its in value.items()]
        elif value is not None:
            flat[name] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return flat


def _runs_in(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".csv":
        table = table_of_csv(file)
        rows = [dict(zip(table.columns, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)]
        return [{"name": file.stem, "history": rows}]
    found = _json(file)
    if isinstance(found, Mapping):
        found = [found] if "history" in found else [{"name": name, "history": rows} for name, rows in found.items()]
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise ValueError(f"{file} must be a list of runs with a history, or of rows, but got {str(found)[:80]}")
    if found and not any("history" in item for item in found):
        found = [{"name": file.stem, "history": found}]
    return [_checked(file, number, item) for number, item in enumerate(found)]


def _checked(file: Path, number: int, item: Row) -> dict[str, Any]:
    name = next((str(item[key]) for key in ("name", "display_name", "id", "run") if item.get(key) is not None), str(number))
    history = item.get("history")
    if not isinstance(history, list) or not all(isinstance(row, Mapping) for row in history):
        raise ValueError(f"{file}, run {name}: history must be a list of rows, but got {str(history)[:80]}")
    return {**item, "name": name}


def _json(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise ValueError(f"{file} is no JSON: {error}") from None
