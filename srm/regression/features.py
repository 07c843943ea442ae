"""A partial curve and its configuration as one row of numbers.

Baker 2017 (thesis), section 4.2: the values y_1..y_tau, their first and second differences, and the configuration's numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Configuration

Array = npt.NDArray[np.float64]

CONFIGURATION_GROUPS = ("AP", "HP", "BoW")
"""The thesis's groups of a configuration's columns (Table 4.1): architecture, hyper-parameters, counts of each layer type."""


def group_of(name: str) -> str:
    """The group of a configuration's name: "ap:depth" is in "AP", "bow:conv" in "BoW", every other one in "HP"."""
    prefix = name.partition(":")[0].lower()
    return {"ap": "AP", "bow": "BoW"}.get(prefix, "HP") if ":" in name else "HP"


def groups_wanted(*, ap: float = 1, hp: float = 1, bow: float = 1) -> frozenset[str]:
    """The groups that are switched on: each by 1, off by 0. Raises ValueError for any other number."""
    for name, switch in {"ap": ap, "hp": hp, "bow": bow}.items():
        if switch not in (0, 1):
            raise ValueError(f"{name} must be 1 (used) or 0 (left out), but got {switch!r}")
    return frozenset(group for group, switch in zip(CONFIGURATION_GROUPS, (ap, hp, bow), strict=True) if switch)


def table_of(rows: Iterable[Iterable[float]], shape: tuple[int, int]) -> Array:
    """Numbers, row by row, as an array of `shape`: several times faster than numpy's own conversion of many rows.

    Raises struct.error, TypeError or ValueError where something is no number or there are not as many.
    """
    pack = struct.Struct(f"{shape[1]}d").pack
    return np.frombuffer(bytearray().join([pack(*row) for row in rows])).reshape(shape)


def curve_features(values: Array) -> Array:
    """`(n, tau)` values -> `(n, 3 tau - 3)` features (`(n, 1)` for tau = 1): y, y' and y''."""
    return np.hstack([values, np.diff(values, axis=1), np.diff(values, n=2, axis=1)])


class ConfigurationFeatures:
    """Configurations as rows of numbers: numbers and booleans as they are (or as logarithms), categories one-hot.

    log_scaled: names whose logarithm is the feature; their values must be > 0.
    groups: names of other groups (see `group_of`) are left out.
    After `fit`, `columns_` names every column. A name missing in a row takes the training mean; a category unseen in
    training is all zeros.
    """

    def __init__(self, log_scaled: Iterable[str] = (), *, groups: Iterable[str] = CONFIGURATION_GROUPS) -> None:
        self.log_scaled, self.groups = frozenset(log_scaled), frozenset(groups)

    def fit(self, configurations: Sequence[Configuration]) -> Self:
        names = sorted({name for c in configurations for name in c if group_of(name) in self.groups})
        categorical = {n for n in names if any(isinstance(c.get(n), str) for c in configurations)}
        self.columns_: tuple[tuple[str, str | None], ...] = tuple(
            (name, category)
            for name in names
            for category in (sorted({str(c[name]) for c in configurations if name in c}) if name in categorical else [None])
        )
        known_numbers: Callable[[Configuration], Iterable[Any]] = (
            itemgetter(*names) if len(names) > 1 else partial(_values_of, names)  # of one name it would give no tuple
        )
        self._numbers = known_numbers if names and not categorical else None
        self.mean_ = np.zeros(len(self.columns_))
        rows = self._rows(configurations)
        known = ~np.isnan(rows)
        self.mean_ = (np.where(known, rows, 0.0) / np.maximum(known.sum(axis=0), 1)).sum(axis=0)  # no sum overflows
        return self

    def transform(self, configurations: Sequence[Configuration]) -> Array:
        """`(n, len(columns_))`, all finite."""
        rows = self._rows(configurations)
        return np.where(np.isnan(rows), self.mean_, rows)

    def _rows(self, configurations: Sequence[Configuration]) -> Array:
        complete = self._complete_rows(configurations)
        if complete is not None:
            return complete
        rows = [[self._number(c, name, category) for name, category in self.columns_] for c in configurations]
        return np.array(rows, dtype=float).reshape(len(configurations), len(self.columns_))

    def _complete_rows(self, configurations: Sequence[Configuration]) -> Array | None:
        """The same where every configuration has every name, all of them numbers, some times faster; None elsewhere."""
        if self._numbers is None or not configurations:
            return None
        try:
            rows = table_of(map(self._numbers, configurations), (len(configurations), len(self.columns_)))
        except (KeyError, struct.error):  # something is missing, or a word where training had numbers
            return None
        for j, (name, _) in enumerate(self.columns_):
            if name in self.log_scaled:
                rows[:, j] = [math.log(number) for number in rows[:, j].tolist()]
        return rows

    def _number(self, configuration: Configuration, name: str, category: str | None) -> float:
        value = configuration.get(name)
        if category is not None:
            return float(value is not None and str(value) == category)
        if value is None or isinstance(value, str):
            return math.nan
        return math.log(value) if name in self.log_scaled else float(value)


def _values_of(names: Sequence[str], configuration: Configuration) -> list[bool | int | float | str]:
    return [configuration[name] for name in names]
