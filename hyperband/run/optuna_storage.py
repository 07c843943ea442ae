"""Writes a run as a study into an Optuna storage, so that optuna-dashboard and the `optuna` command open it.

A run is resumed from its journal, never from this storage. A thread writes the storage, and adds what it lacks after a resume.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError

from curvestop.command_line import hide_passwords
from curvestop.hyperband.scheduler.sampler import optuna_direction
from curvestop.hyperband.scheduler.search_space import Space
from curvestop.hyperband.scheduler.trials import State, TrialRecord
from curvestop.srm.policies.stopping_rule import Direction

STATES: Mapping[State, TrialState] = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "paused": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "dropped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state of a trial, by its state in the run."""

FLUSH_TIMEOUT_S = 60.0
"""How long leaving the context waits until everything is written."""

N_ATTEMPTS = 20
"""How often a new database is opened while other processes make its tables."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _TrialSnapshot:
    """What the storage should contain of a trial.

    Attributes:
        number: Number of the trial, in the run and in the Optuna study.
        configuration: Parameters, by name.
        state: Optuna's state.
        values: `(tau,)` metric after epochs 1..tau.
        attributes: Optuna's user attributes.
    """

    number: int
    configuration: Mapping[str, Any]
    state: TrialState
    values: tuple[float, ...]
    attributes: Mapping[str, Any]

    @staticmethod
    def from_record(record: TrialRecord) -> _TrialSnapshot:
        state = STATES[record.state]
        # Promoted or stopped, and may train on; Optuna knows no way back to WAITING, nor from PRUNED.
        if (record.epochs and state == TrialState.WAITING) or record.may_resume:
            state = TrialState.RUNNING
        attributes = {"trial": record.trial, "iteration": record.iteration, "bracket": record.bracket, "rung": record.rung}
        if state.is_finished():
            attributes |= {"state": record.state, "reason": record.reason, "seconds": round(record.seconds, 3)}
            attributes |= {} if record.predicted_final is None else {"predicted_value": record.predicted_final}
            attributes |= {} if record.resumed_at is None else {"resumed_at": record.resumed_at}
        return _TrialSnapshot(record.number, record.configuration, state, tuple(record.values), attributes)

    @property
    def value(self) -> float | None:
        """Value of the Optuna trial; that of a pruned trial is its last, as when Optuna itself prunes."""
        return self.values[-1] if self.values and self.state in (TrialState.COMPLETE, TrialState.PRUNED) else None


class RunStorage:
    """An Optuna storage that follows a run; a context manager, whose thread writes the latest state of each trial.

    A failure of the database after the start is logged once and kept in `error`; training continues without the storage.

    No message shows the password of the URL.

    Args:
        url: URL of the database, as SQLAlchemy takes it.
        name: Name of the Optuna study; loaded if it exists.
        space: The search space.
        direction: Whether higher or lower values are better.

    Attributes:
        error: The last failure to write, on one line; None without one.

    Raises:
        ValueError: If the URL is not that of a database that answers.
    """

    def __init__(self, url: str, name: str, space: Space, direction: Direction) -> None:
        try:
            self._storage = _opened(url)
            if url.startswith("sqlite"):
                event.listen(self._storage.engine, "connect", _relax_sync)
            self._study = optuna.create_study(
                storage=self._storage, study_name=name, direction=optuna_direction(direction), load_if_exists=True
            )
        except Exception as error:  # each database driver raises its own kinds
            problem = f"storage must be the URL of a database that answers, but got {url!r}: {error}"
            raise ValueError(hide_passwords(problem)) from None
        self._space = space
        self._id = self._storage.get_study_id_from_name(name)
        self._stored = dict(enumerate(self._storage.get_all_trials(self._id)))  # by number; what the database has
        self._over: set[int] = set()  # numbers of the trials that are over
        self._last_seen: dict[int, tuple[Any, ...]] = {}  # by number; what `update` saw last
        self._to_write: dict[int, _TrialSnapshot] = {}  # by number; an unwritten snapshot is replaced by a newer one
        self._changed = threading.Condition()
        self._closed = False
        self.error: str | None = None
        self._thread = threading.Thread(target=self._run, name="hyperband-storage", daemon=True)

    def update(self, records: Iterable[TrialRecord]) -> None:
        """Have the thread write the trials that have changed.

        Args:
            records: All trials of the run, in the order they were drawn.
        """
        for record in records:
            seen = (record.state, record.epochs, record.rung, record.may_resume)
            if record.number not in self._over and self._last_seen.get(record.number) != seen:
                self._last_seen[record.number] = seen
                with self._changed:
                    self._to_write[record.number] = _TrialSnapshot.from_record(record)
                    self._changed.notify()
                # Its record no longer changes: later updates skip it without comparing.
                if STATES[record.state].is_finished() and not record.may_resume:
                    self._over.add(record.number)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(FLUSH_TIMEOUT_S)
        self._storage.engine.dispose()

    def _run(self) -> None:
        while (snapshot := self._next()) is not None:
            try:
                self._write(snapshot)
            except Exception as error:
                problem = hide_passwords(" ".join(str(error).split()))
                if self.error is None:
                    _log.warning("the run's Optuna storage cannot be written: %s", problem)
                self.error = problem
        self._storage.remove_session()  # sessions belong to a thread; this one is about to end

    def _next(self) -> _TrialSnapshot | None:
        """Wait for a snapshot to write; return None when the storage is closed and all are written."""
        with self._changed:
            self._changed.wait_for(lambda: self._to_write or self._closed)
            # The lowest number first: Optuna numbers trials in the order in which they are added.
            return self._to_write.pop(min(self._to_write)) if self._to_write else None

    def _write(self, snapshot: _TrialSnapshot) -> None:
        """Write what the database lacks of a trial; a trial that is over there cannot be changed any more."""
        if snapshot.number not in self._stored:
            # Not `ask`, which would draw a configuration of its own.
            self._study.add_trial(_frozen_trial(snapshot, self._space))
            self._stored[snapshot.number] = self._storage.get_trial(self._id_of(snapshot.number))
        stored, trial_id = self._stored[snapshot.number], self._id_of(snapshot.number)
        if stored.state.is_finished():
            return
        for name, value in snapshot.attributes.items():
            if stored.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(trial_id, name, value)
                stored.user_attrs[name] = value
        for epoch, value in enumerate(snapshot.values, start=1):
            if epoch not in stored.intermediate_values:
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
                stored.intermediate_values[epoch] = value
        # The state comes last: after it nothing can be written.
        if snapshot.state != stored.state:
            self._storage.set_trial_state_values(trial_id, snapshot.state, None if snapshot.value is None else [snapshot.value])
            stored.state = snapshot.state

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def _opened(url: str) -> RDBStorage:
    """Return the storage at a URL, whose tables are made if needed.

    Several processes may open a new database at the same time. Optuna does not expect that: whoever is second to make a table, or
    to note its version, fails. On another attempt it finds what the first one made.
    """
    for _ in range(N_ATTEMPTS - 1):
        try:
            return RDBStorage(url)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error):
                raise
    return RDBStorage(url)


def default_url(folder: Path) -> str:
    """Return the URL of the SQLite database in a run's folder."""
    return f"sqlite:///{folder / 'optuna.db'}"


def _frozen_trial(snapshot: _TrialSnapshot, space: Space) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=snapshot.state,
        value=snapshot.value,
        params=dict(snapshot.configuration),
        distributions=dict(space),
        user_attrs=dict(snapshot.attributes),
        intermediate_values=dict(enumerate(snapshot.values, start=1)),
    )


def _relax_sync(connection: Any, record: object) -> None:
    """Make SQLite not wait for the disk at every value: the run's journal, which is on disk, has them all."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
