"""Databases: how a SQLite file or a PostgreSQL server is opened so that what it says it keeps, it keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from curvestop.server.storage.migrations import migrate

MIGRATION_LOCK = 0x63757276  # any number, so that two servers that start at once do not both migrate
LOCK_TIMEOUT_S = 5
"""A study that another server holds longer than this is unavailable here."""
IDLE_TIMEOUT_S = 10
"""A server that holds a study and does nothing (frozen, cut off) loses it after this."""
POSTGRES_OPTIONS = f"-c lock_timeout={LOCK_TIMEOUT_S}s -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S}s"
N_CONNECTIONS = 32
UNSAFE = "off"
SAFETY = ("fsync", "full_page_writes", "synchronous_commit")


class Database(Protocol):
    """exclusive: no other process writes to it while this one does, so memory cannot fall behind it."""

    engine: Engine
    exclusive: bool

    def migrate(self) -> None:
        """Make or upgrade the tables. Raises UnknownVersion when a later version made them."""
        ...


def open_database(url: str) -> Database:
    """Raises ValueError (an unknown kind of URL, an unsafe database), sqlalchemy.exc.SQLAlchemyError (it cannot be opened)."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ValueError("a store must be given as postgresql://USER@HOST:PORT/DATABASE, but got something else") from None
    kind = KINDS.get(parsed.drivername)
    if kind is None:
        raise ValueError(f"a store must be a {' or '.join(sorted(KINDS))} URL, but got {parsed.drivername!r}")
    return kind(parsed)


class SQLite:
    """A file. One process writes, through one connection, which alone checkpoints the write-ahead log."""

    exclusive = True

    def __init__(self, url: sa.URL) -> None:
        self.engine = sa.create_engine(url)
        sa.event.listen(self.engine, "connect", _set_up_sqlite)
        sa.event.listen(self.engine, "begin", _begin_sqlite)

    def migrate(self) -> None:
        with self.engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
            migrate(connection)


class PostgreSQL:
    """A server that other processes may write to as well."""

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
            self._refuse_unsafe()
        except BaseException:
            self.engine.dispose()
            raise

    def migrate(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            migrate(connection)

    def _refuse_unsafe(self) -> None:
        with self.engine.connect() as connection:
            for setting in SAFETY:
                if connection.execute(sa.text(f"SHOW {setting}")).scalar_one() == UNSAFE:
                    raise ValueError(
                        f"PostgreSQL runs with {setting} = off, so it would lose what it acknowledged in a power cut: "
                        f"set {setting} = on in postgresql.conf (or for the role or database) and start again"
                    )


KINDS: Mapping[str, Callable[[sa.URL], Database]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "postgresql+psycopg": PostgreSQL,
}


def _check_driver() -> None:
    try:
        import psycopg  # noqa: F401 - the extra
    except ImportError:
        raise ValueError("PostgreSQL needs a driver: pip install 'curvestop[postgres]'") from None


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, schema changes included
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL loses acknowledged rows in a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    by_driver(connection, connection.get_execution_options().get("begin", "BEGIN"))


def by_driver(connection: Connection, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
    """Execute by SQLite's driver itself: what SQLAlchemy does around it takes several times as long. Its errors are raised."""
    driver: Any = connection.connection.driver_connection
    try:
        cursor: sqlite3.Cursor = driver.execute(statement, values)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True) from error
    return cursor
