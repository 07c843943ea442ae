"""Complete trials by their configurations: how did those end that are most like a new one?"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Configuration
from curvestop.srm.policies.trial_features import log_odds

N_NEIGHBORS = 5
N_KNOWN = 200
"""Neighbors are sought among so many complete trials, evenly chosen from the worst to the best."""
LOG_RATIO = 100.0
"""A column, all > 0, whose largest value is this many times its least counts by its logarithm."""

Array = npt.NDArray[np.float64]


class Neighbors:
    """The configurations of a study's trials.

    Args:
        log_scaled: Names of the configuration that count by their logarithm.

    Examples:
        >>> neighbors = Neighbors()
        >>> complete = [(float(i), str(i)) for i in range(10)]  # trial "9" ended best
        >>> for _, trial in complete:
        ...     neighbors.add(trial, {"lr": float(trial)})
        >>> neighbors.add("new", {"lr": 8.5})
        >>> neighbors.mean_log_odds("new", complete) > 0
        True
    """

    def __init__(self, log_scaled: Collection[str] = ()) -> None:
        self._log_scaled = frozenset(log_scaled)
        self._configurations: dict[str, Configuration] = {}
        self._n = 0  # complete trials that the rows were made of
        self._known: dict[str, float] = {}  # trial -> its answer, until there are more complete trials

    def add(self, trial: str, configuration: Configuration) -> None:
        """Add the configuration of a trial."""
        self._configurations[trial] = configuration

    def mean_log_odds(self, trial: str, complete: Sequence[tuple[float, str]]) -> float:
        """Return the mean log odds of the final ranks of the nearest complete trials.

        Args:
            trial: Name of a trial that was added.
            complete: (final score, trial) of the complete trials, ascending.

        Returns:
            Log odds, higher is better; 0 with fewer than N_NEIGHBORS complete trials or without numbers to compare.
        """
        configuration = self._configurations.get(trial)
        if not configuration or len(complete) < N_NEIGHBORS:
            return 0.0
        if self._n != len(complete):
            self._learn([trial for _, trial in complete])
            self._known.clear()
        known = self._known.get(trial)
        if known is None:
            known = self._known[trial] = self._nearest_log_odds(configuration)
        return known

    def _nearest_log_odds(self, configuration: Configuration) -> float:
        if not self._columns:
            return 0.0
        row = (self._row(configuration) - self._center) * self._scale
        distances = np.square(self._rows - np.where(np.isnan(row), 0.0, row)).sum(axis=1)
        nearest = np.argpartition(distances, N_NEIGHBORS - 1)[:N_NEIGHBORS]
        return float(self._log_odds[nearest].mean())

    def _learn(self, complete: Sequence[str]) -> None:
        n = self._n = len(complete)
        chosen = np.linspace(0, n - 1, min(n, N_KNOWN)).round().astype(int).tolist()
        self._log_odds = np.array([log_odds(rank, n - 1) for rank in chosen])
        configurations = [self._configurations.get(complete[rank], {}) for rank in chosen]
        # A string is a column of its own for each of its values; see `_number`.
        columns = {(name, value if isinstance(value, str) else "") for c in configurations for name, value in c.items()}
        self._columns = sorted(columns)
        self._is_log = np.zeros(len(columns), dtype=bool)
        rows = np.array([self._row(c) for c in configurations]).reshape(len(chosen), len(columns))
        if not len(columns):
            return
        least, most = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
        named = np.array([name in self._log_scaled for name, _ in self._columns])
        self._is_log = (least > 0) & (named | (most / LOG_RATIO >= least))
        self._least = least
        rows[:, self._is_log] = np.log(rows[:, self._is_log])
        self._center = np.nanmean(rows, axis=0)
        spread = np.nanstd(rows, axis=0)
        self._scale = np.where(spread > 1e-12, 1 / np.maximum(spread, 1e-12), 0.0)
        self._rows = np.nan_to_num((rows - self._center) * self._scale)  # what a trial lacks is as far as the mean

    def _row(self, configuration: Configuration) -> Array:
        row = np.array([_number(configuration, name, value) for name, value in self._columns])
        if self._is_log.any():
            row[self._is_log] = np.log(np.maximum(row[self._is_log], self._least[self._is_log]))
        return row


def _number(configuration: Configuration, name: str, value: str) -> float:
    """Return the number of a column: of a numeric name its value, of a string whether it is this one; NaN if it is missing."""
    its = configuration.get(name)
    if its is None:
        return math.nan
    if value:
        return float(its == value)
    return math.nan if isinstance(its, str) else float(its)
