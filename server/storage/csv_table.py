"""Rows in a CSV file: numbers as Python writes them, so that they are read back to the last bit; None as nothing."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from curvestop.server.storage.rows import COLUMNS, Row

_TRUE_FALSE = {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False}
_READ: Mapping[type, Callable[[str], Any]] = {str: str, int: int, float: float, bool: lambda text: _TRUE_FALSE[text]}


def write(path: Path, rows: Iterable[Row]) -> None:
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(COLUMNS))
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> Iterator[Row]:
    """Raises ValueError with the line that is no row."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restval="")
        missing = [column for column in ("kind", "trial", "configuration") if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]}")
        for texts in reader:
            try:
                yield {column: _READ[kind](text) if (text := texts.get(column)) else None for column, kind in COLUMNS.items()}
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error} is not what its column has") from None
