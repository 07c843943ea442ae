"""Runs a search to its end, from its first epoch or from where it was: what `hyperband run` and `hyperband resume` share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from curvestop.command_line import EXIT_INTERRUPTED, EXIT_NOTHING_SUCCEEDED, errors_in_one_line, print_error, signals_interrupt
from curvestop.hyperband.executors.base import OwnedExecutor, ScriptError
from curvestop.hyperband.executors.factory import make_executor
from curvestop.hyperband.run.console import RunConsole, print_result
from curvestop.hyperband.run.early_failures import AllFailAlike, EarlyFailures, equal_values
from curvestop.hyperband.run.journal import Journal, JournaledScheduler, JournaledStudy
from curvestop.hyperband.run.optuna_storage import RunStorage, default_url
from curvestop.hyperband.run.results import write_results
from curvestop.hyperband.run.run_folder import JOURNAL, RunSettings
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.run_loop import dispatch_events, run_in_completion_order, run_until_finished
from curvestop.srm.plural import plural
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import ResumableStudy

OpenStudy = Callable[[StudySettings], AbstractContextManager[ResumableStudy]]
"""Opens the study, in this process or on a server that has answered."""


def run_session(
    settings: RunSettings,
    folder: Path,
    console: Console,
    *,
    space: Path,
    open_study: OpenStudy,
    prepare: Callable[[], None] = lambda: None,
    storage_url: str | None = None,
) -> int:
    """Start a run, or resume it from its journal, and train until it is over or interrupted.

    Args:
        settings: Settings of the run.
        folder: Folder of the run.
        console: Where to print.
        space: File of the search space.
        open_study: Opens the study.
        prepare: Makes the folder. It is called once the server is known to answer, so that a run that cannot start leaves
            nothing behind. Default: the folder exists.
        storage_url: URL of the Optuna storage with its password, which the settings do not have. Default: the run's own.

    Returns:
        Exit status of the command.
    """
    with errors_in_one_line():
        study_settings = settings.study_settings(space)
    with ExitStack() as stack:
        # First of all, as it may not answer: a run that cannot start must leave nothing behind.
        study = None if settings.no_stop else stack.enter_context(open_study(study_settings))
        stack.enter_context(signals_interrupt())
        with errors_in_one_line():
            # A storage that was asked for is opened before the folder is made, as it may not answer; the run's own is inside.
            given_storage = storage_url and settings.open_storage(storage_url, space)
            prepare()
            journal = stack.enter_context(Journal(folder / JOURNAL))
            # Decisions are in the journal before they count, so that a resumed run repeats them.
            kept = None if study is None else JournaledStudy(study, study_settings, journal.entries, journal)
            scheduler = settings.scheduler(space, kept)
            journaled = JournaledScheduler(scheduler, journal)  # replays the journal
            executor = make_executor(settings.executor_config, folder)
            storage = stack.enter_context(given_storage or settings.open_storage(default_url(folder), space))
        nothing = None if settings.no_stop else settings.plan_report.nothing_to_stop
        if nothing is not None:
            console.print(f"note  {nothing}", soft_wrap=True)
        known = f", after {plural(scheduler.epochs_trained, 'epoch')}" if journal.entries else ""
        console.print(f"Training {settings.program} in {folder}{known}", soft_wrap=True)
        interrupted, hopeless = False, ""
        try:
            interrupted = _train(journaled, executor, storage, console, settings)
        except AllFailAlike as error:
            hopeless = str(error)
        finally:
            # In any case: after Ctrl-C, and when a worker finds out that the script cannot be used.
            storage.update(scheduler.records)
            plot = write_results(
                scheduler,
                folder,
                metric=settings.metric,
                settings=asdict(settings),
                utilization=journaled.utilization,
            )
    if storage.error is not None:
        print_error(
            "warning: the Optuna storage could not be written; hyperband resume adds what it lacks. "
            f"The last error: {storage.error}"
        )
    return _conclude(journaled, folder, console, settings, plot, interrupted=interrupted, hopeless=hopeless)


def make_folder(folder: Path) -> None:
    """Make the folder of a new run.

    Args:
        folder: Folder to make, with its parents; an empty one may exist.

    Raises:
        ValueError: If it cannot be created or written, or is not empty.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: the out folder cannot be created: {error.strerror}") from None
    # Also an empty existing folder is fine: it may be a mount point.
    if any(folder.iterdir()):
        raise ValueError(f"{folder}: the out folder must be new or empty: a run would resume another run's checkpoints")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: the out folder must be writable")


def _train(
    journaled: JournaledScheduler[BracketScheduler],
    executor: OwnedExecutor,
    storage: RunStorage,
    console: Console,
    settings: RunSettings,
) -> bool:
    """Train until the run is over, Ctrl-C or a signal to end; return whether it was interrupted.

    Raises:
        AllFailAlike: If the first trials all failed alike.
    """
    loop = run_until_finished
    early = EarlyFailures(lambda: journaled.scheduler.records)

    def on_step() -> None:
        storage.update(journaled.scheduler.records)
        early.check()

    if settings.reproducible:
        loop = partial(run_in_completion_order, order=journaled.completion_order, n_workers=settings.workers)
    try:
        with ExitStack() as stack, errors_in_one_line(ScriptError):
            run_console = stack.enter_context(RunConsole(console, journaled.scheduler, metric=settings.metric))
            stack.enter_context(executor)
            journaled.begin(settings.workers)  # the clock of the utilization starts when all workers are ready
            dispatch_events(journaled, executor)  # events of the replayed journal: an earlier session printed them
            loop(
                journaled,
                executor,
                on_event=run_console.print_event,
                on_step=on_step,
            )
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt writing the results
        return True
    return False


def _conclude(
    run: JournaledScheduler[BracketScheduler],
    folder: Path,
    console: Console,
    settings: RunSettings,
    plot: Path,
    *,
    interrupted: bool,
    hopeless: str,
) -> int:
    """Print the result; return the exit status."""
    records = run.scheduler.records
    if hopeless or (not interrupted and all(record.state == "failed" for record in records)):
        # Without tables and a plot of nothing.
        reason = hopeless or f"no trial succeeded; the last failure: {records[-1].reason}"
        where = f"what they printed is in {folder / 'failures'}"
        go_on = f"; to try others all the same: hyperband resume {folder}" if hopeless else ""
        print_error(f"{reason}; {where}{go_on}")
        return EXIT_NOTHING_SUCCEEDED
    print_result(console, run.scheduler, metric=settings.metric, utilization=run.utilization)
    console.print(f"Plot of all curves: {plot}", soft_wrap=True)
    value = equal_values(records)
    if value is not None:
        cause = "is that what train yields?" if settings.command is None else f"is the pattern right: {settings.pattern!r}?"
        print_error(f"warning: all values of {settings.metric} are {value:g}: {cause}")
    if interrupted:
        print_error(f"interrupted; everything trained so far is kept; continue with: hyperband resume {folder}")
        return EXIT_INTERRUPTED
    return 0
