"""Backups of the SQLite file: taken while a server works, put back into an empty data folder. PostgreSQL has pg_dump."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from curvestop.server.storage.data_folder import DATABASE_FILE, DataFolder

PARTIAL = ".partial"
LOGS = ("-wal", "-journal")
STUDIES = ("study", "studies")  # the table that tells a database of curvestop; its first version had the second name


def back_up(folder: Path, to: Path) -> int:
    """Copy the database of a data folder as it is at one moment, whatever a server does; returns the bytes.

    Raises FileNotFoundError (no database), FileExistsError, ValueError (it is none, or broken), OSError.
    """
    database = folder / DATABASE_FILE
    if not database.is_file():
        raise FileNotFoundError(2, "no database of curvestop is there", str(database))
    return _copy(database, to)


def restore(file: Path, folder: Path) -> int:
    """Make a backup the database of a data folder that has none; returns the bytes.

    Raises FileNotFoundError (no backup), FileExistsError (a database is there), FolderInUse, ValueError (no backup, or broken).
    """
    if not file.is_file():
        raise FileNotFoundError(2, "there is no such backup", str(file))
    with closing(DataFolder(folder)) as data:
        database = data.path / DATABASE_FILE
        for other in LOGS:
            if (log := database.with_name(database.name + other)).exists():
                raise FileExistsError(17, "a database was there: move it away first", str(log))
        return _copy(file, database)


def _copy(source: Path, to: Path) -> int:
    """All of it or nothing: under another name until it is whole, checked and on disk."""
    if to.exists():
        raise FileExistsError(17, "a file is there already, and stays", str(to))
    with _partial(to) as partial:
        try:
            with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as old, _new(partial) as new:
                old.backup(new)
                new.execute("PRAGMA journal_mode=DELETE")  # one file, whatever happens to those beside it
                _check(new, source)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{source} is no database of curvestop, or broken: {error}") from None
        _sync(partial)
        partial.rename(to)
    _sync(to.parent)
    return to.stat().st_size


@contextmanager
def _partial(to: Path) -> Iterator[Path]:
    partial = to.with_name(to.name + PARTIAL)
    os.close(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    try:
        yield partial
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


@contextmanager
def _new(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def _check(connection: sqlite3.Connection, source: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables.isdisjoint(STUDIES):
        raise ValueError(f"{source} is no database of curvestop: it has no studies")
    (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        raise ValueError(f"{source} is broken: {found}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
