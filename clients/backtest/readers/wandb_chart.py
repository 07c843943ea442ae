"""Runs from a chart exported from W&B as CSV: a row for every place on the x axis, and columns named "RUN - METRIC".

Most columns have two more that end in __MIN and __MAX.
"""

from __future__ import annotations

from collections.abc import Sequence

from curvestop.clients.backtest.readers.names import is_step
from curvestop.clients.backtest.readers.read_options import ReadOptions, choose
from curvestop.clients.backtest.readers.table import Table
from curvestop.clients.backtest.runs import Runs, run_of

_BOUNDS = ("__MIN", "__MAX")


def is_chart(names: Sequence[str]) -> bool:
    """Return whether a table with these columns is a chart of W&B, whatever its x axis.

    Args:
        names: The names of the columns.
    """
    parts = [name.rsplit(" - ", 1) for name in names[1:]]
    # A number behind the dash is an epoch of a table with a row for each run.
    return bool(parts) and all(len(its) == 2 and not its[1].isdigit() for its in parts)


def runs_of_chart(table: Table, options: ReadOptions) -> Runs:
    """Return the runs of a chart.

    Args:
        table: A table for which `is_chart` is true.
        options: Only `metric` is used.

    Raises:
        ValueError: If the metric cannot be chosen, or a cell is no number.
    """
    step, *others = table.columns
    # From the right: a run's name may contain " - ".
    run_and_metric = [name.rsplit(" - ", 1) for name in others if not name.endswith(_BOUNDS)]
    metrics = list(dict.fromkeys(m for _, m in run_and_metric if m != step and not is_step(m)))
    metric = choose(metrics, options.metric, source=table.source)
    rows = range(table.n_rows)  # of all runs: a run has no value in the rows of others, and these are skipped
    runs = []
    for run, m in run_and_metric:
        if m == metric:
            column = f"{run} - {m}"
            points = [table.point(step, column, row) for row in rows if table.columns[column][row] is not None]
            runs.append(run_of(run, {}, points))
    return Runs(table.source, tuple(runs), metric)
