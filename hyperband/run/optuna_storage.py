"""A run as an Optuna study in an Optuna storage, so that optuna-dashboard and the `optuna` command open it.

A run is resumed from its journal; the storage is written from that by a thread, and again where it lacks something.
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

FLUSH_TIMEOUT_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Page:
    """What the storage should say of a trial."""

    number: int
    configuration: Mapping[str, Any]
    state: TrialState
    values: tuple[float, ...]
    attributes: Mapping[str, Any]

    @staticmethod
    def of(record: TrialRecord) -> _Page:
        state = STATES[record.state]
        if record.epochs and state == TrialState.WAITING:
            state = TrialState.RUNNING  # promoted, and waiting for a worker
        attributes = {"trial": record.trial, "iteration": record.iteration, "bracket": record.bracket, "rung": record.rung}
        if state.is_finished():
            attributes |= {"state": record.state, "reason": record.reason, "seconds": round(record.seconds, 3)}
            attributes |= {} if record.predicted_final is None else {"predicted_value": record.predicted_final}
        return _Page(record.number, record.configuration, state, tuple(record.values), attributes)

    @property
    def value(self) -> float | None:
        """Of the Optuna trial: a pruned one has its last, as those have that Optuna prunes."""
        return self.values[-1] if self.values and self.state in (TrialState.COMPLETE, TrialState.PRUNED) else None


class RunStorage:
    """A context manager; a thread of its own writes what it is told, the latest of each trial.

    url: as SQLAlchemy takes it. name: of the Optuna study. Raises ValueError when there is no such storage.
    What goes wrong later is logged once and kept in `trouble`: training goes on without.
    """

    def __init__(self, url: str, name: str, space: Space, direction: Direction) -> None:
        try:
            self._storage = RDBStorage(url)
            if url.startswith("sqlite"):
                event.listen(self._storage.engine, "connect", _no_sync)
            self._study = optuna.create_study(
                storage=self._storage, study_name=name, direction=optuna_direction(direction), load_if_exists=True
            )
        except Exception as error:  # whatever the database's driver raises
            raise ValueError(f"storage must be the URL of a database that answers, but got {url!r}: {error}") from None
        self._space = space
        self._id = self._storage.get_study_id_from_name(name)
        self._known = dict(enumerate(self._storage.get_all_trials(self._id)))
        self._over: set[int] = set()
        self._told: dict[int, tuple[Any, ...]] = {}
        self._pages: dict[int, _Page] = {}
        self._changed = threading.Condition()
        self._closed = False
        self.trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="hyperband-storage", daemon=True)

    def note(self, records: Iterable[TrialRecord]) -> None:
        """All records of a run, in the order they were drawn."""
        for record in records:
            told = (record.state, record.epochs, record.rung)
            if record.number not in self._over and self._told.get(record.number) != told:
                self._told[record.number] = told
                with self._changed:
                    self._pages[record.number] = _Page.of(record)
                    self._changed.notify()
                if STATES[record.state].is_finished():
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
        while (page := self._next()) is not None:
            try:
                self._write(page)
            except Exception as error:
                if self.trouble is None:
                    _log.warning("the run's Optuna storage cannot be written: %s", error)
                self.trouble = " ".join(str(error).split())
        self._storage.remove_session()

    def _next(self) -> _Page | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pages or self._closed)
            return self._pages.pop(min(self._pages)) if self._pages else None

    def _write(self, page: _Page) -> None:
        if page.number not in self._known:
            self._study.add_trial(_new(page, self._space))
            self._known[page.number] = self._storage.get_trial(self._id_of(page.number))
        known, trial_id = self._known[page.number], self._id_of(page.number)
        if known.state.is_finished():
            return
        for name, value in page.attributes.items():
            if known.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(trial_id, name, value)
                known.user_attrs[name] = value
        for epoch, value in enumerate(page.values, start=1):
            if epoch not in known.intermediate_values:
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
                known.intermediate_values[epoch] = value
        if page.state != known.state:
            self._storage.set_trial_state_values(trial_id, page.state, None if page.value is None else [page.value])
            known.state = page.state

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def default_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'optuna.db'}"


def _new(page: _Page, space: Space) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=page.state,
        value=page.value,
        params=dict(page.configuration),
        distributions=dict(space),
        user_attrs=dict(page.attributes),
        intermediate_values=dict(enumerate(page.values, start=1)),
    )


def _no_sync(connection: Any, record: object) -> None:
    """Of SQLite: do not wait for the disk at every value. A journal that is on disk has them all."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
