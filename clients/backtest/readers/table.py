"""`Table`: the columns of a CSV or Parquet file, with errors that name the line; and the types of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curvestop.clients.backtest.readers.read_options import listed


@dataclass(frozen=True)
class Table:
    """A table as its file has it.

    Attributes:
        source: Name of the file, for people.
        columns: Cells by column name. An empty cell is None; in a CSV file all others are text.
        where: Returns where a row stands in the file, for people: "line 7".
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    where: Callable[[int], str]  # a function, as lines and rows of a CSV file are not the same

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def find(self, known: Sequence[str], chosen: str | None = None) -> str | None:
        """Return the name of a column.

        Args:
            known: Usual names of the column, lower case, the most usual first.
            chosen: The user's choice, which has priority.

        Returns:
            The chosen column, else the first with a known name; None if there is none.

        Raises:
            ValueError: If the chosen column does not exist.
        """
        if chosen is not None and chosen not in self.columns:
            raise ValueError(f"{self.source} has no column {chosen!r}, but {listed(self.columns)}")
        # Reversed, so that of names that differ in case only the first column wins. W&B begins names with "_".
        by_name = {name.lower().lstrip("_"): name for name in reversed(list(self.columns))}
        return chosen or next((by_name[name] for name in known if name in by_name), None)

    def number(self, name: str, row: int) -> float | None:
        """Return a cell as a number; None if it is empty.

        Args:
            name: Name of the column, which exists.
            row: Index of the row, from 0.

        Returns:
            The number, which may be NaN or infinite, also from a text such as "nan".

        Raises:
            ValueError: If the cell is not a number.
        """
        cell = self.columns[name][row]
        try:
            return None if cell is None else float(cell)
        except (TypeError, ValueError):
            raise ValueError(f"{self.source}, {self.where(row)}: {name} must be a number, but got {cell!r}") from None

    def point(self, step: str, metric: str, row: int) -> tuple[float, float]:
        """Return the step and the value of a row.

        Args:
            step: Name of the column of steps.
            metric: Name of the column of values.
            row: Index of a row that has a value, from 0.

        Raises:
            ValueError: If the step is not a finite number, or the value is not a number.
        """
        at, value = self.number(step, row), self.number(metric, row)
        if at is None or not math.isfinite(at):
            raise ValueError(f"{self.source}, {self.where(row)}: {step} must be a finite number, but got {at!r}")
        assert value is not None  # only rows with a value are asked
        return at, value


def typed(cells: Sequence[Any]) -> list[Any]:
    """Return the cells of one hyper-parameter with their type.

    Args:
        cells: Text or values; None for an empty cell.

    Returns:
        Bools if all cells are "true" or "false", numbers if all are numbers, else text. None stays None.

    Examples:
        >>> typed(["0.1", None, "64"]), typed(["True", "False"]), typed(["64", "none"])
        ([0.1, None, 64.0], [True, False], ['64', 'none'])
    """
    # One type for the whole column: a parameter that is 64 in one run and "none" in another is a choice of texts.
    distinct = {cell for cell in cells if cell is not None}
    if distinct <= {"True", "False", "true", "false"}:  # Python's and JSON's spelling
        return [None if cell is None else cell in ("True", "true") for cell in cells]
    try:
        numbers = {cell: cell if isinstance(cell, bool | int | float) else float(cell) for cell in distinct}
    except (TypeError, ValueError):
        return [None if cell is None else str(cell) for cell in cells]
    return [None if cell is None else numbers[cell] for cell in cells]


def is_number(cell: Any) -> bool:
    """Return whether a cell is a number or the text of one."""
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
