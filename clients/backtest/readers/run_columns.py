"""The configurations of runs, from columns that do not change within a run; and how the runs ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curvestop.clients.backtest.readers.names import STATE, is_clock
from curvestop.clients.backtest.readers.table import Table, typed
from curvestop.clients.backtest.runs import RunEnd

FINISHED = {"finished", "complete", "completed", "success", "succeeded", "terminated"}
"""States of a run that ended by itself."""
_MAX_CATEGORIES = 20
"""A text column with more distinct values than this, and than half of the runs, labels the runs: it is no hyper-parameter."""


class RunColumns:
    """The columns that do not change within a run: its configuration, and its state.

    Args:
        table: The table.
        names: The columns.
        n_runs: Number of runs.

    Attributes:
        left_out: Columns that are no hyper-parameters and why, for people.
    """

    def __init__(self, table: Table, names: Sequence[str], n_runs: int) -> None:
        state = table.find(STATE)
        columns = {name: typed(table.columns[name]) for name in names if name != state and not is_clock(name)}
        texts = {name: {cell for cell in cells if isinstance(cell, str)} for name, cells in columns.items()}
        labels = [name for name, its in texts.items() if len(its) > max(_MAX_CATEGORIES, n_runs / 2)]
        self._columns = {name: cells for name, cells in columns.items() if name not in labels}
        self._states = table.columns[state] if state else None
        self.left_out = tuple(f"{name}: a different text in nearly every run" for name in labels)

    @classmethod
    def of(cls, source: str, configurations: Sequence[Mapping[str, Any]]) -> RunColumns:
        """Return the columns of runs whose configurations are known by name; run i has the row i.

        Args:
            source: Name of the source, for people.
            configurations: Hyper-parameters by name, of each run.
        """
        names = list(dict.fromkeys(name for its in configurations for name in its))
        columns = {name: [its.get(name) for its in configurations] for name in names}
        return cls(Table(source, columns, lambda row: f"run {row + 1}"), names, len(configurations))

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
