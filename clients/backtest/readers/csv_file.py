"""Runs from a CSV file of any layout that `tables` knows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.tables import Table, Wanted, runs_of_table
from curvestop.clients.backtest.runs import Runs


def read(source: str, wanted: Wanted) -> Runs:
    """Raises ValueError with the line that does not fit, OSError when the file cannot be read."""
    return runs_of_table(table_of_csv(Path(source)), wanted)


def table_of_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        sample = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=sample.count)
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = next(reader, [])
            rows, lines = [], []
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no CSV file: {error}") from None
    names = _distinct(path, [name.strip() for name in header])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: a row must have {len(names)} cells as the first line, but has {len(row)}")
    columns: dict[str, list[Any]] = {name: [_cell(row[j]) for row in rows] for j, name in enumerate(names)}
    return Table(str(path), columns, lambda row: f"line {lines[row]}")


def _cell(text: str) -> str | None:
    return text.strip() or None


def _distinct(path: Path, names: list[str]) -> list[str]:
    """A first column without a name is that of row numbers, as pandas writes it."""
    names = [name or ("row" if j == 0 else f"column {j + 1}") for j, name in enumerate(names)]
    twice = [name for j, name in enumerate(names) if name in names[:j]]
    if twice:
        raise ValueError(f"{path}, line 1: every column must have a name of its own, but {twice[0]!r} is there twice")
    return names
