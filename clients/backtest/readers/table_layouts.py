"""Runs from a table: long (a row for every epoch of a run), wide (a row for every run), or a chart exported from W&B.

The names of the columns tell the layout. Columns that do not change within any run are the runs' configuration.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from curvestop.clients.backtest.readers.curvestop_export import is_export, runs_of_export
from curvestop.clients.backtest.readers.read_options import ReadOptions, choose, listed
from curvestop.clients.backtest.readers.table import Table, is_number, typed
from curvestop.clients.backtest.runs import RunEnd, Runs, run_of

TRIAL = (
    "trial",
    "trial_id",
    "trial_number",
    "trial_name",
    "run",
    "run_id",
    "run_uuid",
    "run_name",
    "name",
    "id",
    "number",
    "config_id",
)
"""Names of a column that names the runs. All names are compared in lower case and without a leading "_"."""
EPOCH = ("epoch", "step", "global_step", "iteration", "training_iteration", "iter", "round")
"""Names of a column of epochs."""
STATE = ("state", "status")
"""Names of a column that tells how a run ended."""
KEY = ("key", "tag", "metric")
"""Names of a column of metric names, in a table that has a row for every value of every metric."""
VALUE = ("value", "metric_value")
"""Names of the column of values in such a table."""
CLOCK = re.compile(r"time|date|created|duration|runtime|relative", re.I)
"""A column with such a name has times: neither a metric nor a hyper-parameter."""
FINISHED = {"finished", "complete", "completed", "success", "succeeded", "terminated"}
"""States of a run that ended by itself."""
_NUMBERED = re.compile(r"^(?P<prefix>.*?)(?P<number>\d+)$")
_MAX_CATEGORIES = 20
"""A text column with more distinct values than this, and than half of the runs, labels the runs: it is no hyper-parameter."""


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
    if options.layout is None and _is_chart(table):
        return _read_chart(table, options)
    epoch = table.find(EPOCH, options.epoch)
    layout = options.layout or ("long" if epoch is not None else "wide")
    if layout == "wide":
        return _read_wide(table, options)
    trial = table.find(TRIAL, options.trial)
    if trial is None or epoch is None:
        what, option = ("runs", "--trial-column") if trial is None else ("epochs", "--epoch-column")
        raise ValueError(f"{table.source} has no column of {what}: choose one with {option} NAME from {listed(table.columns)}")
    return _read_long(table, options, trial, epoch)


# Long: a row for every epoch.


def _read_long(table: Table, options: ReadOptions, trial: str, epoch: str) -> Runs:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(table.columns[trial]):
        if cell is None:
            raise ValueError(f"{table.source}, {table.where(row)}: {trial} must name a run, but is empty")
        rows[str(cell)].append(row)
    key = table.find(KEY)
    # Unless "metric" is the very column that the user chose, such a column names the metric of each row.
    if key is not None and table.find(VALUE) is not None and key != options.metric:
        return _read_keys(table, options, rows, epoch, key)
    others = [name for name in table.columns if name not in (trial, epoch)]
    fixed = [name for name in others if _is_fixed(table.columns[name], rows)]
    metric = _metric(table, options, [name for name in others if name not in fixed])
    first_rows = {name: its[0] for name, its in rows.items()}
    settings = _RunColumns(table, [name for name in fixed if name != metric], first_rows)
    runs = [
        run_of(name, settings.configuration(its), _points(table, epoch, metric, its), settings.end(its))
        for name, its in rows.items()
    ]
    return Runs(table.source, tuple(runs), metric, left_out=settings.left_out)


def _read_keys(table: Table, options: ReadOptions, rows: Mapping[str, list[int]], epoch: str, key: str) -> Runs:
    """Read a table with a row for every value of every metric, whose name is in the column `key`."""
    value = table.find(VALUE) or ""
    names = list(dict.fromkeys(str(cell) for cell in table.columns[key] if cell is not None))
    metric = choose(names, options.metric, source=table.source)
    runs = [
        run_of(name, {}, _points(table, epoch, value, [row for row in its if str(table.columns[key][row]) == metric]))
        for name, its in rows.items()
    ]
    return Runs(table.source, tuple(runs), metric)


def _points(table: Table, epoch: str, metric: str, rows: Sequence[int]) -> list[tuple[float, float]]:
    """Return the (epoch, value) pairs of one run; rows without a value are skipped."""
    known: dict[float, float] = {}
    for row in rows:
        value = table.number(metric, row)
        if value is None:
            continue
        step = table.number(epoch, row)
        if step is None or not math.isfinite(step):
            raise ValueError(f"{table.source}, {table.where(row)}: {epoch} must be a finite number, but got {step!r}")
        if known.setdefault(step, value) != value and not math.isnan(value):  # one value may stand in several rows
            both = f"{known[step]!r} and {value!r}"
            raise ValueError(
                f"{table.source}, {table.where(row)}: a run must have one {metric} at {epoch} {step:g}, but got {both}"
            )
    return list(known.items())


def _is_fixed(cells: Sequence[Any], rows: Mapping[str, list[int]]) -> bool:
    """Return whether a column has one value in each run."""
    return all(len({cells[row] for row in its} - {None}) <= 1 for its in rows.values())


def _metric(table: Table, options: ReadOptions, changing: Sequence[str]) -> str:
    """Return the metric's column: the chosen one, one called "value", or the only numeric one that changes within runs."""
    named = table.find(VALUE, options.metric)
    if named is not None:
        return named
    numeric = [name for name in changing if not CLOCK.search(name) and _is_numeric(table, name)]
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
    settings = _RunColumns(table, others, rows)
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
    if len(epochs) < 2:  # one column is no curve: "layer_1" alone is a hyper-parameter
        raise ValueError(
            f"{table.source} must have a column of epochs (named {', '.join(EPOCH[:3])}) or a column for each epoch (named like "
            f"val_acc_1, val_acc_2), but has {listed(table.columns)}"
        )
    return prefix, dict(sorted(epochs.items()))


# A chart of W&B: a row for every step, columns named "RUN - METRIC", each with two more that end in __MIN and __MAX.


def _is_chart(table: Table) -> bool:
    first, *others = table.columns
    return (
        first.lower() in ("step", "epoch", "relative time (process)") and bool(others) and all(" - " in name for name in others)
    )


def _read_chart(table: Table, options: ReadOptions) -> Runs:
    step, *others = table.columns
    # From the right: a run's name may contain " - ".
    run_and_metric = [name.rsplit(" - ", 1) for name in others if not name.endswith(("__MIN", "__MAX"))]
    metrics = list(dict.fromkeys(m for _, m in run_and_metric if m not in ("_step", step)))
    metric = choose(metrics, options.metric, source=table.source)
    rows = range(table.n_rows)  # of all runs: a run has no value in the rows of others, and these are skipped
    runs = [run_of(run, {}, _points(table, step, f"{run} - {m}", rows)) for run, m in run_and_metric if m == metric]
    return Runs(table.source, tuple(runs), metric)


class _RunColumns:
    """The columns that do not change within a run: its configuration, and its state.

    Args:
        table: The table.
        names: The columns.
        first_rows: Name of a run -> one of its rows.

    Attributes:
        left_out: Columns that are no hyper-parameters and why, for people.
    """

    def __init__(self, table: Table, names: Sequence[str], first_rows: Mapping[str, int]) -> None:
        state = table.find(STATE)
        columns = {name: typed(table.columns[name]) for name in names if name != state and not CLOCK.search(name)}
        texts = {name: {cell for cell in cells if isinstance(cell, str)} for name, cells in columns.items()}
        labels = [name for name, its in texts.items() if len(its) > max(_MAX_CATEGORIES, len(first_rows) / 2)]
        self._columns = {name: cells for name, cells in columns.items() if name not in labels}
        self._states = table.columns[state] if state else None
        self.left_out = tuple(f"{name}: a different text in nearly every run" for name in labels)

    def configuration(self, rows: Sequence[int]) -> dict[str, bool | int | float | str]:
        """Return the configuration of the run that has these rows."""
        found: dict[str, bool | int | float | str] = {}
        for name, cells in self._columns.items():
            known = [cells[row] for row in rows if cells[row] is not None]
            if known:
                found[name] = known[0]
        return found

    def end(self, rows: Sequence[int]) -> RunEnd:
        """Return how the run that has these rows ended, by its last state."""
        if self._states is None:
            return end_of(None)
        return end_of(next((str(self._states[row]) for row in reversed(rows) if self._states[row]), None))


def end_of(state: str | None) -> RunEnd:
    """Return how a run ended, from its source's word for its state; None if the source has no word.

    Args:
        state: The word, in any case and with or without a class before a dot; see `FINISHED`.

    Examples:
        >>> end_of("TrialState.COMPLETE"), end_of("crashed"), end_of(None)
        ('finished', 'unfinished', 'unknown')
    """
    if state is None:
        return "unknown"
    return "finished" if state.rsplit(".", 1)[-1].lower() in FINISHED else "unfinished"
