"""Runs from a CSV file in any layout that `table_layouts` knows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.numbers import plain_numbers
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.readers.table import Table
from curvestop.clients.backtest.readers.table_layouts import runs_of_table
from curvestop.clients.backtest.readers.text import text_of
from curvestop.clients.backtest.readers.wandb_chart import is_chart
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


def table_of_csv(path: Path, *, is_growing: bool = False) -> Table:
    """Return a CSV file as a table; its separator is the comma, semicolon or tab that its first line has most of.

    Args:
        path: The file; its first line names the columns. For its encoding see `text_of`, for decimal commas and percent signs
            `plain_numbers`.
        is_growing: Whether a program may be writing the file, so that a last line without an end is not read.

    Returns:
        The table: cells without the space around them, None for an empty one, and the lines that its rows end on.

    Raises:
        ValueError: If the file is not CSV, a row has not as many cells as the first line, or two columns have one name.
        OSError: If the file cannot be read.
    """
    text = text_of(path)
    if is_growing:
        text = text[: text.rfind("\n") + 1]
    # Not csv.Sniffer, which fails on a file of one column. Excel may write a first line such as "sep=;".
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if text.startswith("sep="):
            next(reader)
        header = next(reader, [])
        rows, lines = [], []
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                # Not the row number: quoted cells may span lines, and empty lines are skipped.
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    names = _column_names(path, [name.strip() for name in header])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: a row must have {len(names)} cells like the first line, but has {len(row)}")
    plain = plain_numbers(rows, delimiter)
    columns: dict[str, list[Any]] = {name: [plain(row[j]) or None for row in rows] for j, name in enumerate(names)}
    return Table(str(path), columns, lambda row: f"line {lines[row]}")


def _column_names(path: Path, names: list[str]) -> list[str]:
    # pandas writes its index as a first column without a name.
    names = [name or ("row" if j == 0 else f"column {j + 1}") for j, name in enumerate(names)]
    if is_chart(names):
        return _numbered_runs(names)
    repeated = [name for j, name in enumerate(names) if name in names[:j]]
    if repeated:
        raise ValueError(f"{path}, line 1: every column must have its own name, but {repeated[0]!r} appears twice")
    return names


def _numbered_runs(names: Sequence[str]) -> list[str]:
    """Return the columns of a chart with a number behind the name of a run that another run has, too."""
    numbered = []
    counts: Counter[str] = Counter()
    for name in names:
        counts[name] += 1
        run, dash, metric = name.rpartition(" - ")
        numbered.append(f"{run} ({counts[name]}){dash}{metric}" if counts[name] > 1 else name)
    return numbered
