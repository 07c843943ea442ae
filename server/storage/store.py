"""The store: an append-only log of every study, in SQLite or PostgreSQL. What was written is on disk when `transaction` ends.

SQLite: when a write fails the owner is told, whose only right answer is to end the process, for after a failed fsync nobody
knows what the disk has. PostgreSQL ends itself then; here a failed transaction is one that did not happen, or of which
nobody knows, and memory is read again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from heapq import merge
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from curvestop.server.storage import schema
from curvestop.server.storage.engine import by_driver, open_database
from curvestop.server.storage.failpoints import failpoint
from curvestop.server.storage.migrations import check
from curvestop.server.storage.schema import decisions, observations, studies
from curvestop.server.studies.log_replay import Entry
from curvestop.srm.study import StudySettings

DEFAULT_TENANT = "default"
FAILED_EXIT = 74  # EX_IOERR
ROWS_AT_ONCE = 20_000
ROWS_OF_A_STATEMENT = 64

_log = logging.getLogger(__name__)
_INSERT: Mapping[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class StoreUnavailable(RuntimeError):
    """The store is closed, has failed, or cannot be reached; what was asked for was not done, or nobody knows."""


@dataclass(frozen=True)
class StoredStudy:
    """id: of the store's own. Names are unique in a tenant."""

    id: int
    tenant: str
    settings: StudySettings


def exit_at_once(error: BaseException) -> None:
    """End the process without acknowledging anything that waits."""
    _log.critical("a write to the store failed, so this process ends; start it again when the cause is mended: %s", error)
    os._exit(FAILED_EXIT)


# What every report needs, as a driver takes it: SQLAlchemy's own way costs more than SQLite's work. Many rows are one statement,
# for a driver lets go of the interpreter at each, and gets it back when the other threads let it.

_MARK = {"sqlite": "?", "postgresql": "%s"}


@lru_cache(maxsize=1024)
def _insert(table: sa.Table, n_rows: int, mark: str) -> str:
    names = [column.name for column in table.columns]
    row = f"({', '.join([mark] * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * n_rows)}"


@cache
def _move_on(mark: str) -> str:
    """With the new last number, the study, the one before."""
    return f"UPDATE study SET last_sequence = {mark} WHERE id = {mark} AND last_sequence = {mark}"


class Transaction:
    """Appends to logs; all of it is kept, or nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_study(self, settings: StudySettings, *, tenant: str = DEFAULT_TENANT) -> StoredStudy:
        """Make a study, or find the one of that name, whose settings may be others."""
        row = {"tenant": tenant, "name": settings.name, "settings": schema.settings_to_json(settings), "last_sequence": 0}
        insert = _INSERT[self._connection.dialect.name](studies).on_conflict_do_nothing()
        self._connection.execute(insert, row)
        return _stored(self._connection.execute(sa.select(studies).where(_named(settings.name, tenant))).one())

    def hold(self, study: int) -> int:
        """The number of the study's last entry. Nobody else appends to it until this transaction ends."""
        query = sa.select(studies.c.last_sequence).where(studies.c.id == study).with_for_update()
        sequence: int = self._connection.execute(query).scalar_one()
        return sequence

    def log(self, study: int, *, after: int) -> Iterator[tuple[int, Entry]]:
        return numbered_log(self._connection, study, after=after)

    def append(self, study: int, entries: Sequence[Entry], *, after: int) -> int:
        """Append to the log whose last number is `after`; returns the new last one. Raises IntegrityError when it is not."""
        rows: dict[sa.Table, list[tuple[Any, ...]]] = {}
        for sequence, entry in enumerate(entries, start=after + 1):
            rows.setdefault(schema.TABLE_OF[type(entry)], []).append(schema.row_of(entry, study, sequence))
        mark, last = _MARK[self._connection.dialect.name], after + len(entries)
        for table, its_rows in rows.items():
            for first in range(0, len(its_rows), ROWS_OF_A_STATEMENT):
                some = its_rows[first : first + ROWS_OF_A_STATEMENT]
                self._execute(_insert(table, len(some), mark), tuple(chain.from_iterable(some)))
        if self._execute(_move_on(mark), (last, study, after)) != 1:
            raise sa.exc.IntegrityError(f"study {study} does not end at {after}", None, ValueError(after))
        return last

    def _execute(self, statement: str, values: tuple[Any, ...]) -> int:
        """The number of rows."""
        if self._connection.dialect.name == "sqlite":
            return by_driver(self._connection, statement, values).rowcount
        return self._connection.exec_driver_sql(statement, values).rowcount


class CurveStore:
    """Studies and their logs in a database.

    url: of SQLAlchemy, `sqlite:////home/me/curves.db` or `postgresql://user@host/database`.
    on_failure: called after a failed write to SQLite, when memory is ahead of the disk.
    read_only: beside a server that writes; the tables must be those of this version.
    Raises sqlalchemy.exc.SQLAlchemyError when the database cannot be opened, ValueError when it is unsafe or a later version
    made it.
    """

    def __init__(self, url: str, *, on_failure: Callable[[BaseException], None] = exit_at_once, read_only: bool = False) -> None:
        database = open_database(url)
        self._engine, self.exclusive = database.engine, database.exclusive
        self._on_failure = on_failure
        self._closed = "the store was opened to be read" if read_only else ""  # why
        try:
            if read_only:
                with self._engine.connect() as connection:
                    check(connection)
            else:
                database.migrate()
        except BaseException:
            self._engine.dispose()
            raise
        self._writing = threading.RLock()
        self._writer: Connection | None = None
        if self.exclusive and not read_only:
            self._writer = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")

    def studies(self) -> tuple[StoredStudy, ...]:
        """All studies, by tenant and name."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(studies).order_by(studies.c.tenant, studies.c.name)).all()
        return tuple(_stored(row) for row in rows)

    def find(self, name: str, *, tenant: str = DEFAULT_TENANT) -> StoredStudy | None:
        with self._reading() as connection:
            row = connection.execute(sa.select(studies).where(_named(name, tenant))).one_or_none()
        return None if row is None else _stored(row)

    def n_entries(self, tenant: str) -> int:
        """Of the logs of all its studies together."""
        with self._reading() as connection:
            total = connection.execute(sa.select(sa.func.sum(studies.c.last_sequence)).where(studies.c.tenant == tenant))
            return int(total.scalar_one() or 0)

    def add_study(self, settings: StudySettings, *, tenant: str = DEFAULT_TENANT) -> StoredStudy:
        """Make a study, or find the one of that name, whose settings may be others."""
        with self._connected() as connection:
            return Transaction(connection).add_study(settings, tenant=tenant)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """On disk when it ends without an error. Raises StoreUnavailable when it could not be had or kept."""
        with self._connected() as connection:
            yield Transaction(connection)
            failpoint("before-commit")
        failpoint("after-commit")

    def log(self, study: int) -> Iterator[Entry]:
        """Everything that happened to a study, in order."""
        return (entry for _, entry in self.numbered_log(study))

    def numbered_log(self, study: int) -> Iterator[tuple[int, Entry]]:
        """The log with each entry's sequence number: 1, 2, ..."""
        with self._reading() as connection:
            yield from numbered_log(connection, study, after=0)

    def log_page(self, study: int, *, after: int, n: int) -> tuple[int, list[Entry]]:
        """The number of the last entry, and the n entries at most that come after the one of number `after`."""
        with self._reading() as connection:
            last: int = connection.execute(sa.select(studies.c.last_sequence).where(studies.c.id == study)).scalar_one()
            page = numbered_log(connection, study, after=after, upto=after + n) if last > after else ()
            return last, [entry for _, entry in page]

    @contextmanager
    def state(self, study: int) -> Iterator[tuple[int, Iterator[tuple[int, Entry]], Iterator[sa.Row[int, str, int, float]]]]:
        """What a study's state rests on: the last number, all else than observations, and those as (number, trial, epoch, value).

        Both in order. Decisions that a later one took the place of are left out.
        """
        with self._reading() as connection:
            last: int = connection.execute(sa.select(studies.c.last_sequence).where(studies.c.id == study)).scalar_one()
            others = [_rows(connection, study, table) for table in schema.ENTRY_OF if table not in (observations, decisions)]
            others.append(_rows(connection, study, decisions, decisions.c.sequence.in_(_standing(study))))
            columns = observations.c.sequence, observations.c.trial, observations.c.epoch, observations.c.value
            query = sa.select(*columns).where(observations.c.study == study).order_by(observations.c.sequence)
            observed = chain.from_iterable(connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}).partitions())
            yield last, merge(*others, key=lambda numbered: numbered[0]), observed

    def close(self) -> None:
        """Let go of the database when the transaction that runs is done."""
        with self._writing:
            self._closed = self._closed or "the store is closed"
            if self._writer is not None:
                self._writer.close()
            self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One state of the database, however long it is read."""
        try:
            with self._engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execution_options(isolation_level="REPEATABLE READ")
                with connection.begin():
                    yield connection
        except sa.exc.OperationalError as error:
            raise StoreUnavailable(f"the database does not answer: {_first_line(error)}") from error

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A transaction to write in."""
        if self._writer is None:
            with self._shared() as connection:
                yield connection
            return
        with self._writing:
            self._check_open()
            try:
                with self._writer.begin():
                    yield self._writer
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self._closed = f"the store failed: {error}"
                self._on_failure(error)
                raise StoreUnavailable(self._closed) from error

    @contextmanager
    def _shared(self) -> Iterator[Connection]:
        self._check_open()
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise StoreUnavailable(f"the database did not keep it, or cannot say so: {_first_line(error)}") from error

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(self._closed)


def numbered_log(connection: Connection, study: int, *, after: int, upto: int | None = None) -> Iterator[tuple[int, Entry]]:
    """Entries after + 1, after + 2, ..., upto (None: to the end)."""
    end = [] if upto is None else [upto]
    logs = [
        _rows(connection, study, table, table.c.sequence > after, *(table.c.sequence <= last for last in end))
        for table in schema.ENTRY_OF
    ]
    return merge(*logs, key=lambda numbered: numbered[0])


def _rows(connection: Connection, study: int, table: sa.Table, *where: sa.ColumnElement[bool]) -> Iterator[tuple[int, Entry]]:
    to_entry = schema.ENTRY_OF[table]
    query = sa.select(table).where(table.c.study == study, *where).order_by(table.c.sequence)
    for row in connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}):
        yield row.sequence, to_entry(row)


def _standing(study: int) -> sa.Select[tuple[int]]:
    """Numbers of the decisions that a study's state rests on: a trial's last one for each target epoch and kind of question.

    A stop is always one, since no later decision for its target epoch is made.
    """
    kind = decisions.c.trial, decisions.c.target_epoch, decisions.c.value_to_beat.is_(None)
    return sa.select(sa.func.max(decisions.c.sequence)).where(decisions.c.study == study).group_by(*kind)


def _stored(row: sa.Row[Any]) -> StoredStudy:
    return StoredStudy(row.id, row.tenant, schema.settings_from_json(row.settings))


def _named(name: str, tenant: str) -> sa.ColumnElement[bool]:
    return (studies.c.tenant == tenant) & (studies.c.name == name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
