"""`curvestop backtest`: parse the command line, read the runs, replay them, show the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from curvestop.clients.backtest.options import DELTAS, MARGINS, BacktestOptions
from curvestop.clients.backtest.readers.read_options import Layout, ReadOptions
from curvestop.clients.backtest.runs import Curves, ShortRuns, curves_of
from curvestop.command_line import errors_in_one_line, new_console
from curvestop.srm.policies.stopping_rule import BRITISH, Direction

if TYPE_CHECKING:
    from curvestop.clients.backtest.backtesting import Backtest

SourceKind = Literal["csv", "parquet", "optuna", "tensorboard", "wandb", "mlflow", "folder"]
SPELLINGS: Mapping[str, Direction] = {"maximize": "maximize", "minimize": "minimize", **BRITISH}
"""The spellings of --direction."""
WIDTH = 120
"""Width of the table, in characters, if the output is not a terminal."""


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="URL of an Optuna storage, CSV or Parquet file, folder of runs or TensorBoard logs, W&B export or mlruns."
        ),
    ],
    metric: Annotated[str | None, typer.Option(help="Column, tag or key of the metric. Required if there are several.")] = None,
    direction: Annotated[
        str | None,
        typer.Option(metavar="[maximize|minimize]", help="Default: the Optuna study's, or guessed from the metric's name."),
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Study in an Optuna storage that has several.")] = None,
    risk: Annotated[
        float,
        typer.Option(help="Share of the best runs that the recommended setting may lose; also the risk of the risk policy."),
    ] = BacktestOptions.risk,
    delta: Annotated[
        list[float] | None, typer.Option(help=f"Threshold of the threshold policy; repeatable.  [default: {DELTAS}]")
    ] = None,
    margin: Annotated[
        list[float] | None, typer.Option(help=f"Margin of the predictive-rank policy; repeatable.  [default: {MARGINS}]")
    ] = None,
    rule: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Python file with a rule of your own, stop(values, others, max_epochs); replayed, too."
        ),
    ] = None,
    orders: Annotated[
        int, typer.Option(min=1, help="Number of replays: the recorded order plus shuffles.")
    ] = BacktestOptions.orders,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the shuffled orders.")] = 0,
    max_epochs: Annotated[
        int | None,
        typer.Option(min=2, help="Number of epochs of a complete run.  [default: the largest that 5 runs reached]"),
    ] = None,
    short_runs: Annotated[
        ShortRuns,
        typer.Option(help="What shorter runs are if the source does not say: broken off (unfinished) or complete (finished)."),
    ] = "unfinished",
    kind: Annotated[SourceKind | None, typer.Option("--from", help="Kind of the source, if it is not recognized.")] = None,
    layout: Annotated[
        Layout | None, typer.Option(help="Layout of a table: long has a row for every epoch, wide a row for every run.")
    ] = None,
    trial_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column of a table that names the runs.")] = None,
    epoch_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column of a table with the epoch or step.")] = None,
    processes: Annotated[int, typer.Option(min=0, help="Number of processes; 0: two if there are many runs, else one.")] = 0,
    as_object: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an HTML report with figures to FILE.")] = None,
) -> None:
    """Replay recorded runs and print what stopping would have saved and lost. Needs no server."""
    from curvestop.clients.backtest.readers.detect import read  # imported here, so that `curvestop serve` starts without these
    from curvestop.clients.backtest.summary import as_json, show

    # The default policy's own risk is not `risk`, which bounds what is recommended and is that of policy "risk".
    read_options = ReadOptions(metric, layout, trial_column, epoch_column, study)
    with errors_in_one_line():
        # Everything that the user may have mistaken is checked before the source is read and replayed.
        options = BacktestOptions(orders, seed, tuple(delta or DELTAS), tuple(margin or MARGINS), risk, rule, processes)
        if rule is not None:
            from curvestop.clients.backtest.own_rule import OwnRule

            OwnRule(rule).load()
        goal = None if direction is None else checked_direction(direction)
        runs = read(source, read_options, kind=kind)
        curves = curves_of(runs, direction=goal, max_epochs=max_epochs, short_runs=short_runs)
        result = _backtest_with_progress(curves, options)
        if html is not None:
            from curvestop.clients.backtest.html_report import write_report

            write_report(result, html)
    if as_object:
        typer.echo(json.dumps(as_json(result), allow_nan=False))
        return
    # A pipe has no width: rich would take 80 columns, and the table would wrap.
    console = new_console()
    show(result, console if console.is_terminal else new_console(width=WIDTH))
    if html is not None:
        typer.echo(f"\nreport  {html}")


def _backtest_with_progress(curves: Curves, options: BacktestOptions) -> Backtest:
    """Run the backtest; on a terminal, standard error shows a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from curvestop.clients.backtest.backtesting import backtest

    columns = (TextColumn("replaying {task.fields[runs]:,} runs"), BarColumn(), TimeElapsedColumn())
    console = new_console(stderr=True)
    # On standard error, so that --json stays one object.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, runs=len(curves.curves))
        return backtest(curves, options, progress=lambda done, total: bar.update(task, completed=done, total=total))


def checked_direction(text: str) -> Direction:
    """Return the direction that --direction names.

    Args:
        text: What the user wrote.

    Raises:
        ValueError: If it is none of `SPELLINGS`.
    """
    if text not in SPELLINGS:
        raise ValueError(f"--direction must be maximize or minimize, but got {text!r}")
    return SPELLINGS[text]
