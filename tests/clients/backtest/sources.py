"""Writes the same runs as every kind of source that a backtest reads, with the source's own writer where it is installed."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState


@dataclass(frozen=True)
class Search:
    """The runs of one search.

    Attributes:
        metric: Name of the metric.
        direction: "maximize" or "minimize".
        configurations: `(n,)` hyper-parameters of each run.
        curves: `(n,)` values of each run; float32 holds them exactly, and NaN is written as such.
    """

    metric: str
    direction: str
    configurations: tuple[Mapping[str, float], ...]
    curves: tuple[Sequence[float], ...]


def drawn_search(n: int, n_epochs: int, seed: int, *, minimize: bool = False) -> Search:
    """Return curves that rise to a level set by the configuration, in steps of 1/4096, so that any format holds them."""
    rng = np.random.default_rng(seed)
    rates, widths = rng.uniform(-4, -1, n), rng.integers(8, 128, n)
    levels = 1 - 0.1 * (rates + 2.5) ** 2 - 4 / widths + rng.normal(0, 0.02, n)
    epochs = np.arange(1, n_epochs + 1)
    curves = levels[:, None] * (1 - np.exp(-epochs * rng.uniform(0.1, 0.5, (n, 1)))) + rng.normal(0, 0.01, (n, n_epochs))
    exact = np.round(curves * 4096) / 4096 * (-1 if minimize else 1)
    configurations = tuple({"rate": float(10**r), "width": float(w)} for r, w in zip(rates, widths, strict=True))
    return Search(
        "val_loss" if minimize else "val_acc", "minimize" if minimize else "maximize", configurations, tuple(exact.tolist())
    )


def long_csv(search: Search, folder: Path) -> str:
    path = folder / "long.csv"
    names = list(search.configurations[0])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "epoch", search.metric, *names])
        for i, (configuration, curve) in enumerate(zip(search.configurations, search.curves, strict=True)):
            writer.writerows([f"t{i}", epoch, repr(v), *map(repr, configuration.values())] for epoch, v in enumerate(curve, 1))
    return str(path)


def wide_csv(search: Search, folder: Path) -> str:
    path = folder / "wide.csv"
    longest = max(map(len, search.curves))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *search.configurations[0], *(f"{search.metric}_{epoch}" for epoch in range(1, longest + 1))])
        for i, (configuration, curve) in enumerate(zip(search.configurations, search.curves, strict=True)):
            writer.writerow([f"t{i}", *map(repr, configuration.values()), *map(repr, curve), *[""] * (longest - len(curve))])
    return str(path)


def parquet(search: Search, folder: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {"trial": [], "epoch": [], search.metric: [], **{n: [] for n in search.configurations[0]}}
    for i, (configuration, curve) in enumerate(zip(search.configurations, search.curves, strict=True)):
        for epoch, value in enumerate(curve, 1):
            row = {"trial": i, "epoch": epoch, search.metric: value, **configuration}
            for name, cell in row.items():
                columns[name].append(cell)
    path = folder / "runs.parquet"
    pq.write_table(pa.table(columns), path)
    return str(path)


def optuna_sqlite(search: Search, folder: Path) -> str:
    url = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(study_name="s", storage=url, direction=_optuna_direction(search.direction))
    study.add_trials([_trial(c, curve) for c, curve in zip(search.configurations, search.curves, strict=True)])
    return url


def _optuna_direction(direction: str) -> StudyDirection:
    return StudyDirection.MAXIMIZE if direction == "maximize" else StudyDirection.MINIMIZE


def _trial(configuration: Mapping[str, float], curve: Sequence[float]) -> optuna.trial.FrozenTrial:
    is_complete = bool(np.isfinite(curve).all())
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if is_complete else TrialState.FAIL,
        value=curve[-1] if is_complete else None,
        params=dict(configuration),
        distributions={name: FloatDistribution(-1e12, 1e12) for name in configuration},
        intermediate_values=dict(enumerate(curve)),
    )


def tensorboard(search: Search, folder: Path) -> str:
    """Write hparams and scalars into one folder for each run, as a plain training loop does."""
    from torch.utils.tensorboard.summary import hparams
    from torch.utils.tensorboard.writer import SummaryWriter

    root = folder / "logs"
    for i, (configuration, curve) in enumerate(zip(search.configurations, search.curves, strict=True)):
        with SummaryWriter(str(root / f"run{i}")) as writer:
            for summary in hparams(dict(configuration), {})[:2]:  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(summary, walltime=1e9 + i)
            for step, value in enumerate(curve):
                writer.add_scalar(search.metric, value, step, walltime=1e9 + i + 1e-3 * step)
    return str(root)


def wandb_json(search: Search, folder: Path) -> str:
    path = folder / "wandb.json"
    histories = [[{"_step": s, "_runtime": 2.0 * s, search.metric: v} for s, v in enumerate(curve)] for curve in search.curves]
    configurations = [{**configuration, "_wandb": {}} for configuration in search.configurations]
    runs = [
        {"name": f"t{i}", "config": configuration, "history": history}
        for i, (configuration, history) in enumerate(zip(configurations, histories, strict=True))
    ]
    path.write_text(json.dumps(runs))
    return str(path)


def mlruns(search: Search, folder: Path) -> str:
    root = folder / "mlruns" / "0"
    for i, (configuration, curve) in enumerate(zip(search.configurations, search.curves, strict=True)):
        run = root / f"{i:032x}"
        (run / "metrics").mkdir(parents=True)
        (run / "params").mkdir()
        (run / "meta.yaml").write_text(
            f"run_id: {run.name}\nrun_name: t{i}\nstart_time: {1000 + i}\nstatus: 3\nlifecycle_stage: active\n"
        )
        (run / "metrics" / search.metric).write_text("".join(f"{1000 + i + s} {v!r} {s}\n" for s, v in enumerate(curve)))
        for name, value in configuration.items():
            (run / "params" / name).write_text(repr(value))
    return str(root.parent)


def mlflow_database(search: Search, folder: Path) -> str:
    """Write the tables of `mlflow.db` that have runs, with the columns of MLflow's schema that are read."""
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE experiments (experiment_id INTEGER, name TEXT);"
            "CREATE TABLE runs (run_uuid TEXT, name TEXT, start_time BIGINT, status TEXT, lifecycle_stage TEXT);"
            "CREATE TABLE params (run_uuid TEXT, key TEXT, value TEXT);"
            "CREATE TABLE metrics (run_uuid TEXT, key TEXT, value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN);"
            "INSERT INTO runs VALUES ('gone', 'gone', 1, 'FINISHED', 'deleted');"
        )
        for i, (configuration, curve) in enumerate(zip(search.configurations, search.curves, strict=True)):
            run = f"{i:032x}"
            database.execute("INSERT INTO runs VALUES (?, ?, ?, 'FINISHED', 'active')", (run, f"t{i}", 1000 + i))
            parameters = [(run, name, repr(value)) for name, value in configuration.items()]
            database.executemany("INSERT INTO params VALUES (?, ?, ?)", parameters)
            values = [(run, search.metric, 0 if np.isnan(v) else v, 1000 + s, s, bool(np.isnan(v))) for s, v in enumerate(curve)]
            database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", reversed(values))
    return str(path)


WRITERS: Mapping[str, Callable[[Search, Path], str]] = {
    "long CSV": long_csv,
    "wide CSV": wide_csv,
    "Parquet": parquet,
    "Optuna": optuna_sqlite,
    "TensorBoard": tensorboard,
    "Weights & Biases": wandb_json,
    "MLflow": mlruns,
    "MLflow database": mlflow_database,
}
