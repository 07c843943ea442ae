"""Backups of the SQLite database: made while a server runs, restored into an empty data folder. PostgreSQL has pg_dump."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from curvestop.server.storage.data_folder import DATABASE_FILE, DataFolder
from curvestop.server.storage.new_file import new_file

JOURNAL_SUFFIXES = ("-wal", "-journal")
# A database of curvestop has one of these tables; the first version called it by the second name.
STUDY_TABLES = ("study", "studies")


def back_up(folder: Path, to: Path) -> int:
    """Copy a data folder's database as it is at one moment, also while a server writes to it.

    Args:
        folder: The data folder.
        to: The file to write, which must not exist.

    Returns:
        The size of the backup in bytes.

    Raises:
        FileNotFoundError: If the folder has no database.
        FileExistsError: If `to` exists.
        ValueError: If the database is damaged or not one of curvestop.
        OSError: If `to` cannot be written.
    """
    database = folder / DATABASE_FILE
    if not database.is_file():
        raise FileNotFoundError(2, "the data folder has no database of curvestop", str(database))
    return _copy(database, to)


def restore(file: Path, folder: Path) -> int:
    """Copy a backup into a data folder that has no database.

    Args:
        file: The backup.
        folder: The data folder; made if missing.

    Returns:
        The size of the database in bytes.

    Raises:
        FileNotFoundError: If the backup does not exist.
        FileExistsError: If the folder has a database.
        FolderInUse: If a server uses the folder.
        ValueError: If the backup is damaged or not one of curvestop.
        OSError: If the folder cannot be written.
    """
    if not file.is_file():
        raise FileNotFoundError(2, "the backup does not exist", str(file))
    with closing(DataFolder(folder)) as data:
        database = data.path / DATABASE_FILE
        # SQLite would apply a journal that an earlier database left to the restored one, and so damage it.
        for suffix in JOURNAL_SUFFIXES:
            if (journal := database.with_name(database.name + suffix)).exists():
                raise FileExistsError(17, "it belongs to a database that was here before: move it away first", str(journal))
        return _copy(file, database)


def _copy(source: Path, to: Path) -> int:
    """Copy a database completely or not at all: it gets its name when it is complete, checked and on disk."""
    if source.stat().st_size == 0:  # SQLite takes it for a new database
        raise ValueError(f"{source} is damaged: it is empty")
    with new_file(to) as partial:
        try:
            with (
                closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as old,
                closing(sqlite3.connect(partial)) as new,
            ):
                # SQLite's online backup sees one state of the database, whatever a server writes meanwhile.
                old.backup(new)
                new.execute("PRAGMA journal_mode=DELETE")  # a single file, which may be moved alone
                _check(new, source)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{source} is damaged or not a database of curvestop: {error}") from None
    return to.stat().st_size


def _check(connection: sqlite3.Connection, source: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    # First: the database of another program, or an empty file, passes the integrity check.
    if tables.isdisjoint(STUDY_TABLES):
        raise ValueError(f"{source} is not a database of curvestop: it has no table of studies")
    (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        raise ValueError(f"{source} is damaged: {found}")
