"""Runs from the files that MLflow keeps: `mlruns/EXPERIMENT/RUN/` with `metrics/NAME` ("time value step" lines), `params/NAME`.

A CSV file of metrics (run_id, key, value, step) is read as any other (see `tables`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from curvestop.clients.backtest.readers.tables import Wanted, one_of, typed
from curvestop.clients.backtest.runs import End, Run, Runs, run_of

_ENDS: Mapping[str, End] = {"3": "finished", "FINISHED": "finished"}


def read(source: str, wanted: Wanted) -> Runs:
    """Raises ValueError when there are no runs, and with the line of a metric that is not as MLflow writes it."""
    folders = sorted(folder for folder in _run_folders(Path(source)) if _meta(folder).get("lifecycle_stage") != "deleted")
    if not folders:
        raise ValueError(f"{source} has no MLflow runs (folders with meta.yaml and metrics)")
    named = {folder: {name: path for path, name in _files(folder / "metrics")} for folder in folders}
    counted = Counter(name for names in named.values() for name in names)
    most = [name for name, n in counted.items() if n == max(counted.values())]
    metric = one_of(list(counted) if wanted.metric else most, wanted.metric, source=source)
    settings = _configurations(folders)
    folders.sort(key=lambda folder: (int(_meta(folder).get("start_time") or 0), folder.name))
    return Runs(source, tuple(_run(folder, named[folder].get(metric), settings[folder]) for folder in folders), metric)


def _run(folder: Path, metric: Path | None, configuration: Mapping[str, bool | int | float | str]) -> Run:
    meta = _meta(folder)
    points = []
    for number, line in enumerate(metric.read_text(encoding="utf-8").splitlines() if metric else (), start=1):
        parts = line.split()
        try:
            points.append((float(parts[2]), float(parts[1])))
        except (IndexError, ValueError):
            raise ValueError(f"{metric}, line {number}: a line must be 'time value step', but got {line!r}") from None
    ended = _ENDS.get(meta.get("status", ""), "unfinished")
    return run_of(meta.get("run_name") or folder.name, configuration, points, ended)


def _configurations(folders: list[Path]) -> dict[Path, dict[str, bool | int | float | str]]:
    """Texts that are numbers in every run that has them are numbers."""
    texts = {
        folder: {name: path.read_text(encoding="utf-8").strip() for path, name in _files(folder / "params")} for folder in folders
    }
    names = sorted({name for its in texts.values() for name in its})
    columns = {name: typed([texts[folder].get(name) for folder in folders]) for name in names}
    return {
        folder: {name: cells[row] for name, cells in columns.items() if cells[row] is not None}
        for row, folder in enumerate(folders)
    }


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Files with their names below the folder, "val/acc"."""
    return [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*")) if path.is_file()]


def _run_folders(root: Path) -> list[Path]:
    return [meta.parent for meta in root.rglob("meta.yaml") if (meta.parent / "metrics").is_dir() and ".trash" not in meta.parts]


def _meta(folder: Path) -> dict[str, str]:
    """The plain entries of meta.yaml."""
    lines = (folder / "meta.yaml").read_text(encoding="utf-8").splitlines()
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in parts}
