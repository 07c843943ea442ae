"""A partial curve and its configuration as one row of numbers.

Baker 2017 (thesis), section 4.2: the values y_1..y_tau, their first and second differences, and the configuration's numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from curvestop.srm.cooperative import pause
from curvestop.srm.curve import Configuration

Array = npt.NDArray[np.float64]
Item = TypeVar("Item")

MOST_COLUMNS = 10_000
"""Largest number of columns that configurations make, one for each number and for each category."""
ROWS_PER_BLOCK = 4
"""A matrix product rounds each row alike if it has a multiple of so many; the rows that are left, or one alone, otherwise."""
CONFIGURATION_GROUPS = ("AP", "HP", "BoW")
"""Groups of configuration columns (thesis, Table 4.1): architecture, hyper-parameters, counts of each layer type."""


def group_of(name: str) -> str:
    """Return the group of a configuration's name by its prefix.

    Args:
        name: Such as "ap:depth" (group "AP"), "bow:conv" (group "BoW") or "lr" (group "HP", like every other name).
    """
    prefix = name.partition(":")[0].lower()
    return {"ap": "AP", "bow": "BoW"}.get(prefix, "HP") if ":" in name else "HP"


def enabled_groups(*, ap: float = 1, hp: float = 1, bow: float = 1) -> frozenset[str]:
    """Return the groups of configuration columns that are switched on.

    Args:
        ap: 1 uses the group "AP", 0 leaves it out.
        hp: 1 uses the group "HP", 0 leaves it out.
        bow: 1 uses the group "BoW", 0 leaves it out.

    Raises:
        ValueError: If a switch is neither 0 nor 1.
    """
    for name, switch in {"ap": ap, "hp": hp, "bow": bow}.items():
        if switch not in (0, 1):
            raise ValueError(f"{name} must be 1 (used) or 0 (left out), but got {switch!r}")
    return frozenset(group for group, switch in zip(CONFIGURATION_GROUPS, (ap, hp, bow), strict=True) if switch)


def whole_blocks(items: Sequence[Item]) -> Sequence[Item]:
    """Return the items, the last one repeated up to a multiple of ROWS_PER_BLOCK.

    Rows that are made of them get the same products, bit for bit, whether they come alone or among any number of others.

    Args:
        items: One or more.

    Examples:
        >>> whole_blocks("abcde")
        ['a', 'b', 'c', 'd', 'e', 'e', 'e', 'e']
    """
    missing = -len(items) % ROWS_PER_BLOCK
    return [*items, *[items[-1]] * missing] if missing else items


def array_from_rows(rows: Iterable[Iterable[float]], shape: tuple[int, int]) -> Array:
    """Convert rows of numbers to an array, several times faster than numpy converts many short rows.

    Args:
        rows: As many rows as the shape says, each of as many numbers.
        shape: Rows and columns of the result.

    Raises:
        struct.error: If something is not a number, or a row has another length.
        ValueError: If there is another number of rows.
    """
    pack = struct.Struct(f"{shape[1]}d").pack
    return np.frombuffer(bytearray().join([pack(*row) for row in rows])).reshape(shape)


def curve_features(values: Array) -> Array:
    """Compute the values of curves with their first and second differences.

    Args:
        values: `(n, tau)` in the metric.

    Returns:
        `(n, 3 tau - 3)` features (`(n, 1)` for tau = 1): y, y' and y''.
    """
    return np.hstack([values, np.diff(values, axis=1), np.diff(values, n=2, axis=1)])


class ConfigurationFeatures:
    """Turn configurations into rows of numbers: numbers and booleans as they are, categories one-hot.

    A number missing in a configuration takes the training mean; a category unseen in training is all zeros.

    Args:
        log_scaled: Names whose logarithm is the feature; their values must be > 0.
        groups: Groups of names to use (see `group_of`); other names are left out.

    Attributes:
        columns_: After `fit`: `(name, category)` of each column; the category is None for a number.
        mean_: After `fit`: `(len(columns_),)` training means.
    """

    def __init__(self, log_scaled: Iterable[str] = (), *, groups: Iterable[str] = CONFIGURATION_GROUPS) -> None:
        self.log_scaled, self.groups = frozenset(log_scaled), frozenset(groups)

    def fit(self, configurations: Sequence[Configuration]) -> Self:
        """Learn the columns, their categories and their means.

        Args:
            configurations: Those of the training trials; each may lack names that others have.

        Raises:
            ValueError: If they make more than MOST_COLUMNS columns.
        """
        names = sorted({name for c in configurations for name in c if group_of(name) in self.groups})
        # A name with text in even one configuration is a category in all of them.
        categorical = {n for n in names if any(isinstance(c.get(n), str) for c in configurations)}
        self.columns_: tuple[tuple[str, str | None], ...] = tuple(
            (name, category)
            for name in names
            for category in (sorted({str(c[name]) for c in configurations if name in c}) if name in categorical else [None])
        )
        known_numbers: Callable[[Configuration], Iterable[Any]] = (
            itemgetter(*names) if len(names) > 1 else partial(_values_of, names)  # with one name itemgetter returns no tuple
        )
        if len(self.columns_) > MOST_COLUMNS:
            raise ValueError(
                f"configurations may have {MOST_COLUMNS} columns, but have {len(self.columns_)}, one for each different text: "
                "leave out what differs from trial to trial, such as paths"
            )
        self._numbers = known_numbers if names and not categorical else None
        self._log_columns = [j for j, (name, _) in enumerate(self.columns_) if name in self.log_scaled]
        self.mean_ = np.zeros(len(self.columns_))
        rows = self._rows(configurations)
        # NaN marks a missing number and nothing else: a configuration that has one is refused.
        known = ~np.isnan(rows)
        self.mean_ = (np.where(known, rows, 0.0) / np.maximum(known.sum(axis=0), 1)).sum(axis=0)  # divide first: no overflow
        return self

    def transform(self, configurations: Sequence[Configuration]) -> Array:
        """Return the configurations as `(n, len(columns_))` finite numbers.

        Args:
            configurations: Any `n`; names that training did not have are ignored.
        """
        rows = self._rows(configurations)
        # At the mean, what is missing draws a linear prediction neither way.
        np.copyto(rows, self.mean_, where=np.isnan(rows))
        return rows

    def _rows(self, configurations: Sequence[Configuration]) -> Array:
        """Return `(n, len(columns_))` numbers, NaN where a configuration lacks a number."""
        complete = self._complete_rows(configurations)
        if complete is not None:
            return complete
        rows = np.empty((len(configurations), len(self.columns_)))
        for row, configuration in zip(rows, configurations, strict=True):
            pause()  # thousands of columns take long
            row[:] = [self._number(configuration, name, category) for name, category in self.columns_]
        return rows

    def _complete_rows(self, configurations: Sequence[Configuration]) -> Array | None:
        """Return the same rows some times faster if every configuration has every name and all are numbers; else None."""
        if self._numbers is None or not configurations:
            return None
        try:
            rows = array_from_rows(map(self._numbers, configurations), (len(configurations), len(self.columns_)))
        except (KeyError, struct.error):  # a name is missing, or there is text where training had numbers
            return None
        for j in self._log_columns:
            # math.log, as in `_number`: np.log may differ from it in the last bit.
            rows[:, j] = [math.log(number) for number in rows[:, j].tolist()]
        return rows

    def _number(self, configuration: Configuration, name: str, category: str | None) -> float:
        """Return one cell: 0 or 1 for a category, the number or its logarithm otherwise, NaN where there is none."""
        value = configuration.get(name)
        if category is not None:
            return float(value is not None and str(value) == category)
        if value is None or isinstance(value, str):
            return math.nan
        return math.log(value) if name in self.log_scaled else float(value)


def _values_of(names: Sequence[str], configuration: Configuration) -> list[bool | int | float | str]:
    return [configuration[name] for name in names]
