"""Runs in a table: long (a row for every epoch of a run), wide (a row for every run), or a chart as Weights & Biases exports it.

The layout is told by the names of the columns. Columns that do not change within any run are its configuration.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from curvestop.clients.backtest.readers.curvestop_export import is_export, runs_of_export
from curvestop.clients.backtest.runs import End, Runs, run_of

Layout = Literal["long", "wide"]

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
EPOCH = ("epoch", "step", "global_step", "iteration", "training_iteration", "iter", "round")
STATE = ("state", "status")
KEY = ("key", "tag", "metric")
VALUE = ("value", "metric_value")
CLOCK = re.compile(r"time|date|created|duration|runtime|relative", re.I)
FINISHED = {"finished", "complete", "completed", "success", "succeeded", "terminated"}
_NUMBERED = re.compile(r"^(?P<prefix>.*?)(?P<number>\d+)$")
_MANY_TEXTS = 20
"""A column with more different texts than this, and than half of the runs, names the runs and tells nothing of others."""


@dataclass(frozen=True)
class Wanted:
    """What the user said about a source; None where it is to be found out.

    metric: column, tag or key. trial, epoch: names of columns. study: of an Optuna storage.
    """

    metric: str | None = None
    layout: Layout | None = None
    trial: str | None = None
    epoch: str | None = None
    study: str | None = None


@dataclass(frozen=True)
class Table:
    """columns: name -> cells, None where one is empty, texts in a CSV file. place: of a row, for people: "line 7"."""

    source: str
    columns: Mapping[str, Sequence[Any]]
    place: Callable[[int], str]

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def find(self, known: Sequence[str], wanted: str | None = None) -> str | None:
        """The wanted column, or the first one with a known name. Raises ValueError when the wanted one is not there."""
        if wanted is not None and wanted not in self.columns:
            raise ValueError(f"{self.source} has no column {wanted!r}, but {_listed(self.columns)}")
        by_name = {name.lower().lstrip("_"): name for name in reversed(list(self.columns))}
        return wanted or next((by_name[name] for name in known if name in by_name), None)

    def number(self, name: str, row: int) -> float | None:
        """None for an empty cell. Raises ValueError for what is no number."""
        cell = self.columns[name][row]
        try:
            return None if cell is None else float(cell)
        except (TypeError, ValueError):
            raise ValueError(f"{self.source}, {self.place(row)}: {name} must be a number, but got {cell!r}") from None


def typed(cells: Sequence[Any]) -> list[Any]:
    """Cells of a configuration: true and false if all are, numbers if all are, texts otherwise; None stays."""
    told = {cell for cell in cells if cell is not None}
    if told <= {"True", "False", "true", "false"}:
        return [None if cell is None else cell in ("True", "true") for cell in cells]
    try:
        numbers = {cell: cell if isinstance(cell, bool | int | float) else float(cell) for cell in told}
    except (TypeError, ValueError):
        return [None if cell is None else str(cell) for cell in cells]
    return [None if cell is None else numbers[cell] for cell in cells]


def runs_of_table(table: Table, wanted: Wanted) -> Runs:
    """Raises ValueError for a table in which no layout is recognised, and for a row that does not fit it, with its place."""
    if table.n_rows == 0:
        raise ValueError(f"{table.source} has no rows")
    if is_export(table):
        return runs_of_export(table)
    if wanted.layout is None and _is_chart(table):
        return _of_chart(table, wanted)
    epoch = table.find(EPOCH, wanted.epoch)
    layout = wanted.layout or ("long" if epoch is not None else "wide")
    if layout == "wide":
        return _of_wide(table, wanted)
    trial = table.find(TRIAL, wanted.trial)
    if trial is None or epoch is None:
        what, option = ("runs", "--trial-column") if trial is None else ("epochs", "--epoch-column")
        raise ValueError(f"{table.source} has no column that names {what}: {option}, one of {_listed(table.columns)}")
    return _of_long(table, wanted, trial, epoch)


# Long: a row for every epoch.


def _of_long(table: Table, wanted: Wanted, trial: str, epoch: str) -> Runs:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, cell in enumerate(table.columns[trial]):
        if cell is None:
            raise ValueError(f"{table.source}, {table.place(row)}: {trial} must name a run, but is empty")
        rows[str(cell)].append(row)
    key = table.find(KEY)
    if key is not None and table.find(VALUE) is not None and key != wanted.metric:
        return _of_keys(table, wanted, rows, epoch, key)
    others = [name for name in table.columns if name not in (trial, epoch)]
    fixed = [name for name in others if _is_fixed(table.columns[name], rows)]
    metric = _metric(table, wanted, [name for name in others if name not in fixed])
    settings = _Settings(table, [name for name in fixed if name != metric], {name: some[0] for name, some in rows.items()})
    runs = [
        run_of(name, settings.of(name, some), _points(table, epoch, metric, some), settings.ended(some))
        for name, some in rows.items()
    ]
    return Runs(table.source, tuple(runs), metric, left_out=settings.left_out)


def _of_keys(table: Table, wanted: Wanted, rows: Mapping[str, list[int]], epoch: str, key: str) -> Runs:
    """A row for every value of any metric, whose name is in the column `key`."""
    value = table.find(VALUE) or ""
    names = list(dict.fromkeys(str(cell) for cell in table.columns[key] if cell is not None))
    metric = one_of(names, wanted.metric, source=table.source)
    runs = [
        run_of(name, {}, _points(table, epoch, value, [row for row in some if str(table.columns[key][row]) == metric]))
        for name, some in rows.items()
    ]
    return Runs(table.source, tuple(runs), metric)


def _points(table: Table, epoch: str, metric: str, rows: Sequence[int]) -> list[tuple[float, float]]:
    known: dict[float, float] = {}
    for row in rows:
        value = table.number(metric, row)
        if value is None:
            continue
        step = table.number(epoch, row)
        if step is None or not math.isfinite(step):
            raise ValueError(f"{table.source}, {table.place(row)}: {epoch} must be a finite number, but got {step!r}")
        if known.setdefault(step, value) != value and not math.isnan(value):
            twice = f"{known[step]!r} and {value!r}"
            raise ValueError(
                f"{table.source}, {table.place(row)}: a run must have one {metric} at {epoch} {step:g}, but got {twice}"
            )
    return list(known.items())


def _is_fixed(cells: Sequence[Any], rows: Mapping[str, list[int]]) -> bool:
    return all(len({cells[row] for row in some} - {None}) <= 1 for some in rows.values())


def _metric(table: Table, wanted: Wanted, changing: Sequence[str]) -> str:
    named = table.find(VALUE, wanted.metric)
    if named is not None:
        return named
    return one_of([name for name in changing if not CLOCK.search(name) and _is_numeric(table, name)], None, source=table.source)


def _is_numeric(table: Table, name: str) -> bool:
    """Whether half of its cells are numbers: one that is not is a mistake to be told."""
    told = [cell for cell in table.columns[name] if cell is not None]
    return sum(map(is_number, told)) >= len(told) / 2


def is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def one_of(names: Sequence[str], wanted: str | None, *, source: str, what: str = "metric") -> str:
    """The wanted metric, or the only one. Raises ValueError when it is not there, and when there are none or several."""
    if wanted is not None and wanted not in names:
        raise ValueError(f"{source} has no {what} {wanted!r}, but {_listed(names)}")
    if wanted is None and len(names) != 1:
        raise ValueError(f"{source} must have one {what}, or --{what} NAME must say which, but it has {_listed(names)}")
    return wanted or names[0]


# Wide: a row for every run.


def _of_wide(table: Table, wanted: Wanted) -> Runs:
    prefix, epochs = _numbered(table, wanted)
    trial = table.find(TRIAL, wanted.trial)
    named = {str(row) if trial is None else str(table.columns[trial][row]): row for row in range(table.n_rows)}
    if len(named) < table.n_rows:
        raise ValueError(f"{table.source}: every row must have a {trial} of its own, but {table.n_rows} rows have {len(named)}")
    rest = [name for name in table.columns if name not in epochs.values() and name != trial]
    settings = _Settings(table, rest, named)
    runs = [
        run_of(name, settings.of(name, [row]), _across(table, epochs, row), settings.ended([row])) for name, row in named.items()
    ]
    return Runs(table.source, tuple(runs), prefix.strip(" _-./[") or "value", left_out=settings.left_out)


def _across(table: Table, epochs: Mapping[int, str], row: int) -> list[tuple[float, float]]:
    """The values of a row; after the last one that is a number the run had ended."""
    values = [(float(epoch), table.number(name, row)) for epoch, name in epochs.items()]
    while values and (values[-1][1] is None or math.isnan(values[-1][1])):
        values.pop()
    return [(epoch, value) for epoch, value in values if value is not None]


def _numbered(table: Table, wanted: Wanted) -> tuple[str, dict[int, str]]:
    """The largest group of columns that differ in the number at their end: what they begin with, and names by number."""
    groups: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for name in table.columns:
        if match := _NUMBERED.match(name.strip()):
            groups[match["prefix"]][int(match["number"])] = name
    if wanted.metric is not None:
        groups = defaultdict(dict, {p: g for p, g in groups.items() if p.strip(" _-./[") == wanted.metric or p == wanted.metric})
    prefix, epochs = max(groups.items(), key=lambda item: len(item[1]), default=("", {}))
    if len(epochs) < 2:
        raise ValueError(
            f"{table.source} must have a column of epochs (named like {', '.join(EPOCH[:3])}), or a column for each epoch "
            f"(named like val_acc_1, val_acc_2), but it has {_listed(table.columns)}"
        )
    return prefix, dict(sorted(epochs.items()))


# A chart of Weights & Biases: a row for every step, columns named "RUN - METRIC", beside them the same with __MIN and __MAX.


def _is_chart(table: Table) -> bool:
    first, *others = table.columns
    return (
        first.lower() in ("step", "epoch", "relative time (process)") and bool(others) and all(" - " in name for name in others)
    )


def _of_chart(table: Table, wanted: Wanted) -> Runs:
    step, *others = table.columns
    plain = [name.rsplit(" - ", 1) for name in others if not name.endswith(("__MIN", "__MAX"))]
    metric = one_of(list(dict.fromkeys(m for _, m in plain if m not in ("_step", step))), wanted.metric, source=table.source)
    rows = range(table.n_rows)
    runs = [run_of(name, {}, _points(table, step, f"{name} - {m}", rows)) for name, m in plain if m == metric]
    return Runs(table.source, tuple(runs), metric)


class _Settings:
    """Configurations and states from columns that do not change within a run. named: a row of each run."""

    def __init__(self, table: Table, names: Sequence[str], named: Mapping[str, int]) -> None:
        self._state = table.find(STATE)
        columns = {name: typed(table.columns[name]) for name in names if name != self._state and not CLOCK.search(name)}
        texts = {name: {cell for cell in cells if isinstance(cell, str)} for name, cells in columns.items()}
        labels = [name for name, its in texts.items() if len(its) > max(_MANY_TEXTS, len(named) / 2)]
        self._columns = {name: cells for name, cells in columns.items() if name not in labels}
        self._states = table.columns[self._state] if self._state else None
        self.left_out = tuple(f"{name}: a text of nearly every run's own" for name in labels)

    def of(self, name: str, rows: Sequence[int]) -> dict[str, bool | int | float | str]:
        found = {
            column: next((cells[row] for row in rows if cells[row] is not None), None) for column, cells in self._columns.items()
        }
        return {column: value for column, value in found.items() if value is not None}

    def ended(self, rows: Sequence[int]) -> End:
        told = None if self._states is None else next((str(self._states[r]) for r in reversed(rows) if self._states[r]), None)
        return end_of(told)


def end_of(state: str | None) -> End:
    """What a word for a run's state means here."""
    if state is None:
        return "unknown"
    return "finished" if state.rsplit(".", 1)[-1].lower() in FINISHED else "unfinished"


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    some = list(names)
    return ", ".join(some[:12]) + (f" and {len(some) - 12} more" if len(some) > 12 else "") if some else "none"
