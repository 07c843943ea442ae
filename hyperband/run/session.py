"""One run from its first epoch, or from where it was, to its last: what `hyperband run` and `hyperband resume` share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from curvestop.command_line import EXIT_INTERRUPTED, EXIT_NOTHING_SUCCEEDED, errors_in_one_line, print_error
from curvestop.hyperband.executors.base import OwnedExecutor, ScriptError
from curvestop.hyperband.executors.factory import make_executor
from curvestop.hyperband.run.console import RunConsole, print_result
from curvestop.hyperband.run.journal import Journal, JournaledScheduler, JournaledStudy
from curvestop.hyperband.run.optuna_storage import RunStorage, default_url
from curvestop.hyperband.run.report import write_results
from curvestop.hyperband.run.run_folder import JOURNAL, RunSettings
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.run_loop import dispatch_events, run_in_completion_order, run_until_finished
from curvestop.srm.plural import plural
from curvestop.srm.study import StudyLike, StudySettings

OpenStudy = Callable[[StudySettings], AbstractContextManager[StudyLike]]
"""The study in this process, or on a server that answered."""


def run_session(
    settings: RunSettings,
    folder: Path,
    console: Console,
    *,
    space: Path,
    open_study: OpenStudy,
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Begin a run, or go on with it; returns the exit status. prepare: makes its folder, once the server is known to answer."""
    with errors_in_one_line():
        study_settings = settings.study_settings(space)
    with ExitStack() as stack:
        study = None if settings.no_stop else stack.enter_context(open_study(study_settings))
        with errors_in_one_line():
            elsewhere = settings.storage and settings.open_storage(settings.storage, space)
            prepare()
            journal = stack.enter_context(Journal(folder / JOURNAL))
            kept = None if study is None else JournaledStudy(study, study_settings, journal.entries, journal)
            scheduler = settings.scheduler(space, kept)
            journaled = JournaledScheduler(scheduler, journal)
            executor = make_executor(settings.executor_config, folder)
            storage = stack.enter_context(elsewhere or settings.open_storage(default_url(folder), space))
        known = f", after {plural(scheduler.epochs_trained, 'epoch')}" if journal.entries else ""
        console.print(f"Training {settings.program} in {folder}{known}", soft_wrap=True, highlight=False)
        interrupted = _train(journaled, executor, storage, console, settings)
    if storage.trouble is not None:
        print_error(
            f"warning: the Optuna storage could not be written (hyperband resume writes what it lacks): {storage.trouble}"
        )
    return _conclude(journaled, folder, console, settings.metric, interrupted)


def make_folder(folder: Path) -> None:
    """Raises ValueError unless it can be made, or is there and empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: the out folder must be one that can be made: {error.strerror}") from None
    if any(folder.iterdir()):
        raise ValueError(f"{folder}: the out folder must be new or empty, so that no checkpoints of another run are taken up")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: the out folder must be writable")


def _train(
    journaled: JournaledScheduler[BracketScheduler],
    executor: OwnedExecutor,
    storage: RunStorage,
    console: Console,
    settings: RunSettings,
) -> bool:
    """Run to the end, or to Ctrl-C (True). What was trained is written in any case."""
    try:
        with ExitStack() as stack, errors_in_one_line(ScriptError):
            display = stack.enter_context(RunConsole(console, journaled.scheduler, metric=settings.metric))
            stack.enter_context(executor)
            journaled.begin(settings.workers)
            dispatch_events(journaled, executor)  # what was told again needs no second line
            way = partial(run_in_completion_order, turns=journaled.completion_order, n_workers=settings.workers) if settings.reproducible else run_until_finished
            way(journaled, executor, on_event=display.tell, on_step=lambda: storage.note(journaled.scheduler.records))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut short the writing
        return True
    finally:
        storage.note(journaled.scheduler.records)
        write_results(
            journaled.scheduler, executor.folder, metric=settings.metric, settings=asdict(settings), busy=journaled.utilization
        )
    return False


def _conclude(run: JournaledScheduler[BracketScheduler], folder: Path, console: Console, metric: str, interrupted: bool) -> int:
    print_result(console, run.scheduler, metric=metric, busy=run.utilization)
    console.print(f"Plot of all curves: {folder / 'curves.html'}", soft_wrap=True, highlight=False)
    if interrupted:
        print_error(f"interrupted: what was trained so far is kept; go on with: hyperband resume {folder}")
        return EXIT_INTERRUPTED
    if all(record.state == "failed" for record in run.scheduler.records):
        print_error(f"no trial succeeded; tracebacks are in {folder / 'failures'}")
        return EXIT_NOTHING_SUCCEEDED
    return 0
