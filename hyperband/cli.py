"""The `hyperband` command: trains a script's configurations, stops the hopeless ones, shows the result."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, cast

import optuna
import typer
from rich.console import Console

from curvestop.hyperband.display import Display, print_plan, print_result
from curvestop.hyperband.fhyperband import FHyperband
from curvestop.hyperband.report import write_results
from curvestop.hyperband.runner import LocalExecutor, ScriptError, drive
from curvestop.hyperband.schedule import brackets
from curvestop.hyperband.space import load_space, log_scaled, sampler
from curvestop.srm.stopping import Direction, StoppingRule
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
    threshold: Annotated[float, typer.Option(help="Delta: stop from this probability of being no better.")] = 0.95,
    tolerance: Annotated[float, typer.Option(help="delta: a final value within it of the one to beat is worth training.")] = 0.0,
    kappa: Annotated[float, typer.Option(help="Inside a rung, beat the best kappa x (size of the next rung).")] = 1.0,
    min_curves: Annotated[int, typer.Option(help="d: complete curves before anything is predicted.")] = 20,
    direction: Annotated[str, typer.Option(help="maximise or minimise the metric.")] = "maximise",
    metric: Annotated[str, typer.Option(help="What train yields, for tables and plots.")] = "value",
    predictor: Annotated[str, typer.Option(help="How curves are predicted.")] = "stacked",
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Plain Hyperband.")] = False,
) -> int:
    """Search for the best configuration of SCRIPT with (f-)Hyperband."""
    options = {k: str(v) if isinstance(v, Path) else v for k, v in locals().items() if k != "token"}
    console = Console()
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    with _input_errors():
        if not script.is_file():
            raise ValueError(f"{script}: the training script must be a Python file, but there is none")
        distributions = load_space(space)
        settings = StudySettings(
            name=f"{script.stem}-{started}-{secrets.token_hex(4)}",
            max_epochs=max_epochs,
            metric=metric,
            direction=cast(Direction, direction),
            rule=StoppingRule(threshold=threshold, tolerance=tolerance, min_curves=min_curves),
            predictor=predictor,
            log_scaled=log_scaled(distributions),
        )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if seed < 0:
            raise ValueError(f"seed must be >= 0, but got {seed}")
        draw = sampler(distributions, seed=seed)
        executor = LocalExecutor(script, workers, folder=out or Path("runs") / f"{script.stem}-{started}")
        brackets(max_epochs, eta=eta)
    with _study(None if no_stop else settings, server, token, console) as study:
        with _input_errors():
            scheduler = FHyperband(
                draw,
                max_epochs=max_epochs,
                eta=eta,
                study=study,
                direction=settings.direction,
                kappa=kappa,
                n_iterations=iterations,
            )
            _make_folder(executor.folder)
        console.print(f"Training {script} in {executor.folder}", soft_wrap=True, highlight=False)
        interrupted = _train(scheduler, executor, console, metric, {**options, "study": asdict(settings)})
    return _conclude(scheduler, executor.folder, console, metric, interrupted)


def _train(
    scheduler: FHyperband, executor: LocalExecutor, console: Console, metric: str, options: dict[str, object]
) -> bool:
    """Run to the end, or to Ctrl-C (True). What was trained is written in any case."""
    try:
        with ExitStack() as stack, _input_errors((ScriptError,)):
            display = stack.enter_context(Display(console, scheduler, metric=metric))
            stack.enter_context(executor)
            drive(scheduler, executor, on_event=display.tell)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut short the writing
        return True
    finally:
        write_results(scheduler, executor.folder, metric=metric, settings=options)
    return False


def _conclude(scheduler: FHyperband, folder: Path, console: Console, metric: str, interrupted: bool) -> int:
    print_result(console, scheduler, metric=metric)
    console.print(f"Plot of all curves: {folder / 'curves.html'}", soft_wrap=True, highlight=False)
    if interrupted:
        _complain("interrupted: what was trained so far is kept")
        return EXIT_INTERRUPTED
    if all(record.state == "failed" for record in scheduler.records):
        _complain(f"no trial succeeded; tracebacks are in {folder / 'failures'}")
        return EXIT_NOTHING_SUCCEEDED
    return 0


def main() -> None:
    """Entry point; mistakes of the command line are one line on stderr and exit status 2."""
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
