"""The `hyperband` command: trains a program's configurations, stops the hopeless ones, shows the result.

Exit status: 0 done; 1 no trial succeeded; 2 something to put right, said in one line; 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import optuna
import typer
from rich.console import Console

from curvestop.command_line import errors_in_one_line, print_error, run_app
from curvestop.hyperband.executors.factory import ENGINES, make_executor
from curvestop.hyperband.executors.train_command import METRIC_LINE
from curvestop.hyperband.run.background_study import BackgroundFitStudy
from curvestop.hyperband.run.blocking_study import BlockingStudy
from curvestop.hyperband.run.config_file import Config
from curvestop.hyperband.run.console import print_plan, print_result, print_rungs
from curvestop.hyperband.run.report import results_of
from curvestop.hyperband.run.run_folder import JOURNAL, SPACE, RunSettings, RunView, run_view
from curvestop.hyperband.run.session import OpenStudy, make_folder, run_session
from curvestop.hyperband.scheduler.brackets import brackets
from curvestop.hyperband.scheduler.sampler import SAMPLERS, SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space
from curvestop.srm.study import Study, StudyLike, StudySettings

FLUSH_TIMEOUT_S = 10.0
FOLLOW_S = 0.5

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False, rich_markup_mode=None)

MaxEpochs = Annotated[int, typer.Option(help="R: the most epochs any configuration is trained for.")]
Eta = Annotated[int, typer.Option(help="One configuration in eta is promoted to the next rung.")]
Iterations = Annotated[int, typer.Option(help="Consecutive runs of Hyperband; they share what was learnt of curves.")]
Kappa = Annotated[float, typer.Option(help="Inside a rung, beat the best kappa x (size of the next rung).")]
Token = Annotated[str | None, typer.Option(help="The server's token; better in the variable CURVESTOP_TOKEN.")]


@app.command()
def plan(max_epochs: MaxEpochs, eta: Eta = 3, iterations: Iterations = 1, kappa: Kappa = 0.5, config: Config = None) -> int:
    """Print the bracket table, its cost and what f-Hyperband may save of it; nothing runs.

    Example: hyperband plan --max-epochs 27 --eta 3 --iterations 4
    """
    with errors_in_one_line():
        table = brackets(max_epochs, eta=eta)
        if iterations < 1:
            raise ValueError(f"iterations must be >= 1, but got {iterations}")
        if not kappa > 0:
            raise ValueError(f"kappa must be > 0, but got {kappa}")
    print_plan(Console(), table, n_iterations=iterations, kappa=kappa)
    return 0


@app.command()
def run(
    space: Annotated[Path, typer.Option(help="The search space, a TOML file.")],
    max_epochs: MaxEpochs,
    script: Annotated[
        Path | None, typer.Argument(help="A Python file with train(configuration, checkpoint_dir).", show_default=False)
    ] = None,
    command: Annotated[
        str | None, typer.Option(help='In place of SCRIPT, any command line: "python train.py --lr {lr} --out {checkpoint_dir}".')
    ] = None,
    pattern: Annotated[str, typer.Option(help="Finds the metric in what the command prints.")] = METRIC_LINE,
    grace: Annotated[float, typer.Option(help="Seconds a command may take to end when it is stopped.")] = 10.0,
    eta: Eta = 3,
    iterations: Iterations = 1,
    mode: Annotated[str, typer.Option(help="sync: rung after rung; async: promote at once, so that no worker waits.")] = "sync",
    workers: Annotated[int, typer.Option(help="How many trials train at the same time.")] = 1,
    engine: Annotated[str, typer.Option(help=f"Where they train: {', '.join(ENGINES)}.")] = "local",
    hang_limit: Annotated[float | None, typer.Option(help="Seconds an epoch may take; then its worker is killed.")] = None,
    retries: Annotated[int, typer.Option(help="How often in a row a killed trial is tried again from its checkpoint.")] = 1,
    address: Annotated[str | None, typer.Option(help="With --engine ray: HOST:PORT; else one found or started.")] = None,
    cpus_per_trial: Annotated[float, typer.Option(help="With --engine ray: CPUs set aside for each trial.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(help="With --engine ray: GPUs set aside for each trial.")] = 0.0,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a server; without, in this process.")] = None,
    token: Token = None,
    sampler: Annotated[str, typer.Option(help=f"Optuna's sampler that draws configurations: {', '.join(SAMPLERS)}.")] = "random",
    seed: Annotated[int, typer.Option(help="Of the configurations that are drawn.")] = 0,
    storage: Annotated[str | None, typer.Option(help="URL of the Optuna storage; else optuna.db in the run's folder.")] = None,
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="The same table, whatever is fast, slow or killed; workers wait.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A new or empty folder for results and checkpoints.")] = None,
    threshold: Annotated[float, typer.Option(help="Delta: stop from this probability of being no better.")] = 0.9,
    tolerance: Annotated[float, typer.Option(help="delta: a final value within it of the one to beat is worth training.")] = 0.0,
    kappa: Kappa = 0.5,
    recall: Annotated[float, typer.Option(help="In [0, 1]: beat this quantile of what earlier rungs took, too.")] = 0.75,
    no_recall: Annotated[bool, typer.Option("--no-recall", help="Each rung for itself: Algorithm 2 to the letter.")] = False,
    min_curves: Annotated[int, typer.Option(help="d: complete curves before anything is predicted.")] = 20,
    direction: Annotated[str, typer.Option(help="maximize or minimize the metric.")] = "maximize",
    metric: Annotated[str, typer.Option(help="What is measured, for tables and plots.")] = "value",
    predictor: Annotated[str, typer.Option(help="How curves are predicted.")] = "stacked",
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Plain Hyperband.")] = False,
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be trained.")] = False,
) -> int:
    """Search for the best configuration of SCRIPT, or of a --command, with (f-)Hyperband.

    Example: hyperband run train.py --space space.toml --max-epochs 27 --workers 2

    Example: hyperband run --command "python train.py --lr {lr}" --pattern "val_acc=([0-9.]+)" --space space.toml --max-epochs 27
    """
    given = locals()
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = Path(command.split()[0]).name if script is None and command else Path(script or "run").stem
    folder = (out or Path("runs") / f"{name}-{started}").absolute()
    with errors_in_one_line():
        asked = {field.name: given[field.name] for field in fields(RunSettings) if field.name in given}
        del asked["script"]
        settings = RunSettings.from_options(script, {**asked, "study": f"{name}-{started}-{secrets.token_hex(4)}"})
        settings.check(space)
        make_executor(settings.executor_config, folder)
    console = Console()
    if dry_run:
        return _dry_run(settings, folder, console, space)

    def prepare() -> None:
        make_folder(folder)
        settings.save(folder, space)

    return run_session(settings, folder, console, space=space, open_study=_opened(settings, token, console), prepare=prepare)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="The folder of a run that was interrupted or killed.", show_default=False)],
    token: Token = None,
) -> int:
    """Go on with a run from where it was: its trials from their checkpoints, its decisions as they were taken.

    Example: hyperband resume runs/digits_mlp-20260101-120000
    """
    with errors_in_one_line():
        settings = RunSettings.load(folder)
        if settings.script is not None and not Path(settings.script).is_file():
            raise ValueError(f"{settings.script}: the run's training script must be where it was, but there is none")
    if settings.script_has_changed:
        print_error(f"warning: {settings.script} is not what it was when the run was started")
    console = Console()
    return run_session(settings, folder.absolute(), console, space=folder / SPACE, open_study=_opened(settings, token, console))


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The folder of a run, over or not.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show it again whenever it has gone on, until it is over.")] = False,
) -> int:
    """What a run has done so far: its brackets and rungs, the best configurations, the epochs saved.

    Example: hyperband show runs/digits_mlp-20260101-120000 --json
    """
    with errors_in_one_line():
        run = run_view(folder)
    if as_json:
        typer.echo(json.dumps(results_of(run.scheduler, asdict(run.settings), run.utilization)))
        return 0
    console = Console()
    if follow:
        run = _followed(folder, run, console)
    _print_run(console, run)
    rest = "The run is over." if run.scheduler.finished else f"The run is not over: hyperband resume {folder}"
    console.print(rest, soft_wrap=True)
    return 0


def _followed(folder: Path, run: RunView, console: Console) -> RunView:
    """As it is when it is over, or at Ctrl-C; until then it is shown on the whole screen."""
    size = -1
    with suppress(KeyboardInterrupt), console.screen() if console.is_terminal else nullcontext():
        while not run.scheduler.finished:
            now = (folder / JOURNAL).stat().st_size
            if now != size:
                run, size = run_view(folder), now
                if console.is_terminal:
                    console.clear()
                    _print_run(console, run)
            time.sleep(FOLLOW_S)
    return run


def _print_run(console: Console, run: RunView) -> None:
    print_rungs(console, run.scheduler)
    print_result(console, run.scheduler, metric=run.settings.metric, busy=run.utilization)


def main() -> None:
    """Entry point."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_app(app, "hyperband")


def _dry_run(settings: RunSettings, folder: Path, console: Console, space: Path) -> int:
    print_plan(console, brackets(settings.max_epochs, eta=settings.eta), n_iterations=settings.iterations, kappa=settings.kappa)
    first = SpaceSampler(load_space(space), kind=settings.sampler, seed=settings.seed).draw()
    for line in (f"Would train {settings.program} in {folder}", f"First configuration: {first}"):
        console.print(line, soft_wrap=True, highlight=False)
    return 0


def _opened(settings: RunSettings, token: str | None, console: Console) -> OpenStudy:
    return partial(_study, run=settings, token=token, console=console)


@contextmanager
def _study(settings: StudySettings, *, run: RunSettings, token: str | None, console: Console) -> Iterator[StudyLike]:
    """The study in this process, or the server's, whose answers were checked once."""
    if run.server is not None:
        with _served_study(settings, run.server, token, console, steady=run.reproducible) as study:
            yield study
    elif run.mode == "async" and not run.reproducible:
        with closing(BackgroundFitStudy(settings)) as study:
            yield study
    else:
        yield Study(settings)


@contextmanager
def _served_study(
    settings: StudySettings, server: str, token: str | None, console: Console, *, steady: bool
) -> Iterator[StudyLike]:
    from curvestop.clients.remote.remote_study import connect  # only here, as it loads gRPC

    with errors_in_one_line():
        study = connect(server, settings, token=token, strict=steady)
        logging.disable(logging.WARNING)  # what is wrong is said once, by the error
        try:
            study.check()
        finally:
            logging.disable(logging.NOTSET)
    console.print(f"Study {settings.name} on {server}", soft_wrap=True, highlight=False)
    try:
        yield BlockingStudy(study) if steady else study
    finally:
        if not study.flush(FLUSH_TIMEOUT_S):
            print_error(f"warning: {server} could not be reached at the end; not everything was sent (it is all in the folder)")
        study.close()


if __name__ == "__main__":
    main()
