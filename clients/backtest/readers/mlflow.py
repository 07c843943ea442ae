"""Runs from MLflow's files: `mlruns/EXPERIMENT/RUN/` with `metrics/NAME` ("time value step" lines) and `params/NAME`.

A CSV file of metrics (run_id, key, value, step) is read as any other table (see `table_layouts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from curvestop.clients.backtest.readers.read_options import ReadOptions, choose
from curvestop.clients.backtest.readers.table import typed
from curvestop.clients.backtest.runs import Run, RunEnd, Runs, run_of

_ENDS: Mapping[str, RunEnd] = {"3": "finished", "FINISHED": "finished"}
"""MLflow writes a run's status as a number, later versions as a word."""


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of an mlruns folder. Without a chosen metric, it is the one that most runs have.

    Args:
        source: The mlruns folder, one of its experiments, or any folder above runs.
        options: Only `metric` is used.

    Raises:
        ValueError: If there are no runs, the metric cannot be chosen, or a line of a metric is malformed.
        OSError: If a file cannot be read.
    """
    folders = sorted(folder for folder in _run_folders(Path(source)) if _meta(folder).get("lifecycle_stage") != "deleted")
    if not folders:
        raise ValueError(f"{source} has no MLflow runs (folders with meta.yaml and metrics)")
    metrics = {folder: {name: path for path, name in _files(folder / "metrics")} for folder in folders}
    counts = Counter(name for files in metrics.values() for name in files)
    most_common = [name for name, n in counts.items() if n == max(counts.values())]
    # A chosen metric may be a rare one; without a choice, the common ones must leave exactly one.
    metric = choose(list(counts) if options.metric else most_common, options.metric, source=source)
    configurations = _configurations(folders)
    # In the order in which the runs began.
    folders.sort(key=lambda folder: (int(_meta(folder).get("start_time") or 0), folder.name))
    return Runs(source, tuple(_run(folder, metrics[folder].get(metric), configurations[folder]) for folder in folders), metric)


def _run(folder: Path, metric: Path | None, configuration: Mapping[str, bool | int | float | str]) -> Run:
    meta = _meta(folder)
    points = []
    for number, line in enumerate(metric.read_text(encoding="utf-8").splitlines() if metric else (), start=1):
        parts = line.split()
        try:
            points.append((float(parts[2]), float(parts[1])))  # step, value
        except (IndexError, ValueError):
            raise ValueError(f"{metric}, line {number}: a line must be 'time value step', but got {line!r}") from None
    ended = _ENDS.get(meta.get("status", ""), "unfinished")  # MLflow always has a status, so nothing is "unknown"
    return run_of(meta.get("run_name") or folder.name, configuration, points, ended)


def _configurations(folders: list[Path]) -> dict[Path, dict[str, bool | int | float | str]]:
    """Return the parameters of each run. MLflow stores text: it is a number if it is one in every run that has it."""
    texts = {
        folder: {name: path.read_text(encoding="utf-8").strip() for path, name in _files(folder / "params")} for folder in folders
    }
    names = sorted({name for parameters in texts.values() for name in parameters})
    columns = {name: typed([texts[folder].get(name) for folder in folders]) for name in names}
    return {
        folder: {name: cells[row] for name, cells in columns.items() if cells[row] is not None}
        for row, folder in enumerate(folders)
    }


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Return the files below a folder with their names, as "val/acc"."""
    return [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*")) if path.is_file()]


def _run_folders(root: Path) -> list[Path]:
    # Experiments have a meta.yaml too, but no metrics; .trash has deleted experiments.
    return [meta.parent for meta in root.rglob("meta.yaml") if (meta.parent / "metrics").is_dir() and ".trash" not in meta.parts]


def _meta(folder: Path) -> dict[str, str]:
    """Return the plain entries of meta.yaml; no YAML parser is needed for them."""
    lines = (folder / "meta.yaml").read_text(encoding="utf-8").splitlines()
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in parts}
