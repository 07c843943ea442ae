"""A partial curve and its configuration as one row of numbers.

Baker 2017 (thesis), section 4.2: the values y_1..y_tau, their first and second differences, and the configuration's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Self

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Configuration

Array = npt.NDArray[np.float64]


def curve_features(values: Array) -> Array:
    """`(n, tau)` values -> `(n, 3 tau - 3)` features (`(n, 1)` for tau = 1): y, y' and y''."""
    return np.hstack([values, np.diff(values, axis=1), np.diff(values, n=2, axis=1)])


class ConfigurationFeatures:
    """Configurations as rows of numbers: numbers and booleans as they are (or as logarithms), categories one-hot.

    log_scaled: names whose logarithm is the feature; their values must be > 0.
    After `fit`, `columns_` names every column. A name missing in a row takes the training mean; a category unseen in
    training is all zeros.
    """

    def __init__(self, log_scaled: Iterable[str] = ()) -> None:
        self.log_scaled = frozenset(log_scaled)

    def fit(self, configurations: Sequence[Configuration]) -> Self:
        names = sorted({name for c in configurations for name in c})
        categorical = {n for n in names if any(isinstance(c.get(n), str) for c in configurations)}
        self.columns_: tuple[tuple[str, str | None], ...] = tuple(
            (name, category)
            for name in names
            for category in (
                sorted({str(c[name]) for c in configurations if name in c}) if name in categorical else [None]
            )
        )
        self._numbers = itemgetter(*names) if names and not categorical else None
        self.mean_ = np.zeros(len(self.columns_))
        rows = self._rows(configurations)
        known = ~np.isnan(rows)
        self.mean_ = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
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
            table = np.array([self._numbers(c) for c in configurations])
        except KeyError:
            return None
        if table.dtype.kind not in "fib":
            return None
        rows = table.astype(float).reshape(len(configurations), len(self.columns_))
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
