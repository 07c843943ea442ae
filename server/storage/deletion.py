"""Deletion of trials, studies and tenants: from the tables, with a record of it that stays.

A trial's entries are taken out of its study's log, whose entries are then numbered anew: numbers have no gap. That makes a new
study of the same name in the store, so another server that shares it (PostgreSQL) notices, and reads the log again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curvestop.proto.endpoint import UnknownStudy
from curvestop.server.storage.schema import DECODERS, deletions, studies, trials
from curvestop.server.storage.store import CurveStore
from curvestop.srm.trial import UnknownTrial

LOG_TABLES = tuple(DECODERS)


@dataclass(frozen=True)
class Target:
    """What to delete: a trial of a study, a study, or all studies of a tenant.

    Attributes:
        tenant: The tenant.
        study: Name of the study; None for all.
        trial: Name of the trial; None for all of the study.
    """

    tenant: str
    study: str | None = None
    trial: str | None = None

    def __str__(self) -> str:
        words = [f"trial {self.trial!r} of"] if self.trial is not None else []
        words += [f"study {self.study!r} of"] if self.study is not None else []
        return " ".join([*words, f"tenant {self.tenant!r}"])


@dataclass(frozen=True)
class Content:
    """How much a target has.

    Attributes:
        n_studies: Number of studies that end with it; 0 for a trial.
        n_trials: Number of trials.
        n_entries: Number of log entries: trials, values, decisions, ends and resumes.
    """

    n_studies: int
    n_trials: int
    n_entries: int


@dataclass(frozen=True)
class Deletion:
    """A deletion that was done.

    Attributes:
        at: Date and time in UTC, ISO 8601.
        deleted_by: Who did it.
        target: What was deleted.
        content: How much that was.
    """

    at: str
    deleted_by: str
    target: Target
    content: Content


def content_of(store: CurveStore, target: Target) -> Content:
    """Return how much a target has.

    Args:
        store: The store.
        target: What may be deleted.

    Raises:
        UnknownStudy: If there is no such study, or the tenant has none.
        UnknownTrial: If the study has no such trial.
        StoreUnavailable: If the store does not answer.
    """
    with store.reading() as connection:
        return _content(connection, target, _ids(connection, target))


def delete(store: CurveStore, target: Target, *, deleted_by: str, at: str) -> Deletion:
    """Delete a target, completely or not at all, and record it.

    Args:
        store: The store. With SQLite no server may use it.
        target: What to delete.
        deleted_by: Who does it, for the record.
        at: Date and time in UTC, ISO 8601, for the record.

    Returns:
        What was recorded.

    Raises:
        UnknownStudy: If there is no such study, or the tenant has none.
        UnknownTrial: If the study has no such trial.
        StoreUnavailable: If the store fails.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        if connection.dialect.name == "sqlite":  # else the content stays in free pages, and in every backup of them
            connection.execute(sa.text("PRAGMA secure_delete = ON"))
        ids = _ids(connection, target, lock=True)
        done = Deletion(at, deleted_by, target, _content(connection, target, ids))
        for study in ids:
            if target.trial is None:
                _delete_study(connection, study)
            else:
                _delete_trial(connection, study, target.trial)
        connection.execute(deletions.insert().values(at=at, deleted_by=deleted_by, **asdict(target), **asdict(done.content)))
    return done


def deletions_of(store: CurveStore) -> tuple[Deletion, ...]:
    """Return all recorded deletions, the oldest first.

    Args:
        store: The store.
    """
    with store.reading() as connection:
        return tuple(
            Deletion(
                row.at,
                row.deleted_by,
                Target(row.tenant, row.study, row.trial),
                Content(row.n_studies, row.n_trials, row.n_entries),
            )
            for row in connection.execute(sa.select(deletions).order_by(deletions.c.id))
        )


def _ids(connection: Connection, target: Target, *, lock: bool = False) -> Sequence[int]:
    """Return the ids of the target's studies, also of one whose settings this version does not understand."""
    query = sa.select(studies.c.id).where(studies.c.tenant == target.tenant).order_by(studies.c.id)
    if target.study is not None:
        query = query.where(studies.c.name == target.study)
    # Locked, nobody appends to them until the transaction ends.
    ids = connection.execute(query.with_for_update() if lock else query).scalars().all()
    if not ids:
        what = "no study" if target.study is None else f"no study {target.study!r}"
        raise UnknownStudy(f"tenant {target.tenant!r} has {what}")
    return ids


def _content(connection: Connection, target: Target, ids: Sequence[int]) -> Content:
    if target.trial is not None:
        n_entries = sum(len(_sequences(connection, table, ids[0], target.trial)) for table in LOG_TABLES)
        if not n_entries:
            raise UnknownTrial(f"study {target.study!r} of tenant {target.tenant!r} has no trial {target.trial!r}")
        return Content(0, 1, n_entries)
    n_trials = connection.execute(sa.select(sa.func.count()).select_from(trials).where(trials.c.study.in_(ids))).scalar_one()
    n_entries = connection.execute(sa.select(sa.func.sum(studies.c.last_sequence)).where(studies.c.id.in_(ids))).scalar_one()
    return Content(len(ids), n_trials, int(n_entries))


def _sequences(connection: Connection, table: sa.Table, study: int, trial: str) -> Sequence[int]:
    """Return the numbers of a trial's entries in a table."""
    return connection.execute(sa.select(table.c.sequence).where(table.c.study == study, table.c.trial == trial)).scalars().all()


def _delete_study(connection: Connection, study: int) -> None:
    for table in LOG_TABLES:
        connection.execute(table.delete().where(table.c.study == study))
    connection.execute(studies.delete().where(studies.c.id == study))


def _delete_trial(connection: Connection, study: int, trial: str) -> None:
    """Replace a study by one without the trial."""
    gone = sorted(number for table in LOG_TABLES for number in _sequences(connection, table, study, trial))
    row = connection.execute(sa.select(studies).where(studies.c.id == study)).one()
    columns = [studies.c.tenant, sa.literal(uuid4().hex), studies.c.settings, sa.literal(row.last_sequence - len(gone))]
    select = sa.select(*columns).where(studies.c.id == study)
    insert = studies.insert().from_select(["tenant", "name", "settings", "last_sequence"], select).returning(studies.c.id)
    made = connection.execute(insert).scalar_one()
    # Between two entries that go, all others move by as many as went before them.
    for n_before, (first, last) in enumerate(pairwise([0, *gone, row.last_sequence + 1])):
        if first + 1 < last:
            for table in LOG_TABLES:
                _copy(connection, table, study, made, first, last, by=n_before)
    _delete_study(connection, study)
    connection.execute(studies.update().where(studies.c.id == made).values(name=row.name))


def _copy(connection: Connection, table: sa.Table, study: int, to: int, first: int, last: int, *, by: int) -> None:
    """Copy a table's entries of the numbers between first and last to another study, with lower numbers."""
    moved = {"study": sa.literal(to), "sequence": table.c.sequence - by}
    select = sa.select(*(moved.get(column.name, column) for column in table.columns))
    select = select.where(table.c.study == study, table.c.sequence > first, table.c.sequence < last)
    connection.execute(table.insert().from_select([column.name for column in table.columns], select))
