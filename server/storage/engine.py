"""Database engines: how a SQLite file or a PostgreSQL server is opened so that whatever it acknowledges is on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from curvestop.server.storage.migrations import migrate
from curvestop.server.storage.new_file import new_file

# Any fixed number: the key of an advisory lock, so that two servers that start at once do not both migrate.
MIGRATION_LOCK = 0x63757276
# A study that another server has locked for longer than this is answered UNAVAILABLE here.
LOCK_TIMEOUT_S = 5
# A server that has locked a study and does nothing (frozen, cut off) loses its lock after this.
IDLE_TIMEOUT_S = 10
POSTGRES_OPTIONS = f"-c lock_timeout={LOCK_TIMEOUT_S}s -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S}s"
N_CONNECTIONS = 32
# With any of these off, PostgreSQL acknowledges commits that a power cut undoes.
DURABILITY_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")


class Database(Protocol):
    """A database that a store works on.

    Attributes:
        engine: SQLAlchemy's engine.
        exclusive: Whether no other process writes while this one does, so that memory cannot fall behind the database.
    """

    engine: Engine
    exclusive: bool

    def migrate(self) -> None:
        """Create or upgrade the tables.

        Raises:
            UnknownVersion: If a later version of curvestop made them.
        """
        ...


def open_database(url: str) -> Database:
    """Open a database.

    Args:
        url: sqlite:///PATH or postgresql://USER@HOST:PORT/DATABASE.

    Raises:
        ValueError: If the URL is malformed or of another kind, a SQLite file is damaged or empty, or PostgreSQL runs with a
            setting that loses data.
        sqlalchemy.exc.SQLAlchemyError: If the database cannot be reached.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        # The URL itself is not shown: it may hold a password.
        raise ValueError("a store must be a URL like postgresql://USER@HOST:PORT/DATABASE, but got something else") from None
    database_class = DATABASE_CLASSES.get(parsed.drivername)
    if database_class is None:
        raise ValueError(f"a store must be a {' or '.join(sorted(DATABASE_CLASSES))} URL, but got {parsed.drivername!r}")
    return database_class(parsed)


class SQLite:
    """A SQLite file. One process writes, through one connection, which alone checkpoints the write-ahead log.

    Several checkpointing connections can corrupt the file in SQLite versions before 3.51.3.

    Args:
        url: The file's URL.

    Raises:
        ValueError: If the file is damaged or empty.
        sqlalchemy.exc.SQLAlchemyError: If the file cannot be opened.
    """

    exclusive = True

    def __init__(self, url: sa.URL) -> None:
        self.engine = sa.create_engine(url)
        sa.event.listen(self.engine, "connect", _set_up_sqlite)
        sa.event.listen(self.engine, "begin", _begin_sqlite)
        self._file = Path(url.database or "")
        if self._file.exists():
            try:
                self._refuse_damaged()
            except BaseException:
                self.engine.dispose()
                raise

    def migrate(self) -> None:
        """Create or upgrade the tables, holding SQLite's write lock."""
        if not self._file.exists():
            _make_sqlite_file(self._file)
        with self.engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
            migrate(connection)

    def _refuse_damaged(self) -> None:
        # One page that is unreadable would end the process at the first report that needs it, and at every one after a restart.
        if self._file.stat().st_size == 0:
            found = "it is empty"
        else:
            try:
                with self.engine.connect() as connection:
                    found = connection.execute(sa.text("PRAGMA quick_check(1)")).scalar_one()
            except sa.exc.OperationalError:  # the file may be whole: it is locked, or the disk does not answer
                raise
            except sa.exc.DatabaseError as error:
                found = str(error.orig)
        if found != "ok":
            raise ValueError(
                f"the database {self._file} is damaged ({' '.join(found.split())}): move it away and restore a backup with "
                f"`curvestop restore`, or rescue what is left with `sqlite3 {self._file.name} .recover`"
            )


class PostgreSQL:
    """A PostgreSQL database, to which other processes may write too.

    Args:
        url: The database's URL.

    Raises:
        ValueError: If psycopg is missing, or the server runs with a setting that loses data.
        sqlalchemy.exc.SQLAlchemyError: If the database cannot be reached.
    """

    exclusive = False

    def __init__(self, url: sa.URL) -> None:
        _check_driver()
        self.engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"options": POSTGRES_OPTIONS, "application_name": "curvestop", "connect_timeout": LOCK_TIMEOUT_S},
            pool_pre_ping=True,
            pool_size=N_CONNECTIONS,
            hide_parameters=True,
        )
        try:
            self._refuse_unsafe_settings()
        except BaseException:
            self.engine.dispose()
            raise

    def migrate(self) -> None:
        """Create or upgrade the tables, holding an advisory lock."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))  # wait for another server's migration, however long
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            migrate(connection)

    def _refuse_unsafe_settings(self) -> None:
        with self.engine.connect() as connection:
            for setting in DURABILITY_SETTINGS:
                if connection.execute(sa.text(f"SHOW {setting}")).scalar_one() == "off":
                    raise ValueError(
                        f"PostgreSQL runs with {setting} = off, so it would lose acknowledged writes in a power cut: "
                        f"set {setting} = on in postgresql.conf (or for the role or database) and start again"
                    )


DATABASE_CLASSES: Mapping[str, Callable[[sa.URL], Database]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "postgresql+psycopg": PostgreSQL,
}


def _check_driver() -> None:
    try:
        import psycopg  # noqa: F401 - the extra
    except ImportError:
        raise ValueError("PostgreSQL needs the package psycopg: pip install 'curvestop[postgres]'") from None


def _make_sqlite_file(file: Path) -> None:
    """Make a database without tables. It is complete from its first moment: a file that is empty was emptied."""
    with new_file(file) as partial, closing(sqlite3.connect(partial)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, so that schema changes are part of them
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL loses acknowledged rows in a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    execute_raw(connection, connection.get_execution_options().get("begin", "BEGIN"))


def execute_raw(connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
    """Execute a statement by SQLite's driver itself: what SQLAlchemy does around it takes several times as long.

    Args:
        connection: A connection to SQLite.
        statement: SQL with `?` for each value.
        values: The values.

    Returns:
        The driver's cursor.

    Raises:
        sqlalchemy.exc.DBAPIError: If the driver raises an error, as SQLAlchemy's own execution would.
    """
    driver: Any = connection.connection.driver_connection
    try:
        cursor: sqlite3.Cursor = driver.execute(statement, values)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True) from error
    return cursor
