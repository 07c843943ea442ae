"""Runs one search to its end on an executor of `hyperband`, from the beginning or from where it was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Training
from curvestop.clients.nas.search.search_factory import new_search
from curvestop.clients.nas.search.search_folder import JOURNAL, MODELS, load_settings, write_models
from curvestop.clients.nas.search.search_settings import SearchSettings
from curvestop.hyperband.executors.base import Executor, Job, OwnedExecutor
from curvestop.hyperband.executors.factory import ExecutorConfig, make_executor
from curvestop.hyperband.executors.train_command import Script
from curvestop.hyperband.run.early_failures import EarlyFailures
from curvestop.hyperband.run.journal import Journal, JournaledScheduler, JournaledStudy, read, replay
from curvestop.hyperband.scheduler.run_loop import run_until_finished
from curvestop.hyperband.scheduler.trials import Event
from curvestop.srm.curve import Decision
from curvestop.srm.study_like import ResumableStudy


class SearchScheduler:
    """An architecture search in the form of a `hyperband` scheduler, so that its run loop, journal and executors serve it.

    Args:
        search: The search.
        executor: Deletes a trial's checkpoint when its training is over. None keeps checkpoints, as in a replay.
    """

    def __init__(self, search: ArchitectureSearch, executor: Executor | None = None) -> None:
        self.search, self._executor = search, executor

    @property
    def finished(self) -> bool:
        """Whether every architecture was proposed and every training is over."""
        return self.search.finished

    def ask(self) -> Job | None:
        """Return the next job; None when running ones must end first, or nothing is left."""
        training = self.search.ask()
        return None if training is None else _job(training)

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        """Record the accuracy after the trial's next epoch and decide whether it should continue.

        Args:
            trial: Name of a running trial.
            value: Validation accuracy in [0, 1], higher is better.
            seconds: Time that the epoch took.
        """
        return self.search.report(trial, value, seconds=seconds)

    def job_over(self, trial: str, *, failure: str | None = None) -> None:
        """Record that a training is over, and delete its checkpoint.

        Args:
            trial: Name of a running trial.
            failure: What failed; None if the training ended or was stopped.
        """
        self.search.training_over(trial, failure=failure)
        # Whatever its end, a training of a search is never continued.
        if self._executor is not None:
            self._executor.delete_checkpoint(trial)

    def take_events(self) -> tuple[Event, ...]:
        """Return no events: a search has no rungs to report."""
        return ()

    def jobs_to_end(self) -> list[str]:
        """Return the trials whose training was decided to be over before the interruption."""
        return self.search.trials_to_end()

    def jobs_to_resume(self) -> Iterator[Job]:
        """Return the jobs that were training at the interruption."""
        return map(_job, self.search.trainings_to_resume())


def new_executor(settings: SearchSettings, folder: Path) -> OwnedExecutor:
    """Make the executor that trains a search's networks; no worker starts before it is entered.

    Args:
        settings: The settings of the search.
        folder: Folder of the search, for checkpoints and logs.

    Returns:
        The executor.

    Raises:
        ValueError: If there is no such engine, or what it needs is not installed.
    """
    config = ExecutorConfig(
        Script(Path(settings.script)),
        settings.workers,
        settings.engine,
        settings.address,
        settings.cpus_per_trial,
        settings.gpus_per_trial,
    )  # no hang limit: nobody knows how long an epoch of an unknown network takes
    return make_executor(config, folder)


def run_search(
    settings: SearchSettings,
    study: ResumableStudy | None,
    executor: OwnedExecutor,
    *,
    on_step: Callable[[ArchitectureSearch], None] = lambda search: None,
) -> ArchitectureSearch:
    """Start a search in the executor's folder, or resume the one that is there. The table of models is written in any case.

    With one worker a search that was killed ends exactly as if it had not been killed. With several, it depends on the machine
    which training ends first.

    Args:
        settings: The settings of the search.
        study: The study that stops trainings; None trains every architecture to the end.
        executor: Trains the networks; see `new_executor`.
        on_step: Called once before anything is trained, then after each call that changed the search. Default: nothing.

    Returns:
        The finished search.

    Raises:
        ValueError: If another process runs the search.
        JournalBroken: If the journal in the folder is that of other settings.
        AllFailAlike: If the first trainings all failed alike.
    """
    folder = executor.folder
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / JOURNAL))
        journaled = None if study is None else JournaledStudy(study, settings.study_settings, journal.entries, journal)
        search = new_search(settings, journaled)
        stack.enter_context(executor)  # only now do workers start: the journal is locked and has been read
        # Also after an error or Ctrl-C, so that the table has all that was trained.
        stack.callback(lambda: write_models(folder / MODELS, search))
        scheduler = JournaledScheduler(SearchScheduler(search, executor), journal)
        early = EarlyFailures(lambda: search.records)
        on_step(search)
        scheduler.begin(settings.workers)

        def step() -> None:
            on_step(search)
            early.check()

        run_until_finished(scheduler, executor, on_step=step)
    return search


def load_search(folder: Path) -> tuple[SearchSettings, ArchitectureSearch]:
    """Read a search from its folder, whether it is finished, interrupted or running. Nothing is changed.

    Args:
        folder: Folder of a search.

    Returns:
        The settings, and the search in the state of the journal's last entry.

    Raises:
        ValueError: If the folder is not one of a search, or its journal is that of other settings.
    """
    settings, entries = load_settings(folder), read(folder / JOURNAL)
    # Without a study of its own: every decision comes from the journal.
    journaled = None if settings.no_stop else JournaledStudy(None, settings.study_settings, entries, None)
    search = new_search(settings, journaled)
    replay(SearchScheduler(search), entries, checks_configurations=False)
    return settings, search


def _job(training: Training) -> Job:
    return Job(training.trial, training.configuration, training.first_epoch, training.target_epoch)
