"""Export and import of a study: a CSV or Parquet file with its whole log, read and written as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from curvestop.proto.endpoint import UnknownStudy
from curvestop.server.storage.import_checks import checked_entries
from curvestop.server.storage.new_file import new_file
from curvestop.server.storage.rows import Row, entry_to_row, settings_from_row, settings_to_row
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

# By file name suffix. Imported when needed: pyarrow is an extra.
FORMAT_MODULES = {".csv": "csv_table", ".parquet": "parquet_table"}
# Entries that an import holds in memory at once; they are all in one transaction.
IMPORT_BATCH_ENTRIES = 10_000


@dataclass(frozen=True)
class TableFormat:
    """How rows are written to and read from files of one format.

    Attributes:
        write: Writes rows to a file.
        read: Reads the rows of a file, one at a time.
    """

    write: Callable[[Path, Iterable[Row]], None]
    read: Callable[[Path], Iterator[Row]]


def format_of(path: Path) -> TableFormat:
    """Return the format of a file, by the suffix of its name.

    Args:
        path: The file, which need not exist.

    Raises:
        ValueError: If the suffix is neither .csv nor .parquet, or pyarrow is missing for the latter.
    """
    name = FORMAT_MODULES.get(path.suffix)
    if name is None:
        raise ValueError(f"the file name must end with {' or '.join(FORMAT_MODULES)}, but got {str(path)!r}")
    try:
        module: Any = import_module(f"curvestop.server.storage.{name}")
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'curvestop[parquet]'") from None
    return TableFormat(module.write, module.read)


def export_study(store: CurveStore, study: str, to: Path, *, tenant: str = DEFAULT_TENANT) -> int:
    """Write a study's settings and log to a file, completely or not at all.

    Args:
        store: Where the study is; it may be in use by a server.
        study: Name of the study.
        to: The file, which must not exist; its suffix, .csv or .parquet, chooses the format.
        tenant: The tenant whose study it is.

    Returns:
        The number of log entries.

    Raises:
        UnknownStudy: If the tenant has no study of that name.
        ValueError: If the suffix is unknown, or pyarrow is missing.
        FileExistsError: If the file exists.
        OSError: If it cannot be written.
    """
    table_format = format_of(to)
    stored = store.find(study, tenant=tenant)
    if stored is None:
        raise UnknownStudy(f"there is no study {study!r}")
    n_entries = 0  # known when the last row was written

    def rows() -> Iterator[Row]:
        nonlocal n_entries
        yield settings_to_row(stored.settings)  # row 1
        for number, entry in store.numbered_log(stored.id):
            n_entries = number
            yield entry_to_row(entry)

    with new_file(to) as partial:  # half an export would look like a whole one
        table_format.write(partial, rows())
    return n_entries


def import_study(store: CurveStore, file: Path, study: str, *, tenant: str = DEFAULT_TENANT) -> int:
    """Create a study from a file that `export_study` wrote, completely or not at all.

    Args:
        store: Where to create it.
        file: The file.
        study: Name of the new study, which the tenant must not have.
        tenant: The tenant whose study it becomes.

    Returns:
        The number of log entries.

    Raises:
        ValueError: If the file's format is unknown, a row is malformed or contradicts those before it, or the tenant has a
            study of that name.
        OSError: If the file cannot be read.
        StoreUnavailable: If the store fails.
    """
    rows = format_of(file).read(file)
    settings = _settings(rows, file, study)
    if store.find(study, tenant=tenant) is not None:
        raise ValueError(f"a study named {study!r} already exists: choose another name with --study")
    # A generator: entries are checked one by one, as they are written.
    checked = checked_entries(Study(settings, fit="deferred"), rows, file)
    last = 0
    # A row that is refused in the middle raises here, which undoes the whole transaction.
    with store.transaction() as transaction:
        made = transaction.add_study(settings, tenant=tenant)
        while batch := list(islice(checked, IMPORT_BATCH_ENTRIES)):
            last = transaction.append(made.id, batch, after=last)
    return last


def _settings(rows: Iterator[Row], file: Path, study: str) -> StudySettings:
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{file} has no rows: an export has one for the study at least")
    try:
        settings = settings_from_row(first)
    except ValueError as error:
        raise ValueError(f"{file}, row 1: {error}") from None
    return replace(settings, name=study)
