"""The `hyperband` command: trains a script's configurations, stops the hopeless ones, shows the result."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import optuna
import typer
from rich.console import Console

from curvestop.hyperband.display import Display, print_plan, print_result, print_rungs
from curvestop.hyperband.driving import drive, pass_on
from curvestop.hyperband.fhyperband import FHyperband
from curvestop.hyperband.journal import Journal, JournaledScheduler, JournaledStudy
from curvestop.hyperband.report import results_of, write_results
from curvestop.hyperband.run_folder import JOURNAL, SPACE, RunSettings, scheduler_of
from curvestop.hyperband.runner import LocalExecutor, ScriptError
from curvestop.hyperband.schedule import brackets
from curvestop.srm.study import Study, StudyLike, StudySettings

FLUSH_TIMEOUT_S = 10.0
EXIT_NOTHING_SUCCEEDED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

MaxEpochs = Annotated[int, typer.Option(help="R: the most epochs any configuration is trained for.")]
Eta = Annotated[int, typer.Option(help="One configuration in eta is promoted to the next rung.")]
Iterations = Annotated[int, typer.Option(help="Consecutive runs of Hyperband; they share what was learnt of curves.")]


class BadInput(Exception):
    """Something the person who typed the command has to put right; told on one line."""


@app.command()
def plan(max_epochs: MaxEpochs, eta: Eta = 3, iterations: Iterations = 1) -> int:
    """Print the bracket table and its cost; nothing runs."""
    with _input_errors():
        table = brackets(max_epochs, eta=eta)
        if iterations < 1:
            raise ValueError(f"iterations must be >= 1, but got {iterations}")
    print_plan(Console(), table, n_iterations=iterations)
    return 0


@app.command()
def run(
    script: Annotated[Path, typer.Argument(help="A Python file with train(configuration, checkpoint_dir).", show_default=False)],
    space: Annotated[Path, typer.Option(help="The search space, a TOML file.")],
    max_epochs: MaxEpochs,
    eta: Eta = 3,
    workers: Annotated[int, typer.Option(help="Processes that train at the same time.")] = 1,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a server; without, in this process.")] = None,
    token: Annotated[str | None, typer.Option(help="The server's token; better in the variable CURVESTOP_TOKEN.")] = None,
    seed: Annotated[int, typer.Option(help="Of the configurations that are drawn.")] = 0,
    iterations: Iterations = 1,
    out: Annotated[Path | None, typer.Option(help="A new or empty folder for results and checkpoints.")] = None,
    threshold: Annotated[float, typer.Option(help="Delta: stop from this probability of being no better.")] = 0.9,
    tolerance: Annotated[float, typer.Option(help="delta: a final value within it of the one to beat is worth training.")] = 0.0,
    kappa: Annotated[float, typer.Option(help="Inside a rung, beat the best kappa x (size of the next rung).")] = 0.5,
    recall: Annotated[float, typer.Option(help="In [0, 1]: beat this quantile of what earlier rungs took, too.")] = 0.75,
    no_recall: Annotated[bool, typer.Option("--no-recall", help="Each rung for itself: Algorithm 2 to the letter.")] = False,
    min_curves: Annotated[int, typer.Option(help="d: complete curves before anything is predicted.")] = 20,
    direction: Annotated[str, typer.Option(help="maximise or minimise the metric.")] = "maximise",
    metric: Annotated[str, typer.Option(help="What train yields, for tables and plots.")] = "value",
    predictor: Annotated[str, typer.Option(help="How curves are predicted.")] = "stacked",
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Plain Hyperband.")] = False,
) -> int:
    """Search for the best configuration of SCRIPT with (f-)Hyperband."""
    asked = {k: v for k, v in locals().items() if k not in ("script", "space", "token", "out")}
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = (out or Path("runs") / f"{script.stem}-{started}").absolute()
    with _input_errors():
        settings = RunSettings.of(script, {**asked, "study": f"{script.stem}-{started}-{secrets.token_hex(4)}"})
        settings.study_settings(space)  # what is wrong with the settings is said before anything is made
        settings.scheduler(space, None)
        LocalExecutor(script, workers, folder=folder)

    def prepare() -> None:
        _make_folder(folder)
        settings.save(folder, space)

    return _go(settings, folder, token, space=space, prepare=prepare)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="The folder of a run that was interrupted or killed.", show_default=False)],
    token: Annotated[str | None, typer.Option(help="The server's token; better in the variable CURVESTOP_TOKEN.")] = None,
) -> int:
    """Go on with a run from where it was: its trials from their checkpoints, its decisions as they were taken.

    Example: hyperband resume runs/digits_mlp-20260101-120000
    """
    with _input_errors():
        settings = RunSettings.load(folder)
        if not Path(settings.script).is_file():
            raise ValueError(f"{settings.script}: the run's training script must be where it was, but there is none")
    if settings.script_has_changed:
        _complain(f"warning: {settings.script} is not what it was when the run was started")
    return _go(settings, folder.absolute(), token, space=folder / SPACE)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, over or not.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> int:
    """What a run has done so far: its brackets and rungs, the best configurations, the epochs saved.

    Example: hyperband show runs/digits_mlp-20260101-120000 --json
    """
    with _input_errors():
        settings, scheduler = scheduler_of(folder)
    if as_json:
        typer.echo(json.dumps(results_of(scheduler, asdict(settings))))
        return 0
    console = Console()
    print_rungs(console, scheduler)
    print_result(console, scheduler, metric=settings.metric)
    console.print("The run is over." if scheduler.finished else f"The run is not over: hyperband resume {folder}", soft_wrap=True)
    return 0


def _go(
    settings: RunSettings, folder: Path, token: str | None, *, space: Path, prepare: Callable[[], None] = lambda: None
) -> int:
    """Begin a run, or go on with it. prepare: makes its folder, once the server is known to answer."""
    console = Console()
    with _input_errors():
        study_settings = settings.study_settings(space)
    with ExitStack() as stack:
        study = stack.enter_context(_study(None if settings.no_stop else study_settings, settings.server, token, console))
        with _input_errors():
            prepare()
            journal = stack.enter_context(Journal(folder / JOURNAL))
            kept = None if study is None else JournaledStudy(study, study_settings, journal.entries, journal)
            scheduler = settings.scheduler(space, kept)
            journaled = JournaledScheduler(scheduler, journal)
            executor = LocalExecutor(Path(settings.script), settings.workers, folder=folder)
        known = f", after {scheduler.epochs_trained} epochs" if journal.entries else ""
        console.print(f"Training {settings.script} in {folder}{known}", soft_wrap=True, highlight=False)
        interrupted = _train(journaled, executor, console, settings)
    return _conclude(scheduler, folder, console, settings.metric, interrupted)


def _train(journaled: JournaledScheduler, executor: LocalExecutor, console: Console, settings: RunSettings) -> bool:
    """Run to the end, or to Ctrl-C (True). What was trained is written in any case."""
    try:
        with ExitStack() as stack, _input_errors((ScriptError,)):
            display = stack.enter_context(Display(console, journaled.scheduler, metric=settings.metric))
            stack.enter_context(executor)
            pass_on(journaled, executor)  # what was told again needs no second line
            drive(journaled, executor, on_event=display.tell)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut short the writing
        return True
    finally:
        write_results(journaled.scheduler, executor.folder, metric=settings.metric, settings=asdict(settings))
    return False


def _conclude(scheduler: FHyperband, folder: Path, console: Console, metric: str, interrupted: bool) -> int:
    print_result(console, scheduler, metric=metric)
    console.print(f"Plot of all curves: {folder / 'curves.html'}", soft_wrap=True, highlight=False)
    if interrupted:
        _complain(f"interrupted: what was trained so far is kept; go on with: hyperband resume {folder}")
        return EXIT_INTERRUPTED
    if all(record.state == "failed" for record in scheduler.records):
        _complain(f"no trial succeeded; tracebacks are in {folder / 'failures'}")
        return EXIT_NOTHING_SUCCEEDED
    return 0


def main() -> None:
    """Entry point; mistakes of the command line are one line on stderr and exit status 2."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        status = typer.main.get_command(app).main(prog_name="hyperband", standalone_mode=False)
    except BadInput as error:
        _complain(str(error))
        status = EXIT_BAD_INPUT
    except typer.Abort:
        status = EXIT_INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # what all of Click's usage errors have, from whichever package they come
            raise
        _complain(f"{error.format_message()} (see --help)")
        status = EXIT_BAD_INPUT
    sys.exit(status)


@contextmanager
def _input_errors(kinds: tuple[type[Exception], ...] = (ValueError, OSError)) -> Iterator[None]:
    """Turn errors that name a value and a rule into `BadInput`."""
    try:
        yield
    except kinds as error:
        raise BadInput(" ".join(str(error).split())) from None


@contextmanager
def _study(settings: StudySettings | None, server: str | None, token: str | None, console: Console) -> Iterator[StudyLike | None]:
    """No study for plain Hyperband, one in this process, or the server's, whose answers were checked once."""
    if settings is None or server is None:
        yield None if settings is None else Study(settings)
        return
    from curvestop.clients.client import connect  # only here, as it loads gRPC

    with _input_errors():
        study = connect(server, settings, token=token)
        study.check()
    console.print(f"Study {settings.name} on {server}", soft_wrap=True, highlight=False)
    try:
        yield study
    finally:
        if not study.flush(FLUSH_TIMEOUT_S):
            _complain(f"warning: {server} could not be reached at the end; not everything was sent (it is all in the folder)")
        study.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: the out folder must be one that can be made: {error.strerror}") from None
    if any(folder.iterdir()):
        raise ValueError(f"{folder}: the out folder must be new or empty, so that no checkpoints of another run are taken up")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: the out folder must be writable")


def _complain(line: str) -> None:
    typer.echo(f"hyperband: {line}", err=True)


if __name__ == "__main__":
    main()
