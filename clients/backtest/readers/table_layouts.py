"""Runs from a table: long (a row for every epoch of a run), wide (a row for every run), or a chart exported from W&B.

The names of the columns tell the layout. Columns that do not change within any run are the runs' configuration.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from curvestop.clients.backtest.readers.curvestop_export import is_export, runs_of_export
from curvestop.clients.backtest.readers.names import (
    EPOCH,
    EXPORT_OF_WANDB,
    KEY,
    TRIAL,
    VALUE,
    best_step,
    is_clock,
    is_step,
    run_name,
)
from curvestop.clients.backtest.readers.read_options import ReadOptions, choose, listed
from curvestop.clients.backtest.readers.run_columns import RunColumns
from curvestop.clients.backtest.readers.table import Table, is_number
from curvestop.clients.backtest.readers.wandb_chart import is_chart, runs_of_chart
from curvestop.clients.backtest.runs import Runs, no_curves, run_of
from curvestop.srm.plural import plural

_NUMBERED = re.compile(r"^(?P<prefix>.*?)(?P<number>\d+)$")


def runs_of_table(table: Table, options: ReadOptions) -> Runs:
    """Return the runs of a table in whatever layout it has.

    Args:
        table: The table.
        options: Layout and columns that the user named; the others are found by the names of the columns.

    Raises:
        ValueError: If the table is empty, its layout is not recognized, or a row does not fit; the error names the line.
    """
    if table.n_rows == 0:
        raise ValueError(f"{table.source} has no rows")
    # An export has columns "trial", "epoch" and "value" too, so it must be tried before "long".
    if is_export(table):
        return runs_of_export(table)
    if options.layout is None and is_chart(list(table.columns)):
        return runs_of_chart(table, options)
    steps = _step_columns(table, options)
    _check_for_curves(table, steps)
    layout = options.layout or ("long" if steps else "wide")
    if layout == "wide":
        return _read_wide(table, options)
    if not steps:
        known = listed(table.columns)
        raise ValueError(f"{table.source} has no column of epochs: choose one with --epoch-column NAME from {known}")
    return _read_long(table, options, steps)


_TABLE_OF_WANDB = {"Name", "State", "Created", "Runtime"}
_FINAL_VALUES = (
    ({"number", "state"}, "datetime_", "this is trials_dataframe() of Optuna; give the storage instead: sqlite:///FILE"),
    ({"number", "state"}, "params_", "this is trials_dataframe() of Optuna; give the storage instead: sqlite:///FILE"),
    ({"run_id"}, "metrics.", "this is search_runs() of MLflow; give the mlruns folder instead"),
    ({"Run ID"}, "Start Time", "this is the table of runs of MLflow; give the mlruns folder instead"),
)
"""Tables of final values: columns, the beginning of a further one, and how to get the curves."""


def _check_for_curves(table: Table, steps: Sequence[str]) -> None:
    """Raise an error if the table is known to have final values only."""
    names = set(table.columns)
    if names >= _TABLE_OF_WANDB:  # also with a column of steps, which has each run's last one
        raise no_curves(table.source, f"this is the table of runs of W&B; {EXPORT_OF_WANDB}")
    for columns, beginning, how in _FINAL_VALUES:
        if not steps and names >= columns and any(name.startswith(beginning) for name in names):
            raise no_curves(table.source, how)


def _have_curves(table: Table, steps: Sequence[str], rows: Mapping[str, list[int]]) -> bool:
    """Return whether a run has several steps, or several rows of which the steps were never given."""
    cells = [[table.columns[name][row] for row in its] for name in steps for its in rows.values()]
    return any(len(set(its)) > 1 or (len(its) > 1 and str(its[0]) in ("0", "0.0")) for its in cells)


def _step_columns(table: Table, options: ReadOptions) -> list[str]:
    """Return the columns that may count steps: the chosen one, else those with a usual name."""
    chosen = table.find((), options.epoch)
    return [chosen] if chosen else [name for name in table.columns if is_step(name)]


# Long: a row for every epoch.


def _read_long(table: Table, options: ReadOptions, steps: Sequence[str]) -> Runs:
    trial = table.find(TRIAL, options.trial)
    rows = _rows_by_run(table, trial)
    if len(rows) > 1 and not _have_curves(table, steps, rows):
        raise no_curves(table.source)
    key = table.find(KEY)
    # Unless "metric" is the very column that the user chose, such a column names the metric of each row.
    if key is not None and table.find(VALUE) is not None and key != options.metric:
        return _read_keys(table, options, rows, steps, key)
    for its in rows.values():
        _check_for_one_run(table, steps, trial, its)
    others = [name for name in table.columns if name != trial and name not in steps]
    fixed = [name for name in others if _is_fixed(table.columns[name], rows)]
    metric = _metric(table, options, [name for name in others if name not in fixed])
    points = _points_by_run(table, steps, metric, rows)
    settings = RunColumns(table, [name for name in fixed if name != metric], len(rows))
    runs = [run_of(name, settings.configuration(its), points[name], settings.end(its)) for name, its in rows.items()]
    return Runs(table.source, tuple(runs), metric, left_out=settings.left_out)


def _rows_by_run(table: Table, trial: str | None) -> dict[str, list[int]]:
    """Return the rows of each run by its name; without a column that names runs, the file is one run."""
    if trial is None:
        return {run_name(Path(table.source)): list(range(table.n_rows))}
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(table.columns[trial]):
        if cell is None:
            raise ValueError(f"{table.source}, {table.where(row)}: {trial} must name a run, but is empty")
        rows[str(cell)].append(row)
    return dict(rows)


def _check_for_one_run(table: Table, steps: Sequence[str], trial: str | None, rows: Sequence[int]) -> None:
    """Raise an error if the rows of a run are of several: their steps begin again, and with them another column changes."""
    counted = [_step_or_none(table.columns[steps[0]][row]) for row in rows]
    known = [step for step in counted if step is not None]
    begins = [at for at, (earlier, later) in enumerate(pairwise(known), start=1) if later < earlier]
    pieces = [rows[start:end] for start, end in pairwise([0, *begins, len(known)])]
    if not begins or len(known) < len(rows) or min(map(len, pieces)) < 2:
        return
    for name in table.columns:
        cells = [{table.columns[name][row] for row in piece} for piece in pieces]
        if not is_clock(name) and all(len(its) == 1 for its in cells) and len(set.union(*cells)) > 1:
            one = "has no column of runs, but its steps begin" if trial is None else f"has rows of one {trial} whose steps begin"
            raise ValueError(
                f"{table.source} {one} again {plural(len(begins), 'time')} with another {name}: choose a column that names the "
                f"runs with --trial-column NAME from {listed(table.columns)}"
            )


def _read_keys(table: Table, options: ReadOptions, rows: Mapping[str, list[int]], steps: Sequence[str], key: str) -> Runs:
    """Read a table with a row for every value of every metric, whose name is in the column `key`."""
    value = table.find(VALUE) or ""
    names = list(dict.fromkeys(str(cell) for cell in table.columns[key] if cell is not None))
    metric = choose(names, options.metric, source=table.source)
    of_metric = {name: [row for row in its if str(table.columns[key][row]) == metric] for name, its in rows.items()}
    points = _points_by_run(table, steps, value, of_metric)
    return Runs(table.source, tuple(run_of(name, {}, points[name]) for name in rows), metric)


Points = Mapping[str, list[tuple[float, float]]]
"""The (step, value) pairs of each run by its name."""


def _points_by_run(table: Table, steps: Sequence[str], metric: str, rows: Mapping[str, list[int]]) -> Points:
    """Return the (step, value) pairs of each run in the order in which they were recorded."""
    with_value = {name: [row for row in its if table.columns[metric][row] is not None] for name, its in rows.items()}

    def numbers(name: str) -> Iterator[list[float | None]]:
        return ([_step_or_none(table.columns[name][row]) for row in its] for its in with_value.values())

    step = best_step(steps, numbers) if len(steps) > 1 else steps[0]
    assert step is not None  # there is a column of steps
    points = {name: [table.point(step, metric, row) for row in its] for name, its in with_value.items()}
    # Runs that begin again go back rarely; where most rows do, they are sorted by something else.
    moves = [later[0] - earlier[0] for its in points.values() for earlier, later in pairwise(its)]
    in_order = sum(move < 0 for move in moves) <= len(moves) / 3
    for name, its in points.items():
        ordered = list(zip(its, with_value[name], strict=True))
        if not in_order:
            ordered.sort(key=lambda item: item[0][0])
        _check_for_one_value(table, step, metric, ordered)
        points[name] = [point for point, _ in ordered]
    return points


def _step_or_none(cell: Any) -> float | None:
    return float(cell) if cell is not None and is_number(cell) else None


def _check_for_one_value(table: Table, epoch: str, metric: str, points: Sequence[tuple[tuple[float, float], int]]) -> None:
    """Raise an error if most steps of a run have several values: then they are of several runs. Each point has its row."""
    several = [
        (earlier, later, row)
        for (earlier, _), (later, row) in pairwise(points)
        if later[0] == earlier[0] and later[1] != earlier[1] and not math.isnan(later[1])
    ]
    n_steps = len({step for (step, _), _ in points})
    if 2 * len(several) < n_steps or all(step == 0 for (step, _), _ in points):  # a step was trained again, or none was given
        return
    (step, first), (_, second), row = several[0]
    raise ValueError(
        f"{table.source}, {table.where(row)}: a run must have one {metric} at {epoch} {step:g}, but got {first!r} and {second!r}"
    )


def _is_fixed(cells: Sequence[Any], rows: Mapping[str, list[int]]) -> bool:
    """Return whether a column has one value in each run."""
    return all(len({cells[row] for row in its} - {None}) <= 1 for its in rows.values())


def _metric(table: Table, options: ReadOptions, changing: Sequence[str]) -> str:
    """Return the metric's column: the chosen one, one called "value", or the only numeric one that changes within runs."""
    named = table.find(VALUE, options.metric)
    if named is not None:
        return named
    numeric = [name for name in changing if not is_clock(name) and _is_numeric(table, name)]
    return choose(numeric, None, source=table.source)


def _is_numeric(table: Table, name: str) -> bool:
    """Return whether at least half of a column's cells are numbers: a few others are mistakes, which are errors later."""
    cells = [cell for cell in table.columns[name] if cell is not None]
    return sum(map(is_number, cells)) >= len(cells) / 2


# Wide: a row for every run.


def _read_wide(table: Table, options: ReadOptions) -> Runs:
    prefix, epochs = _numbered_columns(table, options)
    trial = table.find(TRIAL, options.trial)
    rows = {str(row) if trial is None else str(table.columns[trial][row]): row for row in range(table.n_rows)}
    if len(rows) < table.n_rows:
        raise ValueError(f"{table.source}: every row must have its own {trial}, but {table.n_rows} rows have {len(rows)}")
    others = [name for name in table.columns if name not in epochs.values() and name != trial]
    # Everything but the epochs and the name is configuration.
    settings = RunColumns(table, others, len(rows))
    runs = [
        run_of(name, settings.configuration([row]), _row_points(table, epochs, row), settings.end([row]))
        for name, row in rows.items()
    ]
    return Runs(table.source, tuple(runs), prefix.strip(" _-./[") or "value", left_out=settings.left_out)


def _row_points(table: Table, epochs: Mapping[int, str], row: int) -> list[tuple[float, float]]:
    """Return the (epoch, value) pairs of a row up to its last number: after that the run had ended."""
    values = [(float(epoch), table.number(name, row)) for epoch, name in epochs.items()]
    while values and (values[-1][1] is None or math.isnan(values[-1][1])):
        values.pop()
    return [(epoch, value) for epoch, value in values if value is not None]


def _is_one_row_a_run(table: Table, options: ReadOptions) -> bool:
    trial = table.find(TRIAL, options.trial)
    return trial is not None and len(set(table.columns[trial])) == table.n_rows > 1


def _numbered_columns(table: Table, options: ReadOptions) -> tuple[str, dict[int, str]]:
    """Return the largest group of columns that differ in the number at their end: their prefix, and names by number."""
    groups: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for name in table.columns:
        if match := _NUMBERED.match(name.strip()):
            groups[match["prefix"]][int(match["number"])] = name
    if options.metric is not None:
        # "val_acc" and "val_acc_" both mean the columns val_acc_1, val_acc_2, ...
        chosen = {p: g for p, g in groups.items() if p.strip(" _-./[") == options.metric or p == options.metric}
        groups = defaultdict(dict, chosen)
    prefix, epochs = max(groups.items(), key=lambda item: len(item[1]), default=("", {}))
    if len(epochs) < 2 and _is_one_row_a_run(table, options):
        raise no_curves(table.source)
    if len(epochs) < 2:  # one column is no curve: "layer_1" alone is a hyper-parameter
        raise ValueError(
            f"{table.source} must have a column of epochs (named {', '.join(EPOCH[:3])}) or a column for each epoch (named like "
            f"val_acc_1, val_acc_2), but has {listed(table.columns)}"
        )
    return prefix, dict(sorted(epochs.items()))
