"""Read runs from what there is: recognised by its name and by what lies in a folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from curvestop.clients.backtest.readers.tables import Wanted
from curvestop.clients.backtest.runs import Runs

EXTRAS = {"csv": "", "parquet": "parquet", "optuna": "", "tensorboard": "tensorboard", "wandb": "", "mlflow": ""}
"""What can be read, and the extra that it needs."""
MODULES = {
    "csv": "csv_file",
    "parquet": "parquet_file",
    "optuna": "optuna_study",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
}
"""The module of this folder that reads each kind; it alone imports what that takes."""
_BY_SUFFIX = {
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


def read(source: str, wanted: Wanted | None = None, *, kind: str | None = None) -> Runs:
    """Runs from a URL of an Optuna storage, a file or a folder. kind: of `EXTRAS`; None to recognise it.

    Raises ValueError for what is none of these or does not have what is wanted, OSError when it cannot be read.
    """
    kind = kind or recognised(source)
    if kind not in EXTRAS:
        raise ValueError(f"a source must be one of {', '.join(EXTRAS)}, but got {kind!r}")
    try:
        module = import_module(f"curvestop.clients.backtest.readers.{MODULES[kind]}")
    except ImportError as error:
        raise ValueError(f"{source} needs the package {error.name}: pip install 'curvestop[{EXTRAS[kind]}]'") from None
    found: Runs = module.read(source, wanted or Wanted())
    return found


def recognised(source: str) -> str:
    """Raises ValueError for what is not there, and for what is not known."""
    path = Path(source)
    if "://" in source:
        return "optuna"
    if not path.exists():
        raise ValueError(f"{source} is not there")
    kind = _of_folder(path) if path.is_dir() else _BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"what {source} has is not recognised: --from, one of {', '.join(EXTRAS)}")
    return kind


def _of_folder(path: Path) -> str | None:
    for pattern, kind in (("*tfevents*", "tensorboard"), ("meta.yaml", "mlflow"), ("*.json", "wandb"), ("*.csv", "wandb")):
        if next(path.rglob(pattern), None) is not None:
            return kind
    return None
