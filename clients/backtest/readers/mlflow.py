"""Runs from MLflow: its files, or its database, which recent versions make (`mlflow.db`).

The files are `mlruns/EXPERIMENT/RUN/` with `metrics/NAME` ("time value step" lines) and `params/NAME`. A CSV file of metrics
(run_id, key, value, step) is read as any other table (see `table_layouts`).
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from curvestop.clients.backtest.readers.read_options import ReadOptions, choose
from curvestop.clients.backtest.readers.table import typed
from curvestop.clients.backtest.runs import RunEnd, Runs, run_of

_ENDS: Mapping[str, RunEnd] = {"3": "finished", "FINISHED": "finished"}
"""MLflow writes a run's status as a number, later versions as a word."""
DATABASE = "sqlite:///"
"""The beginning of the URL of a database in a file."""

Points = Iterable[tuple[float, float]]
"""(step, value) in the order in which they were recorded."""


@dataclass(frozen=True)
class _MlflowRun:
    """A run as MLflow has it.

    Attributes:
        name: Its name.
        began: Its start, in milliseconds since 1970, and its ID.
        status: MLflow's word or number for its status.
        parameters: Its parameters, as text.
        metrics: Reads the points of a metric, by the metric's name.
    """

    name: str
    began: tuple[int, str]
    status: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, Callable[[], Points]]


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of MLflow. Without a chosen metric, it is the one that most runs have.

    Args:
        source: The mlruns folder, one of its experiments, any folder above runs; or a database: a file or its URL.
        options: Only `metric` is used.

    Raises:
        ValueError: If there are no runs, the metric cannot be chosen, or a line of a metric is malformed.
        OSError: If a file cannot be read.
    """
    path = Path(source.removeprefix(DATABASE))
    runs = sorted(_runs_of_files(path) if path.is_dir() else _runs_of_database(path), key=lambda run: run.began)
    if not runs:
        raise ValueError(f"{source} has no MLflow runs (folders with meta.yaml and metrics)")
    counts = Counter(name for run in runs for name in run.metrics)
    most_common = [name for name, n in counts.items() if n == max(counts.values())]
    # A chosen metric may be a rare one; without a choice, the common ones must leave exactly one.
    metric = choose(list(counts) if options.metric else most_common, options.metric, source=source)
    configurations = _configurations([run.parameters for run in runs])
    # MLflow always has a status, so no end is "unknown".
    found = [
        run_of(run.name, configuration, run.metrics.get(metric, tuple)(), _ENDS.get(run.status, "unfinished"))
        for run, configuration in zip(runs, configurations, strict=True)
    ]
    return Runs(source, tuple(found), metric)


def _configurations(parameters: list[Mapping[str, str]]) -> list[dict[str, bool | int | float | str]]:
    """Return the parameters of each run. MLflow stores text: it is a number if it is one in every run that has it."""
    names = sorted({name for its in parameters for name in its})
    columns = {name: typed([its.get(name) for its in parameters]) for name in names}
    return [{name: cells[row] for name, cells in columns.items() if cells[row] is not None} for row in range(len(parameters))]


# Files.


def _runs_of_files(root: Path) -> list[_MlflowRun]:
    runs = []
    for file in root.rglob("meta.yaml"):
        folder, meta = file.parent, _meta(file)
        # Experiments have a meta.yaml too, but no metrics; .trash has deleted experiments.
        if not (folder / "metrics").is_dir() or ".trash" in file.parts or meta.get("lifecycle_stage") == "deleted":
            continue
        parameters = {name: path.read_text(encoding="utf-8").strip() for path, name in _files(folder / "params")}
        metrics = {name: _reader_of(path) for path, name in _files(folder / "metrics")}
        began = int(meta.get("start_time") or 0), folder.name
        runs.append(_MlflowRun(meta.get("run_name") or folder.name, began, meta.get("status", ""), parameters, metrics))
    return runs


def _reader_of(metric: Path) -> Callable[[], Points]:
    def points() -> Points:
        for number, line in enumerate(metric.read_text(encoding="utf-8").splitlines(), start=1):
            parts = line.split()
            try:
                yield float(parts[2]), float(parts[1])  # step, value
            except (IndexError, ValueError):
                raise ValueError(f"{metric}, line {number}: a line must be 'time value step', but got {line!r}") from None

    return points


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Return the files below a folder with their names, as "val/acc"."""
    return [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*")) if path.is_file()]


def _meta(file: Path) -> dict[str, str]:
    """Return the plain entries of meta.yaml; no YAML parser is needed for them."""
    lines = file.read_text(encoding="utf-8").splitlines()
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in parts}


# A database.


def is_database(path: Path) -> bool:
    """Return whether a file is a database of MLflow.

    Args:
        path: The file.
    """
    try:
        with closing(_opened(path)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return False
    return {"runs", "metrics", "params", "experiments"} <= tables


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)  # reading must not change the user's database


def _runs_of_database(path: Path) -> list[_MlflowRun]:
    try:
        with closing(_opened(path)) as database:
            parameters: dict[str, dict[str, str]] = {}
            for run, name, text in database.execute("SELECT run_uuid, key, value FROM params"):
                parameters.setdefault(run, {})[name] = text
            points: dict[str, dict[str, list[tuple[float, float]]]] = {}
            # By time, as nothing else says in which order they were recorded; those of one millisecond as they were stored.
            values = "SELECT run_uuid, key, step, value, is_nan FROM metrics ORDER BY timestamp, rowid"
            for run, name, step, value, is_nan in database.execute(values):
                points.setdefault(run, {}).setdefault(name, []).append((float(step), math.nan if is_nan else value))
            runs = database.execute("SELECT run_uuid, name, start_time, status FROM runs WHERE lifecycle_stage != 'deleted'")
            return [
                _MlflowRun(
                    name or run,
                    (start or 0, run),
                    str(status),
                    parameters.get(run, {}),
                    {metric: its.copy for metric, its in points.get(run, {}).items()},
                )
                for run, name, start, status in runs
            ]
    except sqlite3.Error as error:
        raise ValueError(f"{path} cannot be read as a database of MLflow: {error}") from None
