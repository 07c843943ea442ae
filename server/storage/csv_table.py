"""Rows in a CSV file. Numbers are written as Python writes them, so they are read back to the last bit; None is empty."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from curvestop.server.storage.rows import COLUMNS, Row

# Also what spreadsheets and other languages make of a column of booleans.
_BOOLEANS = {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False}
_PARSERS: Mapping[type, Callable[[str], Any]] = {str: str, int: int, float: float, bool: lambda text: _BOOLEANS[text]}


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a CSV file.

    Args:
        path: The file, which must not exist.
        rows: The rows, written as they come.

    Raises:
        FileExistsError: If the file exists.
    """
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(COLUMNS))
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> Iterator[Row]:
    """Read the rows of a CSV file, one at a time.

    Args:
        path: The file. Optional columns may be missing.

    Yields:
        The rows.

    Raises:
        ValueError: If a column that every export has is missing, or a cell has not its column's type (with the line).
    """
    with path.open(newline="", encoding="utf-8") as file:
        # A line that is too short has empty cells at its end, like those of an optional column.
        reader = csv.DictReader(file, restval="")
        missing = [column for column in ("kind", "trial", "configuration") if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]}: a file that `curvestop export` wrote has one")
        for texts in reader:
            try:
                yield {column: _PARSERS[kind](text) if (text := texts.get(column)) else None for column, kind in COLUMNS.items()}
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error} is not what its column holds") from None
