"""Runs from a Parquet file, with pyarrow (extra `[parquet]`), of any layout that `tables` knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curvestop.clients.backtest.readers.tables import Table, Wanted, runs_of_table
from curvestop.clients.backtest.runs import Runs


def read(source: str, wanted: Wanted) -> Runs:
    """Raises ValueError with the row that does not fit, OSError when the file cannot be read."""
    return runs_of_table(table_of_parquet(Path(source)), wanted)


def table_of_parquet(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            read_in = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from None
    columns: dict[str, list[Any]] = {
        str(name): list(map(_cell, column.to_pylist()))
        for name, column in zip(read_in.column_names, read_in.columns, strict=True)
    }
    return Table(str(path), columns, lambda row: f"row {row + 1}")


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
