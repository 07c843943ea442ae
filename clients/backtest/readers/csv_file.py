"""Runs from a CSV file in any layout that `table_layouts` knows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.readers.table import Table
from curvestop.clients.backtest.readers.table_layouts import runs_of_table
from curvestop.clients.backtest.runs import Runs


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of a CSV file.

    Args:
        source: Path of the file.
        options: Columns and layout, where the user named them.

    Raises:
        ValueError: If the file is not CSV or a row does not fit; the error names the line.
        OSError: If the file cannot be read.
    """
    return runs_of_table(table_of_csv(Path(source)), options)


def table_of_csv(path: Path) -> Table:
    """Return a CSV file as a table; its separator is the comma, semicolon or tab that its first line has most of.

    Args:
        path: The file, UTF-8 with or without a byte order mark; its first line names the columns.

    Returns:
        The table: cells without the space around them, None for an empty one, and the lines that its rows end on.

    Raises:
        ValueError: If the file is not CSV, a row has not as many cells as the first line, or two columns have one name.
        OSError: If the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:  # Excel begins files with a byte order mark
        sample = file.readline()
        file.seek(0)
        # Not csv.Sniffer, which fails on a file of one column.
        delimiter = max(",;\t", key=sample.count)
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = next(reader, [])
            rows, lines = [], []
            for row in reader:
                if row:
                    rows.append(row)
                    # Not the row number: quoted cells may span lines, and empty lines are skipped.
                    lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a CSV file: {error}") from None
    names = _column_names(path, [name.strip() for name in header])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: a row must have {len(names)} cells like the first line, but has {len(row)}")
    columns: dict[str, list[Any]] = {name: [_cell(row[j]) for row in rows] for j, name in enumerate(names)}
    return Table(str(path), columns, lambda row: f"line {lines[row]}")


def _cell(text: str) -> str | None:
    return text.strip() or None


def _column_names(path: Path, names: list[str]) -> list[str]:
    # pandas writes its index as a first column without a name.
    names = [name or ("row" if j == 0 else f"column {j + 1}") for j, name in enumerate(names)]
    repeated = [name for j, name in enumerate(names) if name in names[:j]]
    if repeated:
        raise ValueError(f"{path}, line 1: every column must have its own name, but {repeated[0]!r} appears twice")
    return names
