"""The store: an append-only log of every study, in SQLite or PostgreSQL. What was written is on disk when `transaction` ends.

SQLite: if a write fails, the store calls its owner, who must end the process, because after a failed fsync nobody knows what is
on disk. PostgreSQL ends itself then; here a failed transaction either did not happen or its outcome is unknown, so the study is
read again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from heapq import merge
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from curvestop.proto.endpoint import UnknownStudy
from curvestop.proto.entries import Entry
from curvestop.server.storage import schema
from curvestop.server.storage.engine import execute_raw, open_database
from curvestop.server.storage.failpoints import failpoint
from curvestop.server.storage.migrations import check_version
from curvestop.server.storage.schema import decisions, observations, studies
from curvestop.srm.settings import StudySettings

DEFAULT_TENANT = "default"
FAILED_EXIT = 74
"""Exit status of a process whose write to SQLite failed (EX_IOERR of sysexits.h)."""

FETCH_ROWS = 20_000
PAGE_FETCH_ROWS = 16
"""Of a page: a row may have a configuration of many KB, and most rows of a page may not fit into it."""
MAX_ROWS_PER_INSERT = 64

_log = logging.getLogger(__name__)
_INSERT: Mapping[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class TooManyStudies(RuntimeError):
    """A tenant has as many studies as it may have; retrying does not help."""


class StoreUnavailable(RuntimeError):
    """The store is closed, has failed or cannot be reached; the work was not done, or its outcome is unknown."""


class StudyUnavailable(RuntimeError):
    """One study cannot be read or loaded, whatever the others do; retrying does not help."""


@dataclass(frozen=True)
class StoredStudy:
    """A study in a store.

    Attributes:
        id: Number that the store gave it.
        tenant: The tenant whose study it is.
        settings: Its settings; their name is unique in the tenant.
    """

    id: int
    tenant: str
    settings: StudySettings


def exit_at_once(error: BaseException) -> None:
    """End the process with status `FAILED_EXIT`, without acknowledging any write that waits.

    Args:
        error: The error of the write.
    """
    _log.critical("a write to the store failed, so this process ends; fix the cause (is the disk full?) and restart: %s", error)
    os._exit(FAILED_EXIT)


# The statements of every report are given to the driver as text: SQLAlchemy's own way costs more than SQLite's work. Many rows
# go into one statement, because a driver releases the GIL for each and waits for other threads to get it back.

_PLACEHOLDER = {"sqlite": "?", "postgresql": "%s"}


@lru_cache(maxsize=1024)
def _insert_statement(table: sa.Table, n_rows: int, placeholder: str) -> str:
    names = [column.name for column in table.columns]
    row = f"({', '.join([placeholder] * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * n_rows)}"


@cache
def _advance_statement(placeholder: str) -> str:
    """Return the update of a log's end. Its values: the new last number, the study, the last number so far."""
    return f"UPDATE study SET last_sequence = {placeholder} WHERE id = {placeholder} AND last_sequence = {placeholder}"


class Transaction:
    """Appends to the logs of any studies, all or nothing.

    Args:
        connection: A connection with a transaction begun.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The connection, for other changes in this transaction."""
        return self._connection

    def add_study(self, settings: StudySettings, *, tenant: str = DEFAULT_TENANT, most: int | None = None) -> StoredStudy:
        """Create a study, or return the existing one of that name, whose settings may differ.

        Args:
            settings: Settings of the study, its name among them.
            tenant: The tenant whose study it is.
            most: Largest number of studies that the tenant may have; None for any number.

        Raises:
            TooManyStudies: If the study does not exist and would be one too many.
        """
        if most is not None:
            self._check_number_of_studies(settings.name, tenant, most)
        row = {"tenant": tenant, "name": settings.name, "settings": schema.settings_to_json(settings), "last_sequence": 0}
        # Two servers may create the study at once: one inserts, and both read what was inserted.
        insert = _INSERT[self._connection.dialect.name](studies).on_conflict_do_nothing()
        self._connection.execute(insert, row)
        return _stored(self._connection.execute(sa.select(studies).where(_named(settings.name, tenant))).one())

    def _check_number_of_studies(self, name: str, tenant: str, most: int) -> None:
        # Counted and inserted under one lock, so that calls at once make no study too many. SQLite has one writer anyway.
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"studies of {tenant}"))))
        names = set(self._connection.execute(sa.select(studies.c.name).where(studies.c.tenant == tenant)).scalars())
        if len(names) >= most and name not in names:
            raise TooManyStudies(f"a tenant may have at most {most} studies, and study {name!r} would be one more")

    def lock_for_append(self, study: int) -> int:
        """Lock a study's log until this transaction ends, so that nobody else appends to it.

        Args:
            study: The study's id.

        Returns:
            The number of its last entry; 0 for an empty log.

        Raises:
            UnknownStudy: If the study was deleted.
        """
        return _last_sequence(self._connection, study, lock=True)

    def log(self, study: int, *, after: int) -> Iterator[tuple[int, Entry]]:
        """Return a study's log after the entry of number `after`, with each entry's number.

        Args:
            study: The study's id.
            after: The number of the entry before the first one; 0 for the whole log.
        """
        return numbered_log(self._connection, study, after=after)

    def append(self, study: int, entries: Sequence[Entry], *, after: int) -> int:
        """Append to a study's log.

        Args:
            study: The study's id.
            entries: The entries, in order.
            after: The number of the last entry so far; 0 for an empty log.

        Returns:
            The number of the last entry now.

        Raises:
            sqlalchemy.exc.IntegrityError: If the log ends elsewhere, or the trial or the resume is there already.
        """
        rows: dict[sa.Table, list[tuple[Any, ...]]] = {}
        for sequence, entry in enumerate(entries, start=after + 1):
            # Each table gets its rows in order, which is all that matters: the numbers say how they interleave.
            rows.setdefault(schema.TABLE_OF[type(entry)], []).append(schema.entry_to_values(entry, study, sequence))
        placeholder, last = _PLACEHOLDER[self._connection.dialect.name], after + len(entries)
        for table, its_rows in rows.items():
            for first in range(0, len(its_rows), MAX_ROWS_PER_INSERT):
                chunk = its_rows[first : first + MAX_ROWS_PER_INSERT]
                statement = _insert_statement(table, len(chunk), placeholder)
                self._execute(statement, tuple(chain.from_iterable(chunk)))
        # No row is updated if the log does not end at `after`: somebody else has appended, or there would be a gap.
        if self._execute(_advance_statement(placeholder), (last, study, after)) != 1:
            raise sa.exc.IntegrityError(f"study {study} does not end at {after}", None, ValueError(after))
        return last

    def _execute(self, statement: str, values: tuple[Any, ...]) -> int:
        """Execute a statement and return the number of rows it changed."""
        if self._connection.dialect.name == "sqlite":
            return execute_raw(self._connection, statement, values).rowcount
        return self._connection.exec_driver_sql(statement, values).rowcount


class CurveStore:
    """Studies and their logs in a database, for any number of threads.

    Args:
        url: URL of the database: `sqlite:////home/me/curves.db` or `postgresql://user@host/database`.
        on_failure: Called with the error after a failed write to SQLite; the store takes no more writes. Default: end the
            process.
        read_only: Open a database that a server may be using, and refuse to write.

    Attributes:
        exclusive: Whether no other process writes to the database while this store is open (SQLite).

    Raises:
        ValueError: If the URL is malformed, the database is unsafe, a later version made its tables, or `read_only` and an
            earlier version made them.
        sqlalchemy.exc.SQLAlchemyError: If the database cannot be opened.

    Examples:
        >>> import tempfile
        >>> from curvestop.proto.entries import Observed, TrialAdded
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = CurveStore(f"sqlite:///{folder.name}/curves.db")
        >>> study = store.add_study(StudySettings("demo", max_epochs=10))
        >>> with store.transaction() as transaction:
        ...     transaction.append(study.id, [TrialAdded("a", {"lr": 0.1}), Observed("a", 1, 0.5)], after=0)
        2
        >>> [type(entry).__name__ for entry in store.log(study.id)]
        ['TrialAdded', 'Observed']
        >>> store.close()
        >>> folder.cleanup()
    """

    def __init__(self, url: str, *, on_failure: Callable[[BaseException], None] = exit_at_once, read_only: bool = False) -> None:
        database = open_database(url)
        self._engine, self.exclusive = database.engine, database.exclusive
        self._on_failure = on_failure
        self._closed_because = "the store is open read-only" if read_only else ""  # empty while writes are possible
        try:
            if read_only:  # no migration beside a server of another version
                with self._engine.connect() as connection:
                    check_version(connection)
            else:
                database.migrate()
        except BaseException:
            self._engine.dispose()
            raise
        self._write_lock = threading.RLock()
        self._writer: Connection | None = None  # SQLite's only writing connection
        if self.exclusive and not read_only:
            self._writer = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")

    def studies(self) -> tuple[StoredStudy, ...]:
        """Return all studies, by tenant and name. One whose settings are not accepted is logged and left out."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(studies).order_by(studies.c.tenant, studies.c.name)).all()
        return tuple(stored for row in rows if (stored := _stored_or_none(row)) is not None)

    def find(self, name: str, *, tenant: str = DEFAULT_TENANT) -> StoredStudy | None:
        """Return the tenant's study of a name, or None.

        Args:
            name: Name of the study.
            tenant: The tenant whose study it is; names of different tenants may be the same.

        Raises:
            StudyUnavailable: If its settings are not accepted.
        """
        with self._reading() as connection:
            row = connection.execute(sa.select(studies).where(_named(name, tenant))).one_or_none()
        return None if row is None else _stored(row)

    def n_entries(self, tenant: str) -> int:
        """Return how many entries the logs of a tenant's studies have in all."""
        with self._reading() as connection:
            total = connection.execute(sa.select(sa.func.sum(studies.c.last_sequence)).where(studies.c.tenant == tenant))
            return int(total.scalar_one() or 0)

    def add_study(self, settings: StudySettings, *, tenant: str = DEFAULT_TENANT, most: int | None = None) -> StoredStudy:
        """Create a study, or return the existing one of that name, whose settings may differ.

        Args:
            settings: Settings of the study, its name among them.
            tenant: The tenant whose study it is.
            most: Largest number of studies that the tenant may have; None for any number.

        Raises:
            TooManyStudies: If the study does not exist and would be one too many.
            StoreUnavailable: If the store is closed, has failed or cannot be reached.
        """
        with self._write_transaction() as connection:
            return Transaction(connection).add_study(settings, tenant=tenant, most=most)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction, which is on disk when the block ends without an error; an error in the block undoes it.

        Yields:
            The transaction.

        Raises:
            StoreUnavailable: If the store is closed or cannot be reached, or the transaction fails.
        """
        with self._write_transaction() as connection:
            yield Transaction(connection)
            failpoint("before-commit")  # a crash here loses the transaction, which was not acknowledged
        failpoint("after-commit")  # a crash here keeps it

    def log(self, study: int) -> Iterator[Entry]:
        """Return a study's log: everything that happened to it, in order.

        Args:
            study: The study's id. The log is read as a stream, as it was when reading began.
        """
        return (entry for _, entry in self.numbered_log(study))

    def numbered_log(self, study: int) -> Iterator[tuple[int, Entry]]:
        """Yield a study's log with each entry's number: 1, 2, ...

        Args:
            study: The study's id.

        Yields:
            `(number, entry)`, in order, all of one state of the database.
        """
        with self._reading() as connection:
            yield from numbered_log(connection, study, after=0)

    @contextmanager
    def log_page(self, study: int, *, after: int, n: int) -> Iterator[tuple[int, Iterator[Entry]]]:
        """Read a page of a study's log, as far as the caller goes on: entries differ much in size.

        Args:
            study: The study's id.
            after: The number of the entry before the page; 0 for the first page.
            n: Maximum number of entries, >= 1.

        Yields:
            The number of the log's last entry, and the entries of the page, read a few at a time.
        """
        with self._reading() as connection:
            last = _last_sequence(connection, study)
            # A follower asks often and mostly finds nothing new: then the tables of entries are not read.
            page = numbered_log(connection, study, after=after, upto=after + n, fetch=PAGE_FETCH_ROWS) if last > after else ()
            yield last, (entry for _, entry in page)

    @contextmanager
    def state(self, study: int) -> Iterator[tuple[int, Iterator[tuple[int, Entry]], Iterator[sa.Row[int, str, int, float]]]]:
        """Read the part of a log that a study's present state depends on; decisions that a later one replaced are left out.

        Args:
            study: The study's id.

        Yields:
            The number of the last entry; the entries other than observations, with their numbers; the observations as rows
            of (number, trial, epoch, value). Both are in order.
        """
        with self._reading() as connection:
            last = _last_sequence(connection, study)
            others = [_rows(connection, study, table) for table in schema.DECODERS if table not in (observations, decisions)]
            others.append(_rows(connection, study, decisions, decisions.c.sequence.in_(_current_decisions(study))))
            # Observations are by far the most rows, so they are read without making an object of each.
            columns = observations.c.sequence, observations.c.trial, observations.c.epoch, observations.c.value
            query = sa.select(*columns).where(observations.c.study == study).order_by(observations.c.sequence)
            observed = chain.from_iterable(connection.execute(query, execution_options={"yield_per": FETCH_ROWS}).partitions())
            yield last, merge(*others, key=lambda numbered: numbered[0]), observed

    def reading(self) -> AbstractContextManager[Connection]:
        """Give a connection that sees one state of the database, to read what has no method here."""
        return self._reading()

    def close(self) -> None:
        """Close the database once the running transaction is done; later writes raise StoreUnavailable."""
        with self._write_lock:
            self._closed_because = self._closed_because or "the store is closed"
            if self._writer is not None:
                self._writer.close()
            self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database, however long it is read."""
        try:
            with self._engine.connect() as connection:
                if connection.dialect.name == "postgresql":  # SQLite's transactions are snapshots anyway
                    connection.execution_options(isolation_level="REPEATABLE READ")
                with connection.begin():
                    yield connection
        except sa.exc.OperationalError as error:  # for example a broken connection; any other error is a bug
            raise StoreUnavailable(f"the database does not answer: {_first_line(error)}") from error

    @contextmanager
    def _write_transaction(self) -> Iterator[Connection]:
        if self._writer is None:
            with self._pooled_transaction() as connection:
                yield connection
            return
        with self._write_lock:  # SQLite has one writer, so others wait here and not for its busy timeout
            self._check_open()
            try:
                with self._writer.begin():
                    yield self._writer
            except (sa.exc.SQLAlchemyError, OSError) as error:
                # After a failed fsync the disk's content is unknown, so nothing that follows may be acknowledged.
                self._closed_because = f"the store failed: {error}"
                self._on_failure(error)
                raise StoreUnavailable(self._closed_because) from error

    @contextmanager
    def _pooled_transaction(self) -> Iterator[Connection]:
        self._check_open()
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise StoreUnavailable(f"the database did not commit, or its answer was lost: {_first_line(error)}") from error

    def _check_open(self) -> None:
        if self._closed_because:
            raise StoreUnavailable(self._closed_because)


def numbered_log(
    connection: Connection, study: int, *, after: int, upto: int | None = None, fetch: int = FETCH_ROWS
) -> Iterator[tuple[int, Entry]]:
    """Return entries of a study's log with their numbers, in order.

    Args:
        connection: Connection to the database.
        study: The study's id.
        after: The number of the entry before the first one.
        upto: The number of the last one; default: to the end of the log.
        fetch: How many rows of a table are read at a time.
    """
    end = [] if upto is None else [upto]
    # Each table is in the order of the log, so merging them by number gives the log without sorting it in memory.
    logs = [
        _rows(connection, study, table, table.c.sequence > after, *(table.c.sequence <= last for last in end), fetch=fetch)
        for table in schema.DECODERS
    ]
    return merge(*logs, key=lambda numbered: numbered[0])


def _rows(
    connection: Connection, study: int, table: sa.Table, *where: sa.ColumnElement[bool], fetch: int = FETCH_ROWS
) -> Iterator[tuple[int, Entry]]:
    to_entry = schema.DECODERS[table]
    query = sa.select(table).where(table.c.study == study, *where).order_by(table.c.sequence)
    for row in connection.execute(query, execution_options={"yield_per": fetch}):
        yield row.sequence, to_entry(row)


def _current_decisions(study: int) -> sa.Select[tuple[int]]:
    """Select the numbers of each trial's last decision for each target epoch and kind of question."""
    # A stop that counts is always among them: until the trial is resumed, no later decision for its target epoch is made.
    kind = decisions.c.trial, decisions.c.target_epoch, decisions.c.value_to_beat.is_(None)
    return sa.select(sa.func.max(decisions.c.sequence)).where(decisions.c.study == study).group_by(*kind)


def _last_sequence(connection: Connection, study: int, *, lock: bool = False) -> int:
    query = sa.select(studies.c.last_sequence).where(studies.c.id == study)
    last: int | None = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if last is None:
        raise UnknownStudy("the study was deleted")
    return last


def _stored(row: sa.Row[Any]) -> StoredStudy:
    try:
        return StoredStudy(row.id, row.tenant, schema.settings_from_json(row.settings))
    except ValueError as error:  # such as a setting that an earlier version accepted
        raise StudyUnavailable(f"study {row.name!r} cannot be loaded: {error}") from None


def _stored_or_none(row: sa.Row[Any]) -> StoredStudy | None:
    try:
        return _stored(row)
    except StudyUnavailable as error:  # the other studies are served
        _log.error("of tenant %r, %s", row.tenant, error)
        return None


def _named(name: str, tenant: str) -> sa.ColumnElement[bool]:
    return (studies.c.tenant == tenant) & (studies.c.name == name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
