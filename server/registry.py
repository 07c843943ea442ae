"""The registry: all studies of a server in memory, rebuilt from the store when it starts."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from curvestop.proto.endpoint import SettingsDiffer, UnknownStudy
from curvestop.server.fitter import Fitter
from curvestop.server.served_study import ServedStudy
from curvestop.server.store import CurveStore
from curvestop.srm.study import StudySettings


class Registry:
    """store: is replayed here, and closed by `close`."""

    def __init__(self, store: CurveStore) -> None:
        self._store = store
        self._fitter = Fitter()
        self._lock = threading.Lock()
        self._studies: dict[str, ServedStudy] = {}
        for settings in store.studies():
            study = self._add(settings, _done())
            study.replay(store.log(settings.name))
            self._fitter.wake(study)

    def create(self, settings: StudySettings) -> None:
        """Make a study unless it is there. Raises SettingsDiffer when it is there with other settings."""
        with self._lock:
            study = self._studies.get(settings.name)
            if study is None:
                study = self._add(settings, self._store.add_study(settings))
            elif study.settings != settings:
                raise SettingsDiffer(f"study {settings.name!r} exists with {study.settings!r}, but got {settings!r}")
        study.wait_durable()

    def __getitem__(self, name: str) -> ServedStudy:
        """Raises UnknownStudy."""
        with self._lock:
            study = self._studies.get(name)
        if study is None:
            raise UnknownStudy(f"there is no study {name!r}")
        return study

    def settings(self) -> tuple[StudySettings, ...]:
        """The settings of all studies, by name."""
        with self._lock:
            return tuple(self._studies[name].settings for name in sorted(self._studies))

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no fit is due; False when that took longer than `timeout_s`."""
        return self._fitter.wait_fitted(timeout_s)

    def close(self) -> None:
        """Write everything that waits; calls that come after raise StoreUnavailable."""
        self._fitter.close()
        self._store.close()

    def _add(self, settings: StudySettings, durable: Future[None]) -> ServedStudy:
        study = ServedStudy(settings, self._store, durable=durable, on_change=self._fitter.wake)
        self._studies[settings.name] = study
        return study


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future
