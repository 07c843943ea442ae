"""What every benchmark's command line shares: --data, --out, --seed, tables on the terminal, JSON in a folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

DEFAULT_DATA = Path("../shared/data")


def parser(description: str) -> argparse.ArgumentParser:
    """`description`: the benchmark's module docstring; its first line says what is asked."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("CURVESTOP_DATA", DEFAULT_DATA)),
        help="folder of curve sets, NAME.npz or curves/NAME.npz (default: $CURVESTOP_DATA, then %(default)s)",
    )
    result.add_argument("--out", type=Path, default=Path("out"), help="folder for figures and JSON (default: %(default)s)")
    result.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    return result


def load_table(folder: Path, name: str, original: str) -> dict[str, Any] | None:
    """The arrays of FOLDER/tables/NAME.npz; None, after a line that says so and where the public original is, without it."""
    path = folder / "tables" / f"{name}.npz"
    if not path.exists():
        print(f"skipped: there is no {path}\n{original}")
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def show(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """A table on standard output; floats with three decimals."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def conclude(out: Path, name: str, headline: Mapping[str, Any], details: Any = None) -> None:
    """Write `OUT/NAME.json` (headline and details) and print the headline as the last line."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"headline": headline, "details": details}, indent=1, default=_plain)
    (out / f"{name}.json").write_text(text)
    print(json.dumps(headline, default=_plain), flush=True)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error (0 for a single value)."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value)} as JSON")
