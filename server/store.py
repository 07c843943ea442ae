"""The store: an append-only log of every study. What `append` returned for is on disk once its future is done.

One thread and one connection write. Whatever waits when a commit ends goes into the next one (group commit), so one
fsync serves many trainers. When a write fails nothing that waits is acknowledged and the owner is told, whose only
right answer is to end the process: memory is then ahead of the disk.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from curvestop.server import tables
from curvestop.server.log import Entry
from curvestop.srm.study import StudySettings

DEFAULT_TENANT = "default"
FAILED_EXIT = 74  # EX_IOERR

_log = logging.getLogger(__name__)


class StoreUnavailable(RuntimeError):
    """The store is closed or has failed; nothing more is written."""


@dataclass(frozen=True)
class _Write:
    """Entries of one study to append; with `settings`, the study is made first."""

    study: str
    entries: Sequence[Entry]
    settings: StudySettings | None = None
    done: Future[None] = field(default_factory=Future)


def exit_at_once(error: BaseException) -> None:
    """End the process without acknowledging anything that waits."""
    _log.critical("a write to the store failed, so this process ends; start it again when the cause is mended: %s", error)
    os._exit(FAILED_EXIT)


class CurveStore:
    """Studies and their logs in a database.

    url: of SQLAlchemy, for example `sqlite:////home/me/curves.db`. on_failure: called in the writing thread after a failed write.
    Raises sqlalchemy.exc.SQLAlchemyError when the database cannot be opened, ValueError when another version made it.
    """

    def __init__(
        self,
        url: str,
        *,
        tenant: str = DEFAULT_TENANT,
        on_failure: Callable[[BaseException], None] = exit_at_once,
    ) -> None:
        self._engine = _engine(url)
        self._tenant = tenant
        self._on_failure = on_failure
        _prepare(self._engine)
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closing = threading.Lock()  # guards _closed against an append at the same time
        self._closed = False
        self._writer = threading.Thread(target=self._write_until_closed, name="curvestop-store", daemon=True)
        self._writer.start()

    def add_study(self, settings: StudySettings) -> Future[None]:
        """Make a study. Its name must be new."""
        return self._enqueue(_Write(settings.name, (), settings))

    def append(self, study: str, entries: Sequence[Entry]) -> Future[None]:
        """Append to a study's log; entries of one study are logged in the order of the calls."""
        return self._enqueue(_Write(study, tuple(entries)))

    def studies(self) -> tuple[StudySettings, ...]:
        with self._engine.connect() as connection:
            query = sa.select(tables.studies.c.settings).where(tables.studies.c.tenant == self._tenant)
            rows = connection.execute(query.order_by(tables.studies.c.study)).all()
        return tuple(tables.settings_from_json(row.settings) for row in rows)

    def log(self, study: str) -> Iterator[Entry]:
        """Everything that happened to a study, in order."""
        return (entry for _, entry in self.numbered_log(study))

    def numbered_log(self, study: str) -> Iterator[tuple[int, Entry]]:
        """The log with each entry's sequence number: 1, 2, ..."""
        with self._engine.connect() as connection:
            logs = [self._rows(connection, study, table) for table in tables.ENTRY_OF]
            yield from merge(*logs, key=lambda numbered: numbered[0])

    def close(self) -> None:
        """Write everything that waits, then let go of the database."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._writes.put(None)
        self._writer.join()
        self._engine.dispose()

    def _enqueue(self, write: _Write) -> Future[None]:
        with self._closing:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            self._writes.put(write)
        return write.done

    def _rows(self, connection: Connection, study: str, table: sa.Table) -> Iterator[tuple[int, Entry]]:
        where = (table.c.tenant == self._tenant) & (table.c.study == study)
        to_entry = tables.ENTRY_OF[table]
        for row in connection.execute(sa.select(table).where(where).order_by(table.c.sequence)):
            yield row.sequence, to_entry(row)

    # The writing thread.

    def _write_until_closed(self) -> None:
        batch: list[_Write] = []
        try:
            with self._engine.connect() as connection:
                while batch := self._next_batch():
                    with connection.begin():
                        self._write(connection, batch)
                    for write in batch:
                        write.done.set_result(None)
        except BaseException as error:
            self._fail(batch, error)

    def _next_batch(self) -> list[_Write]:
        """All that waits, at least one; nothing when closed."""
        batch: list[_Write] = []
        write = self._writes.get()
        while write is not None:
            batch.append(write)
            try:
                write = self._writes.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._writes.put(None)  # seen too early: close after this batch
        return batch

    def _write(self, connection: Connection, batch: Sequence[_Write]) -> None:
        rows: dict[sa.Table, list[dict[str, Any]]] = {}
        sequences: dict[str, int] = {}
        for write in batch:
            if write.settings is not None:
                connection.execute(sa.insert(tables.studies), self._study_row(write.settings))
            if write.study not in sequences:
                sequences[write.study] = self._last_sequence(connection, write.study)
            for entry in write.entries:
                sequences[write.study] += 1
                place = {"tenant": self._tenant, "study": write.study, "sequence": sequences[write.study]}
                rows.setdefault(tables.TABLE_OF[type(entry)], []).append(place | tables.columns_of(entry))
        for table, its_rows in rows.items():
            connection.execute(sa.insert(table), its_rows)
        for study, sequence in sequences.items():
            connection.execute(sa.update(tables.studies).where(self._is(study)).values(last_sequence=sequence))

    def _study_row(self, settings: StudySettings) -> dict[str, Any]:
        stored = tables.settings_to_json(settings)
        return {"tenant": self._tenant, "study": settings.name, "settings": stored, "last_sequence": 0}

    def _last_sequence(self, connection: Connection, study: str) -> int:
        query = sa.select(tables.studies.c.last_sequence).where(self._is(study)).with_for_update()
        sequence: int = connection.execute(query).scalar_one()
        return sequence

    def _is(self, study: str) -> sa.ColumnElement[bool]:
        return (tables.studies.c.tenant == self._tenant) & (tables.studies.c.study == study)

    def _fail(self, batch: Sequence[_Write], error: BaseException) -> None:
        with self._closing:
            self._closed = True
        self._on_failure(error)
        refused = StoreUnavailable(f"the store failed: {error}")
        for write in batch:
            write.done.set_exception(refused)
        while not self._writes.empty():
            if (waiting := self._writes.get()) is not None:
                waiting.done.set_exception(refused)


def _engine(url: str) -> Engine:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL loses acknowledged rows in a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _prepare(engine: Engine) -> None:
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        version = connection.execute(sa.select(tables.schema.c.version)).scalar_one_or_none()
        if version is None:
            connection.execute(sa.insert(tables.schema), {"version": tables.SCHEMA_VERSION})
        elif version != tables.SCHEMA_VERSION:
            raise ValueError(f"the store has schema {version}, but this version of curvestop needs {tables.SCHEMA_VERSION}")
