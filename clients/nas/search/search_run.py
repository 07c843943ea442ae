"""One search from its first epoch, or from where it was killed, to its last, on an executor of `hyperband`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Training
from curvestop.clients.nas.search.search_folder import JOURNAL, MODELS, SearchSettings, write_models
from curvestop.hyperband.executors.base import Executor, Job, OwnedExecutor
from curvestop.hyperband.executors.factory import ExecutorConfig, make_executor
from curvestop.hyperband.executors.train_command import Script
from curvestop.hyperband.run.journal import Journal, JournaledScheduler, JournaledStudy, read, replay
from curvestop.hyperband.scheduler.run_loop import run_until_finished
from curvestop.hyperband.scheduler.trials import Event
from curvestop.srm.curve import Decision
from curvestop.srm.study import StudyLike


class Scheduling:
    """A search as a scheduler. A trial's checkpoint goes when its training is over."""

    def __init__(self, search: ArchitectureSearch, executor: Executor | None = None) -> None:
        self.search, self._executor = search, executor

    @property
    def finished(self) -> bool:
        return self.search.finished

    def ask(self) -> Job | None:
        training = self.search.ask()
        return None if training is None else _job(training)

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        return self.search.report(trial, value)

    def job_over(self, trial: str, *, failure: str | None = None) -> None:
        self.search.tell(trial, failure=failure)
        if self._executor is not None:
            self._executor.delete_checkpoint(trial)

    def take_events(self) -> tuple[Event, ...]:
        return ()

    def jobs_to_end(self) -> list[str]:
        return self.search.jobs_to_end()

    def jobs_to_resume(self) -> Iterator[Job]:
        return map(_job, self.search.jobs_to_go_on())


def place(settings: SearchSettings, folder: Path) -> OwnedExecutor:
    """Where the search's networks train. Raises ValueError for an engine that there is not."""
    where = ExecutorConfig(
        Script(Path(settings.script)),
        settings.workers,
        settings.engine,
        settings.address,
        settings.cpus_per_trial,
        settings.gpus_per_trial,
    )
    return make_executor(where, folder)


def go(settings: SearchSettings, study: StudyLike | None, executor: OwnedExecutor) -> ArchitectureSearch:
    """Begin a search in the executor's folder, or go on with the one there; its table of models is written in any case.

    A killed search goes on as if it had not been killed, with one worker: with several, which training ends first is up to
    the machine. Raises ValueError when another process drives it, JournalBroken when the journal is of other settings.
    """
    folder = executor.folder
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / JOURNAL))
        kept = None if study is None else JournaledStudy(study, settings.study_settings, journal.entries, journal)
        search = settings.search(kept)
        stack.enter_context(executor)
        stack.callback(lambda: write_models(folder / MODELS, search))
        run_until_finished(JournaledScheduler(Scheduling(search, executor), journal), executor)
    return search


def search_of(folder: Path) -> tuple[SearchSettings, ArchitectureSearch]:
    """A search as its journal tells it, whether it is over, killed or going on; nothing is changed. Raises ValueError."""
    settings, entries = SearchSettings.load(folder), read(folder / JOURNAL)
    told = None if settings.no_stop else JournaledStudy(None, settings.study_settings, entries, None)
    search = settings.search(told)
    replay(Scheduling(search), entries)
    return settings, search


def _job(training: Training) -> Job:
    return Job(training.trial, training.configuration, training.first_epoch, training.target_epoch)
