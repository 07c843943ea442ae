"""`curvestop backtest`: parse, read, replay, show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from curvestop.clients.backtest.options import DELTAS, MARGINS, Plan
from curvestop.clients.backtest.readers.tables import Layout, Wanted
from curvestop.clients.backtest.runs import Curves, ShortRuns, curves_of
from curvestop.command_line import errors_in_one_line
from curvestop.srm.policies.stopping_rule import Direction

if TYPE_CHECKING:
    from curvestop.clients.backtest.backtesting import Backtest

Kind = Literal["csv", "parquet", "optuna", "tensorboard", "wandb", "mlflow"]
Way = Literal["maximize", "minimize", "maximize", "minimize"]
WIDTH = 110
"""Of the table where there is no terminal."""


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="URL of an Optuna storage, CSV, Parquet, folder of TensorBoard logs, W&B export (JSON, CSV), mlruns."
        ),
    ],
    metric: Annotated[str | None, typer.Option(help="Column, tag or key; needed where there are several.")] = None,
    direction: Annotated[Way | None, typer.Option(help="Else of the Optuna study, or by the metric's name.")] = None,
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Of an Optuna storage with several.")] = None,
    risk: Annotated[float, typer.Option(help="Share of the best runs that may be lost, for the recommendation.")] = Plan.risk,
    delta: Annotated[list[float] | None, typer.Option(help=f"Of the threshold policy.  [default: {DELTAS}]")] = None,
    margin: Annotated[list[float] | None, typer.Option(help=f"Of the default policy.  [default: {MARGINS}]")] = None,
    orders: Annotated[int, typer.Option(min=1, help="The runs' own order, and shuffled ones.")] = Plan.orders,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffled orders.")] = 0,
    max_epochs: Annotated[int | None, typer.Option(min=2, help="Of a whole run.  [default: as many as 5 runs reached]")] = None,
    short_runs: Annotated[
        ShortRuns, typer.Option(help="What shorter runs are where the source does not say: broken off, or ended by themselves.")
    ] = "unfinished",
    kind: Annotated[Kind | None, typer.Option("--from", help="What the source is, if it is not recognised.")] = None,
    layout: Annotated[Layout | None, typer.Option(help="Of a table: a row for every epoch, or for every run.")] = None,
    trial_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a table: names the runs.")] = None,
    epoch_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a table: the epoch or step.")] = None,
    processes: Annotated[int, typer.Option(min=0, help="0: two for more than a few runs.")] = 0,
    as_object: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report with figures.")] = None,
) -> None:
    """Say what stopping would have saved, and lost, on runs that there are already. Needs no server."""
    from rich.console import Console  # these only here, so that `curvestop serve` starts without them

    from curvestop.clients.backtest.readers.detect import read
    from curvestop.clients.backtest.summary import as_json, show

    wanted = Wanted(metric, layout, trial_column, epoch_column, study)
    with errors_in_one_line():
        plan = Plan(orders, seed, tuple(delta or DELTAS), tuple(margin or MARGINS), risk, processes)
        curves = curves_of(
            read(source, wanted, kind=kind), direction=_direction(direction), max_epochs=max_epochs, short_runs=short_runs
        )
        result = _with_progress(curves, plan)
        if html is not None:
            from curvestop.clients.backtest.html_report import write_report

            write_report(result, html)
    if as_object:
        typer.echo(json.dumps(as_json(result), allow_nan=False))
        return
    console = Console()
    show(result, console if console.is_terminal else Console(width=WIDTH))
    if html is not None:
        typer.echo(f"\nreport  {html}")


def _with_progress(curves: Curves, plan: Plan) -> Backtest:
    """On standard error, and only on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from curvestop.clients.backtest.backtesting import backtest

    columns, console = (
        (TextColumn("replaying {task.fields[runs]:,} runs"), BarColumn(), TimeElapsedColumn()),
        Console(stderr=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None, runs=len(curves.curves))
        return backtest(curves, plan, tell=lambda done, of: progress.update(task, completed=done, total=of))


def _direction(way: Way | None) -> Direction | None:
    if way is None:
        return None
    return "maximize" if way.startswith("max") else "minimize"
