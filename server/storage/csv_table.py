"""Rows in a CSV file. Numbers are written as Python writes them, so they are read back to the last bit; None is empty."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from curvestop.server.storage.rows import COLUMNS, Row

# Also what spreadsheets and other languages make of a column of booleans.
_BOOLEANS = {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False}
_WORDS: Mapping[type, str] = {int: "a whole number", float: "a number", bool: "True or False"}
MAX_SHOWN_CHARS = 40
_PARSERS: Mapping[type, Callable[[str], Any]] = {str: str, int: int, float: float, bool: lambda text: _BOOLEANS[text]}


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a CSV file.

    Args:
        path: The file.
        rows: The rows, written as they come.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
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
        ValueError: If the file is not CSV, a column that every export has is missing, or a cell has not its column's type.
    """
    csv.field_size_limit(sys.maxsize)  # a configuration may be longer than Python's default of 128 KB
    with path.open(newline="", encoding="utf-8") as file:
        # A line that is too short has empty cells at its end, like those of an optional column.
        reader = csv.DictReader(file, restval="")
        try:
            missing = [column for column in ("kind", "trial", "configuration") if column not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"it has no column {missing[0]}: a file that `curvestop export` wrote has one")
            for texts in reader:
                yield {column: _parsed(column, texts.get(column)) for column in COLUMNS}
        except (csv.Error, ValueError) as error:  # also bytes that are no UTF-8
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def _parsed(column: str, text: str | None) -> Any:
    if not text:
        return None
    try:
        return _PARSERS[COLUMNS[column]](text)
    except (ValueError, KeyError):
        shown = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."
        raise ValueError(f"column {column} must hold {_WORDS[COLUMNS[column]]}, but got {shown!r}") from None
