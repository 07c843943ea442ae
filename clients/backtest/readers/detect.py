"""`read`: finds out what kind of source a name stands for, and reads its runs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from curvestop.clients.backtest.readers.mlflow import DATABASE, is_database
from curvestop.clients.backtest.readers.names import HISTORIES
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.runs import Runs

EXTRAS = {"csv": "", "parquet": "parquet", "optuna": "", "tensorboard": "tensorboard", "wandb": "", "mlflow": "", "folder": ""}
"""The kinds of sources, and the extra that each needs."""
MODULES = {
    "csv": "csv_file",
    "parquet": "parquet_file",
    "optuna": "optuna_study",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "folder": "run_folders",
}
"""The module of this folder that reads each kind; only that module imports what the kind needs."""
_KIND_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "wandb",
    ".jsonl": "wandb",
    ".db": "optuna",
    ".sqlite": "optuna",
    ".sqlite3": "optuna",
    ".log": "optuna",
    ".journal": "optuna",
}
_KIND_OF_CONTENT = (
    ("meta.yaml", "mlflow"),
    # Before the event files that Ray and transformers write as well, which do not have the configurations.
    *(("result.json", "folder"), ("trainer_state.json", "folder")),
    ("*tfevents*", "tensorboard"),
    *(("*.json", "folder"), ("*.jsonl", "folder"), ("*.csv", "folder"), ("*.tsv", "folder")),
    *((name, "folder") for name in HISTORIES),
)
"""Patterns of file names, and the kind of a folder that contains such a file; the first match counts."""


def read(source: str, options: ReadOptions | None = None, *, kind: str | None = None) -> Runs:
    """Return the runs of a source.

    Args:
        source: URL of an Optuna storage, a file or a folder.
        options: What the user says about the source.
        kind: Kind of the source, a key of `EXTRAS`. Default: recognized by name and contents.

    Raises:
        ValueError: If the source does not exist, is not recognized, needs an extra that is not installed, or does not have what
            the options ask for.
        OSError: If the source cannot be read.
    """
    kind = kind or recognize(source)
    if kind not in EXTRAS:
        raise ValueError(f"the kind of a source must be one of {', '.join(EXTRAS)}, but got {kind!r}")
    try:
        # Only the needed reader loads its libraries.
        module = import_module(f"curvestop.clients.backtest.readers.{MODULES[kind]}")
    except ImportError as error:
        raise ValueError(f"{source} needs the package {error.name}: pip install 'curvestop[{EXTRAS[kind]}]'") from None
    found: Runs = module.read(source, options or ReadOptions())
    return found


def recognize(source: str) -> str:
    """Return the kind of a source.

    Args:
        source: URL of an Optuna storage, a file or a folder. A file is recognized by its suffix, a folder by what it contains.

    Returns:
        A key of `EXTRAS`.

    Raises:
        ValueError: If the source does not exist or is not recognized.
    """
    path = Path(source)
    if "://" in source:  # a URL of a database: Optuna's, unless it is a file of MLflow's
        return "mlflow" if source.startswith(DATABASE) and is_database(Path(source.removeprefix(DATABASE))) else "optuna"
    if not path.exists():
        raise ValueError(f"{source} does not exist")
    kind = _kind_of_folder(path) if path.is_dir() else _kind_of_file(path)
    if kind is None:
        raise ValueError(f"{source} is not recognized: say what it is with --from {'|'.join(EXTRAS)}")
    return kind


def _kind_of_file(path: Path) -> str | None:
    kind = _KIND_OF_SUFFIX.get(path.suffix.lower())
    if path.suffix == ".log":  # of Keras' CSVLogger, or a journal of Optuna, whose lines are JSON
        with path.open("rb") as file:
            return "optuna" if file.read(1) in (b"{", b"") else "csv"
    if kind == "optuna" and is_database(path):
        return "mlflow"
    return kind


def _kind_of_folder(path: Path) -> str | None:
    # rglob is lazy: a folder of many logs is left at the first file that matches.
    for pattern, kind in _KIND_OF_CONTENT:
        if any(kind != "mlflow" or (file.parent / "metrics").is_dir() for file in path.rglob(pattern)):
            return kind
    return None
