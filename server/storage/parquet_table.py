"""Rows in a Parquet file, with pyarrow (extra `[parquet]`), some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curvestop.server.storage.rows import COLUMNS, Row

ROWS_AT_ONCE = 20_000
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
SCHEMA = pa.schema([(column, _TYPES[kind]) for column, kind in COLUMNS.items()])


def write(path: Path, rows: Iterable[Row]) -> None:
    with path.open("xb") as file, pq.ParquetWriter(file, SCHEMA) as writer:
        rows = iter(rows)
        while some := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_batch(pa.RecordBatch.from_pylist(some, schema=SCHEMA))


def read(path: Path) -> Iterator[Row]:
    """Raises ValueError when it is no such file."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError(f"{path} has other columns than an export of curvestop")
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from None
