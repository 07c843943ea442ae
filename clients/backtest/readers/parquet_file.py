"""Runs from a Parquet file in any layout that `table_layouts` knows. Needs pyarrow (extra `[parquet]`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.readers.table import Table
from curvestop.clients.backtest.readers.table_layouts import runs_of_table
from curvestop.clients.backtest.runs import Runs


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of a Parquet file.

    Args:
        source: Path of the file.
        options: Columns and layout, where the user named them.

    Raises:
        ValueError: If the file is not Parquet or a row does not fit; the error names the row.
        OSError: If the file cannot be read.
    """
    return runs_of_table(table_of_parquet(Path(source)), options)


def table_of_parquet(path: Path) -> Table:
    """Return a Parquet file as a table.

    Args:
        path: The file.

    Returns:
        The table: cells keep their type if it is bool, number or text; all others become text.

    Raises:
        ValueError: If the file is not Parquet.
        OSError: If the file cannot be read.
    """
    try:
        # Opened here, so that an OSError has the name of the file.
        with path.open("rb") as file:
            contents = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from None
    columns: dict[str, list[Any]] = {
        str(name): list(map(_cell, column.to_pylist()))
        for name, column in zip(contents.column_names, contents.columns, strict=True)
    }
    return Table(str(path), columns, lambda row: f"row {row + 1}")


def _cell(value: Any) -> Any:
    # Dates, lists and the like become text.
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
