"""The registry: all studies of a server in memory, rebuilt from the store when it starts."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from curvestop.proto.endpoint import SettingsDiffer, UnknownStudy
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore, StoredStudy, StudyUnavailable
from curvestop.server.studies.commands import StudyCommand, apply_commands
from curvestop.server.studies.durable_study import DurableStudy
from curvestop.server.studies.group_commit import BatchWriter
from curvestop.srm.background_fitter import BackgroundFitter, FitBudget
from curvestop.srm.settings import StudySettings, how_settings_differ

BYTES_OF_AN_ENTRY = 100
"""So many bytes of configurations count as one entry of the log."""
FIT_BUDGET = FitBudget(cpu_s=300.0, memory_mib=512.0)
"""What one model fit may use; beyond it the study goes on with the models that it has, or by value only."""
N_WRITERS = 32
"""Number of writing threads where each study has its own transactions (PostgreSQL)."""


class Registry:
    """All studies of a server, known by tenant and name. It loads them from the store when it is made.

    Args:
        store: Where the logs are; `close` closes it.
        on_fit: Called with the CPU seconds of each model fit.

    Examples:
        >>> import tempfile
        >>> from contextlib import closing
        >>> folder = tempfile.TemporaryDirectory()
        >>> with closing(Registry(CurveStore(f"sqlite:///{folder.name}/curves.db"))) as registry:
        ...     registry.create(StudySettings("demo", max_epochs=10))
        ...     registry["demo"].report("a", [0.5]).stop
        False
        >>> folder.cleanup()
    """

    def __init__(self, store: CurveStore, *, on_fit: Callable[[float], None] = lambda seconds: None) -> None:
        self._store = store
        self._fitter = BackgroundFitter(on_fit, budget=FIT_BUDGET)
        self._lock = threading.Lock()  # guards _studies
        self._studies: dict[tuple[str, str], DurableStudy] = {}
        self._workers = ThreadPoolExecutor(1 if store.exclusive else N_WRITERS, "curvestop-writer")
        # With one writing process all studies share commits. Otherwise each study has its own writer, so that a study which
        # another server has locked does not hold up the others.
        self._shared_writer = self._make_batch_writer(self._workers)
        self._own_workers = ThreadPoolExecutor(N_WRITERS, "curvestop-own-writer")
        with _garbage_collection_paused():
            for stored in store.studies():
                study = self._add(stored)
                # One that cannot be loaded has told the log why, and its callers will be told, too; all others are served.
                with suppress(StudyUnavailable):
                    study.load()
                    # Models are not stored: every study with enough curves is fitted again.
                    self._fitter.wake(study)

    def create(self, settings: StudySettings, *, tenant: str = DEFAULT_TENANT, most: int | None = None) -> None:
        """Create a study unless it exists.

        Args:
            settings: Settings of the study, its name among them.
            tenant: The tenant whose study it is.
            most: Largest number of studies that the tenant may have; None for any number.

        Raises:
            SettingsDiffer: If it exists with other settings.
            TooManyStudies: If it does not exist and would be one too many.
        """
        study = self.find_loaded(settings.name, tenant=tenant)
        if study is None:
            study = self._add(self._store.add_study(settings, tenant=tenant, most=most))
        if study.settings != settings:
            differ = how_settings_differ(study.settings, settings)
            raise SettingsDiffer(
                f"study {settings.name!r} exists with {differ}: give the new study another name, or use its settings"
            )

    def find_loaded(self, name: str, *, tenant: str = DEFAULT_TENANT) -> DurableStudy | None:
        """Return a study if it is in memory; never waits for the store, unlike `get`.

        Args:
            name: Name of the study.
            tenant: The tenant whose study it is.

        Returns:
            The study; None if it does not exist, or only another server has loaded it.
        """
        with self._lock:
            study = self._studies.get((tenant, name))
            if study is None or not study.is_deleted:
                return study
            del self._studies[tenant, name]  # the store may have another one of that name by now
            return None

    def get(self, name: str, *, tenant: str = DEFAULT_TENANT) -> DurableStudy:
        """Return a study, looking into the store: another server may have created it, or it cannot be loaded.

        Args:
            name: Name of the study.
            tenant: The tenant whose study it is.

        Raises:
            UnknownStudy: If the tenant has no study of that name.
            StudyUnavailable: If its settings are not accepted.
        """
        study = self.find_loaded(name, tenant=tenant)
        if study is None:
            stored = self._store.find(name, tenant=tenant)
            study = None if stored is None else self._add(stored)
        if study is None:
            raise UnknownStudy(f"there is no study {name!r}")
        return study

    def __getitem__(self, name: str) -> DurableStudy:
        """Return a study of the default tenant; see `get`."""
        return self.get(name)

    def settings(self, *, tenant: str = DEFAULT_TENANT) -> tuple[StudySettings, ...]:
        """Return the settings of all of a tenant's studies, by name.

        Args:
            tenant: The tenant whose studies they are; studies of others are never shown.
        """
        if not self._store.exclusive:  # other servers may have created some
            return tuple(stored.settings for stored in self._store.studies() if stored.tenant == tenant)
        with self._lock:  # which every call takes: no longer than needed
            studies = list(self._studies.values())
        return tuple(sorted((study.settings for study in studies if study.tenant == tenant), key=lambda its: its.name))

    def n_entries(self, *, tenant: str = DEFAULT_TENANT) -> int:
        """Return how many entries the logs of a tenant's studies have in all; long configurations count as several."""
        with self._lock:
            studies = list(self._studies.values())
        n_bytes = sum(study.n_configuration_bytes for study in studies if study.tenant == tenant)
        return self._store.n_entries(tenant) + n_bytes // BYTES_OF_AN_ENTRY

    def wait_fitted(self, timeout_s: float) -> bool:
        """Wait until no model fit is due.

        Args:
            timeout_s: Wait for this many seconds at most.

        Returns:
            False if fits are still due after that time.
        """
        return self._fitter.wait_fitted(timeout_s)

    def close(self) -> None:
        """Write everything that waits and close the store; calls that come later raise StoreUnavailable."""
        # In this order: nothing more becomes due, what waits is written, the store goes last.
        self._fitter.close()
        self._workers.shutdown()
        self._own_workers.shutdown()
        self._store.close()

    def _add(self, stored: StoredStudy) -> DurableStudy:
        batch_writer = self._shared_writer if self._store.exclusive else self._make_batch_writer(self._workers)
        own_writer = self._make_batch_writer(self._own_workers) if self._store.exclusive else batch_writer
        study = DurableStudy(stored, self._store, batch_writer=batch_writer, own_writer=own_writer, on_change=self._fitter.wake)
        with self._lock:  # two threads may add one study at once: the first one stays
            return self._studies.setdefault((stored.tenant, stored.settings.name), study)

    def _make_batch_writer(self, workers: ThreadPoolExecutor) -> BatchWriter[StudyCommand[Any]]:
        return BatchWriter(partial(apply_commands, self._store), workers, key=lambda command: command.study.tenant)


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Make many objects that will stay, without the garbage collector searching them now or ever."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
