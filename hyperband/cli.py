"""The `hyperband` command: trains a program's configurations, stops the hopeless ones, and shows the best.

Exit status: 0: done; 1: no trial succeeded; 2: invalid input, explained in one line; 130: interrupted with Ctrl-C.
"""

from __future__ import annotations

import json
import logging
import os
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

from curvestop.command_line import common_options, errors_in_one_line, grouped_help, new_console, print_error, run_app
from curvestop.hyperband.executors.factory import ENGINES, make_executor
from curvestop.hyperband.executors.train_command import METRIC_LINE
from curvestop.hyperband.run.background_study import BackgroundFitStudy
from curvestop.hyperband.run.blocking_study import BlockingStudy
from curvestop.hyperband.run.config_file import Config
from curvestop.hyperband.run.console import print_result, print_rungs
from curvestop.hyperband.run.plan_report import PlanReport
from curvestop.hyperband.run.results import results_of
from curvestop.hyperband.run.run_folder import DEFAULTS, JOURNAL, SPACE, STORAGE_VARIABLE, RunSettings, RunView, planned, run_view
from curvestop.hyperband.run.session import OpenStudy, make_folder, run_session
from curvestop.hyperband.run.shared_study import SharedStudy
from curvestop.hyperband.run.study_options import (
    Policy,
    PolicySettings,
    Predictor,
    PredictorSettings,
    StudyName,
    Thesis,
    Token,
    Tolerance,
    names_of,
)
from curvestop.hyperband.scheduler.sampler import SAMPLERS, SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.study_like import ResumableStudy

# How long the end of a run waits until the server has everything.

# How often `show --follow` looks for new entries in the journal.
FOLLOW_INTERVAL_S = 0.5

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

MaxEpochs = Annotated[int, typer.Option(help="Most epochs that any configuration trains; the paper's R.")]
Eta = Annotated[int, typer.Option(help="One configuration in ETA is promoted to the next rung.")]
Mode = Annotated[
    str,
    typer.Option(
        help="asha: one bracket that spends --budget, promote at once; sync: Hyperband's brackets, promote when a rung is over; "
        "async: Hyperband's brackets, promote at once, so that no worker waits."
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(help="Epochs to spend with --mode asha, in full trainings of MAX-EPOCHS epochs each (default: 20)."),
]
Iterations = Annotated[
    int, typer.Option(help="Consecutive runs of Hyperband (--mode sync, async); they share the models of learning curves.")
]
Kappa = Annotated[
    float | None,
    typer.Option(
        help="Inside a rung, the value to beat is the (KAPPA x number that go on)-th best; higher stops less "
        "(default: 1; with sync and async 0.5)."
    ),
]
MinCurves = Annotated[int, typer.Option(help="Curves that must have reached an epoch before it is predicted; the paper's d.")]


app.callback()(common_options)


@app.command()
def plan(
    max_epochs: MaxEpochs,
    eta: Eta = 3,
    mode: Mode = "asha",
    budget: Budget = None,
    iterations: Iterations = 1,
    kappa: Kappa = None,
    min_curves: MinCurves = 20,
    config: Config = None,
) -> int:
    """Print the brackets, what they cost and what stopping may save.

    Nothing is trained.

    Example: hyperband plan --max-epochs 27 --budget 40

    Example: hyperband plan --max-epochs 27 --mode sync --iterations 4
    """
    with errors_in_one_line():
        table = planned(mode, max_epochs, eta=eta, budget=budget, iterations=iterations)
        kappa = DEFAULTS[mode]["kappa"] if kappa is None else kappa
        # The scheduler checks it, but `plan` makes none.
        if not kappa > 0:
            raise ValueError(f"kappa must be > 0, but got {kappa}")
        StoppingRule(min_curves=min_curves)  # checks it
    PlanReport(table, iterations, kappa, min_curves).show(new_console())
    return 0


RUN_GROUPS = {
    "What trains": ["space", "max_epochs", "metric", "direction", "command", "pattern", "grace"],
    "Schedule": ["mode", "budget", "eta", "iterations", "second_chances"],
    "Configurations": ["sampler", "seed", "storage"],
    "Workers": ["workers", "engine", "hang_limit", "retries", "address", "cpus_per_trial", "gpus_per_trial"],
    "Stopping": [
        *("server", "study", "token", "policy", "policy_settings", "predictor", "predictor_settings", "thesis", "no_stop"),
        *("threshold", "tolerance", "kappa", "recall", "no_recall", "min_curves"),
    ],
    "Run": ["out", "config", "reproducible", "dry_run"],
}


@app.command(cls=grouped_help(RUN_GROUPS))
def run(
    # What trains.
    space: Annotated[Path, typer.Option(help="Search space, a TOML file with a table for each parameter.")],
    max_epochs: MaxEpochs,
    script: Annotated[
        Path | None,
        typer.Argument(help="Training script: a Python file with train(configuration, checkpoint_dir).", show_default=False),
    ] = None,
    command: Annotated[
        str | None, typer.Option(help='Command to train in place of SCRIPT: "python train.py --lr {lr} --out {checkpoint_dir}".')
    ] = None,
    pattern: Annotated[str, typer.Option(help="Regular expression that finds the metric in the command's output.")] = METRIC_LINE,
    grace: Annotated[float, typer.Option(help="Seconds that a stopped command may take to end.")] = 10.0,
    # The schedule.
    eta: Eta = 3,
    iterations: Iterations = 1,
    mode: Mode = "asha",
    budget: Budget = None,
    second_chances: Annotated[
        str | None,
        typer.Option(
            help="Share of the epochs for stopped trials that may end as the best after all; they train on when a worker "
            "is idle and at the end (default: 5%; 0 with --no-stop, and for a --command without {checkpoint_dir})."
        ),
    ] = None,
    # The workers.
    workers: Annotated[int, typer.Option(help="Number of trials that train at the same time.")] = 1,
    engine: Annotated[str, typer.Option(help=f"Where the workers run: {', '.join(ENGINES)}.")] = "local",
    hang_limit: Annotated[
        float | None, typer.Option(help="Seconds that an epoch may take before its worker is killed (default: no limit).")
    ] = None,
    retries: Annotated[int, typer.Option(help="How often in a row a killed trial is retried from its checkpoint.")] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Address HOST:PORT of the Ray cluster (default: connect to a local cluster or start one)."),
    ] = None,
    cpus_per_trial: Annotated[float, typer.Option(help="CPUs that Ray or Slurm reserves for each trial.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(help="GPUs that Ray or Slurm reserves for each trial.")] = 0.0,
    # The study.
    server: Annotated[
        str | None, typer.Option(help="Address HOST:PORT of the server that predicts (default: predict in this process).")
    ] = None,
    study: StudyName = None,
    token: Token = None,
    # The configurations.
    sampler: Annotated[
        str, typer.Option(help=f"Optuna sampler that draws the configurations: {', '.join(SAMPLERS)}.")
    ] = "random",
    seed: Annotated[int, typer.Option(help="Random seed of the sampler.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar=STORAGE_VARIABLE,
            help="URL of the Optuna storage (default: optuna.db in the run's folder). Its password is not stored; the variable "
            f"{STORAGE_VARIABLE} keeps it out of the list of processes.",
        ),
    ] = None,
    # The run.
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="Make results independent of timing (workers wait for each other).")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results and checkpoints, new or empty (default: runs/NAME-TIME).")
    ] = None,
    # Stopping inside a rung.
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Stop a trial whose probability of not beating the value to beat reaches this; the paper's Delta "
            "(default: 0.95; with sync and async 0.9)."
        ),
    ] = None,
    tolerance: Tolerance = 0.0,
    kappa: Kappa = None,
    recall: Annotated[
        float,
        typer.Option(help="Quantile, 0 to 1, of earlier rungs' values to beat that counts in a new rung; higher stops more."),
    ] = 0.75,
    no_recall: Annotated[
        bool, typer.Option("--no-recall", help="Ignore earlier rungs, as the paper's Algorithm 2 does.")
    ] = False,
    min_curves: MinCurves = 20,
    direction: Annotated[str, typer.Option(help="maximize or minimize the metric.")] = "maximize",
    metric: Annotated[str, typer.Option(help="Name of the metric, for tables and plots.")] = "value",
    policy: Policy = None,
    policy_settings: PolicySettings = None,
    predictor: Predictor = "stacked",
    predictor_settings: PredictorSettings = None,
    thesis: Thesis = False,
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Run plain Hyperband: stop nothing inside a rung.")] = False,
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print what would be trained; train nothing.")
    ] = False,
) -> int:
    """Search for the best configuration of a script or a command.

    The configurations train in brackets and rungs, as in Hyperband; f-Hyperband also stops hopeless ones inside a rung. In rungs
    of MAX-EPOCHS a --policy decides in its place, if one is given.

    Example: hyperband run train.py --space space.toml --max-epochs 27 --workers 2

    Example: hyperband run --command "python train.py --lr {lr}" --pattern "val_acc=([0-9.]+)" --space space.toml --max-epochs 27
    """
    arguments = locals()  # first, while they are the only locals
    started = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = Path(command.split()[0]).name if script is None and command else Path(script or "run").stem
    folder = (out or Path("runs") / f"{name}-{started}").absolute()
    with errors_in_one_line():
        options = {field.name: arguments[field.name] for field in fields(RunSettings) if field.name in arguments}
        del options["script"]
        # The name must be new on a server, where another run may start in the same second.
        names = names_of(f"{name}-{started}-{secrets.token_hex(4)}", study, server)
        settings = RunSettings.from_options(script, {**options, **names})
        # Mistakes in the settings are found here, before a folder, a study or a worker exists.
        settings.check(space)
        make_executor(settings.executor_config, folder)  # checks its arguments; no worker starts
    console = new_console()
    if dry_run:
        return _dry_run(settings, folder, console, space)

    def prepare() -> None:
        make_folder(folder)
        settings.save(folder, space)

    open_study = partial(_open_study, run=settings, token=token, console=console)
    return run_session(settings, folder, console, space=space, open_study=open_study, prepare=prepare, storage_url=storage)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="Folder of a run that was interrupted or killed.", show_default=False)],
    token: Token = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help=f"URL of the run's Optuna storage once more, if it has a password; or the variable {STORAGE_VARIABLE}."
        ),
    ] = None,
) -> int:
    """Continue a run that was interrupted or killed.

    Trials continue from their checkpoints; decisions stay as they were made.

    Example: hyperband resume runs/digits_mlp-20260101-120000
    """
    with errors_in_one_line():
        settings = RunSettings.load(folder)
        if settings.script is not None and not Path(settings.script).is_file():
            raise ValueError(f"training script not found: {settings.script}; a run resumes with the script it was started with")
        storage_url = settings.storage_url(storage, variable=os.environ.get(STORAGE_VARIABLE))
    # Only a warning: the change may be what makes the run work.
    if settings.script_has_changed:
        print_error(f"warning: {settings.script} has changed since the run was started")
    console = new_console()
    open_study: OpenStudy = partial(_open_study, run=settings, token=token, console=console)
    return run_session(settings, folder.absolute(), console, space=folder / SPACE, open_study=open_study, storage_url=storage_url)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, over or not.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print again whenever the run has progressed, until it is over.")
    ] = False,
) -> int:
    """Show the brackets, best configurations and saved epochs so far.

    Example: hyperband show runs/digits_mlp-20260101-120000 --json
    """
    with errors_in_one_line():
        run = run_view(folder)
    if as_json:
        # Not through rich, which would wrap the line.
        typer.echo(json.dumps(results_of(run.scheduler, asdict(run.settings), run.utilization)))
        return 0
    console = new_console()
    if follow:
        run = _follow(folder, run, console)
    _print_run(console, run)
    rest = "The run is over." if run.scheduler.finished else f"The run is not over; continue it with: hyperband resume {folder}"
    console.print(rest, soft_wrap=True)
    return 0


def _follow(folder: Path, run: RunView, console: Console) -> RunView:
    """Show a run on the whole screen until it is over or Ctrl-C; return its last state."""
    shown_size = -1
    with suppress(KeyboardInterrupt), console.screen() if console.is_terminal else nullcontext():
        while not run.scheduler.finished:
            size = (folder / JOURNAL).stat().st_size
            if size != shown_size:
                run, shown_size = run_view(folder), size
                if console.is_terminal:
                    console.clear()
                    _print_run(console, run)
            time.sleep(FOLLOW_INTERVAL_S)
    return run


def _print_run(console: Console, run: RunView) -> None:
    print_rungs(console, run.scheduler)
    print_result(console, run.scheduler, metric=run.settings.metric, utilization=run.utilization)


def main() -> None:
    """Run the `hyperband` command; the entry point."""
    # Optuna would log every trial that the sampler draws.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_app(app, "hyperband")


def _dry_run(settings: RunSettings, folder: Path, console: Console, space: Path) -> int:
    settings.plan_report.show(console)
    # The first draw of the same sampler and seed: what the run would begin with.
    first = SpaceSampler(load_space(space), kind=settings.sampler, seed=settings.seed).draw()
    chances = f"Second chances: at most {settings.second_chances:.3g} of the epochs, for trials that were stopped"
    would = f"Would train {settings.program} in {folder}"
    for line in (would, *([chances] if settings.second_chances else []), f"First configuration: {first}"):
        console.print(line, soft_wrap=True)
    return 0


@contextmanager
def _open_study(settings: StudySettings, *, run: RunSettings, token: str | None, console: Console) -> Iterator[ResumableStudy]:
    """Open the run's study on its server, or in this process."""
    if run.server is not None:
        with _open_remote_study(settings, run.server, token, console, reproducible=run.reproducible) as study:
            yield SharedStudy(study, run.prefix) if run.prefix else study
    elif run.mode != "sync" and not run.reproducible:
        # In these modes no worker waits, so neither must a decision wait for a fit.
        with closing(BackgroundFitStudy(settings)) as study:
            yield study
    else:  # fits on the spot: a decision depends only on what was reported
        yield Study(settings)


@contextmanager
def _open_remote_study(
    settings: StudySettings, server: str, token: str | None, console: Console, *, reproducible: bool
) -> Iterator[ResumableStudy]:
    """Open a study on a server that answers; at the end, send everything that waits."""
    from curvestop.clients.remote.remote_study import connect  # imported here because it loads gRPC

    with errors_in_one_line():
        study = connect(server, settings, token=token, strict=reproducible)
        logging.disable(logging.WARNING)  # the error below says what is wrong; a warning would say it twice
        try:
            study.check()
        finally:
            logging.disable(logging.NOTSET)
    console.print(f"Study {settings.name} on {server}", soft_wrap=True)
    with study:
        yield BlockingStudy(study) if reproducible else study


if __name__ == "__main__":
    main()
