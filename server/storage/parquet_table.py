"""Rows in a Parquet file, with pyarrow (extra `[parquet]`), some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curvestop.server.storage.rows import COLUMNS, Row

# Rows in a row group: the memory that writing and reading take, whatever the size of the study.
BATCH_ROWS = 20_000
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
SCHEMA = pa.schema([(column, _TYPES[kind]) for column, kind in COLUMNS.items()])


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a Parquet file.

    Args:
        path: The file.
        rows: The rows, written as they come.
    """
    with path.open("wb") as file, pq.ParquetWriter(file, SCHEMA) as writer:
        # One iterator: each batch continues where the last one ended.
        rows = iter(rows)
        while batch := list(islice(rows, BATCH_ROWS)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))


def read(path: Path) -> Iterator[Row]:
    """Read the rows of a Parquet file.

    Args:
        path: The file.

    Yields:
        The rows.

    Raises:
        ValueError: If the file is not a Parquet file, or has other columns than `COLUMNS`.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError(f"{path} has other columns than a file that `curvestop export` wrote")
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from None
