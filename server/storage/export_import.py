"""Export and import of a study: a CSV or Parquet file with all that its log has, read and written as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from curvestop.proto.endpoint import UnknownStudy
from curvestop.server.storage.rows import Row, entry_of, row_of, row_of_settings, settings_of_row
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore
from curvestop.server.studies.log_replay import Decided, Ended, Entry, Observed, TrialAdded, apply
from curvestop.srm.study import Study, UnknownTrial

MODULES = {".csv": "csv_table", ".parquet": "parquet_table"}
ENTRIES_AT_ONCE = 10_000


@dataclass(frozen=True)
class Table:
    """How rows are written to and read from a file of one kind."""

    write: Callable[[Path, Iterable[Row]], None]
    read: Callable[[Path], Iterator[Row]]


def table_for(path: Path) -> Table:
    """By the end of its name. Raises ValueError for another one, or when a library is missing."""
    name = MODULES.get(path.suffix)
    if name is None:
        raise ValueError(f"a file must end with {' or '.join(MODULES)}, but got {str(path)!r}")
    try:
        module: Any = import_module(f"curvestop.server.storage.{name}")
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'curvestop[parquet]'") from None
    return Table(module.write, module.read)


def export(store: CurveStore, study: str, to: Path, *, tenant: str = DEFAULT_TENANT) -> int:
    """Write a study's log; returns the number of entries. Raises UnknownStudy, FileExistsError, ValueError, OSError."""
    table = table_for(to)
    stored = store.find(study, tenant=tenant)
    if stored is None:
        raise UnknownStudy(f"there is no study {study!r}")
    if to.exists():
        raise FileExistsError(17, "a file is there already, and stays", str(to))
    n_entries = 0

    def rows() -> Iterator[Row]:
        nonlocal n_entries
        yield row_of_settings(stored.settings)
        for number, entry in store.numbered_log(stored.id):
            n_entries = number
            yield row_of(entry)

    try:
        table.write(to, rows())
    except BaseException:
        with suppress(FileNotFoundError):
            to.unlink()
        raise
    return n_entries


def import_(store: CurveStore, file: Path, study: str, *, tenant: str = DEFAULT_TENANT) -> int:
    """Make a study of an export; returns the number of entries. All of it is kept, or nothing.

    Raises ValueError (no such file, a row that cannot be, a study of that name), OSError, StoreUnavailable.
    """
    rows = table_for(file).read(file)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{file} has no rows")
    settings = replace(settings_of_row(first), name=study)
    if store.find(study, tenant=tenant) is not None:
        raise ValueError(f"there is a study {study!r}: choose another name with --study")
    checked = _checked(Study(settings, fit="deferred"), rows, file)
    last = 0
    with store.transaction() as transaction:
        made = transaction.add_study(settings, tenant=tenant)
        while some := list(islice(checked, ENTRIES_AT_ONCE)):
            last = transaction.append(made.id, some, after=last)
    return last


def _checked(study: Study, rows: Iterator[Row], file: Path) -> Iterator[Entry]:
    """The entries, each of which a study takes after those before it."""
    for number, row in enumerate(rows, start=2):
        try:
            entry = entry_of(row)
            _take(study, entry)
        except (ValueError, TypeError, UnknownTrial) as error:
            raise ValueError(f"{file}, row {number}: {error}") from None
        yield entry


def _take(study: Study, entry: Entry) -> None:
    state = study.state_of(entry.trial)
    if isinstance(entry, TrialAdded) != (state is None):
        raise ValueError(f"trial {entry.trial!r} must be there once, before all else about it")
    match entry:
        case Observed(trial, epoch, value):
            if not study.record(trial, (value,), first_epoch=epoch).new:
                raise ValueError(f"epoch {epoch} of trial {trial!r} needs one finite value, but got {value!r} in addition")
        case Ended(trial) if state != "running":
            raise ValueError(f"trial {trial!r} has ended before")
        case Decided(_, question):
            study.check_question(question.target_epoch, question.value_to_beat)
            apply(study, entry)
        case _:
            apply(study, entry)
