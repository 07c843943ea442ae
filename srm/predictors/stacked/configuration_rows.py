"""Configurations as rows of finite numbers for the stacked predictor, which finds by itself what to take logarithms of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from curvestop.srm.curve import Configuration
from curvestop.srm.predictors.stacked.curve_summary import LARGEST_SQUARABLE
from curvestop.srm.regression.features import CONFIGURATION_GROUPS, Array, ConfigurationFeatures

LOG_SCALE_RATIO = 100.0
"""A column of numbers > 0 counts by its logarithm if its largest training value is at least this many times its least."""
_LARGEST, _SMALLEST = np.array(LARGEST_SQUARABLE), np.array(-LARGEST_SQUARABLE)  # numpy takes them faster than floats


class ConfigurationRows:
    """Turn configurations into rows; columns that span decades, and those declared so, by their logarithm.

    Args:
        log_scaled: Names whose logarithm is the feature, whatever they span; used where all training values are > 0.
        groups: Groups of names to use; see `curvestop.srm.regression.features.group_of`.
    """

    def __init__(self, log_scaled: Iterable[str] = (), *, groups: Iterable[str] = CONFIGURATION_GROUPS) -> None:
        self.log_scaled, self.groups = frozenset(log_scaled), frozenset(groups)

    def fit(self, configurations: Sequence[Configuration]) -> Self:
        """Learn the columns, and which of them count by their logarithm.

        Args:
            configurations: Those of the training trials; each may lack names that others have.
        """
        self._features = ConfigurationFeatures(groups=self.groups).fit(configurations)
        rows = self._features.transform(configurations)
        least, most = rows.min(axis=0, initial=np.inf), rows.max(axis=0, initial=-np.inf)
        declared = np.array([name in self.log_scaled for name, _ in self._features.columns_], dtype=bool)
        # most / ratio, as ratio * least could overflow.
        self._log_columns = np.flatnonzero((declared | (most / LOG_SCALE_RATIO >= least)) & (least > 0))
        self._least = least[self._log_columns]
        return self

    def transform(self, configurations: Sequence[Configuration]) -> Array:
        """Return `(n, columns)` finite numbers; where logarithms are taken, values below the training minimum count as it.

        Args:
            configurations: Any `n`; names unseen in training are ignored, missing numbers take the training mean.
        """
        rows = bounded(self._features.transform(configurations))
        if len(self._log_columns):
            # A query may be 0 or less, which has no logarithm.
            rows[:, self._log_columns] = np.log(np.maximum(rows.take(self._log_columns, axis=1), self._least))
        return rows


def bounded(values: Array) -> Array:
    """Cut values off at +-LARGEST_SQUARABLE in place, and return the same array."""
    np.minimum(values, _LARGEST, out=values)
    np.maximum(values, _SMALLEST, out=values)
    return values
