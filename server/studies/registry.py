"""The registry: all studies of a server in memory, rebuilt from the store when it starts."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from curvestop.proto.endpoint import SettingsDiffer, UnknownStudy
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore, StoredStudy
from curvestop.server.studies.background_fitter import BackgroundFitter
from curvestop.server.studies.commands import Call, make_calls
from curvestop.server.studies.durable_study import DurableStudy
from curvestop.server.studies.group_commit import BatchWriter
from curvestop.srm.study import StudySettings

N_WRITERS = 32
"""Threads that write, where each study is written by itself."""


class Registry:
    """store: is read here, and closed by `close`. Studies are known by tenant and name."""

    def __init__(self, store: CurveStore, *, on_fit: Callable[[float], None] = lambda seconds: None) -> None:
        self._store = store
        self._fitter = BackgroundFitter(on_fit)
        self._lock = threading.Lock()  # guards _studies
        self._studies: dict[tuple[str, str], DurableStudy] = {}
        self._workers = ThreadPoolExecutor(1 if store.exclusive else N_WRITERS, "curvestop-writer")
        self._batch_writer = self._new_turns()  # of all studies, where one writes
        with _garbage_left_alone():
            for stored in store.studies():
                study = self._add(stored)
                study.load()
                self._fitter.wake(study)

    def create(self, settings: StudySettings, *, tenant: str = DEFAULT_TENANT) -> None:
        """Make a study unless it is there. Raises SettingsDiffer when it is there with other settings."""
        study = self.known(settings.name, tenant=tenant) or self._add(self._store.add_study(settings, tenant=tenant))
        if study.settings != settings:
            raise SettingsDiffer(f"study {settings.name!r} exists with {study.settings!r}, but got {settings!r}")

    def known(self, name: str, *, tenant: str = DEFAULT_TENANT) -> DurableStudy | None:
        """The study, as far as one knows without asking the store."""
        with self._lock:
            return self._studies.get((tenant, name))

    def get(self, name: str, *, tenant: str = DEFAULT_TENANT) -> DurableStudy:
        """Raises UnknownStudy."""
        study = self.known(name, tenant=tenant)
        if study is None and not self._store.exclusive:  # another server may have made it
            stored = self._store.find(name, tenant=tenant)
            study = None if stored is None else self._add(stored)
        if study is None:
            raise UnknownStudy(f"there is no study {name!r}")
        return study

    def __getitem__(self, name: str) -> DurableStudy:
        """Of the default tenant. Raises UnknownStudy."""
        return self.get(name)

    def settings(self, *, tenant: str = DEFAULT_TENANT) -> tuple[StudySettings, ...]:
        """The settings of all of a tenant's studies, by name."""
        if not self._store.exclusive:
            return tuple(stored.settings for stored in self._store.studies() if stored.tenant == tenant)
        with self._lock:
            of_tenant = sorted(name for owner, name in self._studies if owner == tenant)
            return tuple(self._studies[tenant, name].settings for name in of_tenant)

    def n_entries(self, *, tenant: str = DEFAULT_TENANT) -> int:
        """How many entries the logs of a tenant's studies have."""
        return self._store.n_entries(tenant)

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no fit is due; False when that took longer than `timeout_s`."""
        return self._fitter.wait_fitted(timeout_s)

    def close(self) -> None:
        """Write everything that waits; calls that come after raise StoreUnavailable."""
        self._fitter.close()
        self._workers.shutdown()
        self._store.close()

    def _add(self, stored: StoredStudy) -> DurableStudy:
        batch_writer = self._batch_writer if self._store.exclusive else self._new_turns()
        study = DurableStudy(stored, self._store, batch_writer=batch_writer, on_change=self._fitter.wake)
        with self._lock:
            return self._studies.setdefault((stored.tenant, stored.settings.name), study)

    def _new_turns(self) -> BatchWriter[Call[Any]]:
        return BatchWriter(partial(make_calls, self._store), self._workers, party=lambda call: call.study.tenant)


@contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Make many objects that stay: no search through them for garbage, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
