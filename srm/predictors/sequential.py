"""Sequential regression models: one regressor for every observed length tau, each with its own sigma.

Baker 2017 (thesis), section 4.1.1. With y_1..y_T the curve and x the configuration, the tau-th model is
y_T ~ N(f_tau(y_1..y_tau, y', y'', x), sigma_tau^2), where y' and y'' are first and second differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.regression.features import (
    CONFIGURATION_GROUPS,
    Array,
    ConfigurationFeatures,
    curve_features,
    whole_blocks,
)
from curvestop.srm.regression.regressors import MIN_ROWS, REGRESSORS, Regressor

MOST_QUERY_COLUMNS = 160
"""A fast query has the square of a row's columns in memory, for each length; of wider rows the regressor itself is asked."""
LARGEST_INPUT = 1e300
"""Larger values and configuration numbers count as this one, so that differences of them are finite."""


class SequentialRegression:
    """Predict the final value by one regressor for each observed length (the SRM of the thesis).

    The model for tau learns from the curves longer than tau, which may differ in length; with fewer than `MIN_ROWS` of them
    there is no model for tau. Rows are sorted by trial name before a fit, so the order of arrival changes nothing.

    Args:
        regressor: Makes a fresh `Regressor`. Default: nu-SVR with an RBF kernel.
        log_scaled: Names of the configuration whose logarithm is the feature; their values must be > 0.
        groups: Groups of configuration columns to use ("AP", "HP", "BoW"; thesis, Table 4.1), beside the curve itself.

    Attributes:
        models_: After `fit`: the regressor of each modelled length tau.
        configuration_: After `fit`: how configurations become numbers.

    Examples:
        >>> curves = [LearningCurve(str(i), {}, (0.0, float(i), 2.0 * i)) for i in range(8)]
        >>> predictor = SequentialRegression(REGRESSORS["ols"]).fit(curves)
        >>> round(predictor.predict(LearningCurve("new", {}, (0.0, 5.0))).mean, 3)
        10.0
    """

    def __init__(
        self,
        regressor: Callable[[], Regressor] = REGRESSORS["nu-svr"],
        *,
        log_scaled: Iterable[str] = (),
        groups: Iterable[str] = CONFIGURATION_GROUPS,
    ) -> None:
        self.regressor = regressor
        self.log_scaled, self.groups = frozenset(log_scaled), frozenset(groups)

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Learn from complete curves; the last value of each is its target.

        Args:
            curves: Complete curves of any lengths >= 1, in any order.
        """
        return self._fit_models(curves, lambda tau, features, target: self.regressor().fit(features, target))

    def refit(self, curves: Sequence[LearningCurve]) -> SequentialRegression:
        """Return a new predictor fitted on these curves with the settings this one found.

        Only lengths that this one has no model for are searched; this predictor stays as it is.

        Args:
            curves: Complete curves of any lengths >= 1, in any order.
        """

        def fit_model(tau: int, features: Array, target: Array) -> Regressor:
            # A length that only the new curves exceed often enough has no settings yet.
            known = self.models_.get(tau)
            return self.regressor().fit(features, target) if known is None else known.refit(features, target)

        new = SequentialRegression(self.regressor, log_scaled=self.log_scaled, groups=self.groups)
        return new._fit_models(curves, fit_model)

    def predict(self, curve: LearningCurve) -> Prediction | None:
        """Predict the final value of a partial curve; None where there is no model for its length.

        Args:
            curve: `(tau,)` values, tau >= 1.
        """
        return self.predict_many([curve])[0]

    def predict_many(self, curves: Sequence[LearningCurve]) -> list[Prediction | None]:
        """Predict several partial curves at once: what `predict` says of each, to the last bit, for less time.

        Args:
            curves: Partial curves of any lengths.

        Returns:
            One prediction for each curve in order; None where there is no model for its length.
        """
        # One matrix product for all curves of a length.
        indices_by_tau: dict[int, list[int]] = {}
        for i, curve in enumerate(curves):
            indices_by_tau.setdefault(len(curve.values), []).append(i)
        predictions: list[Prediction | None] = [None] * len(curves)
        for tau, indices in indices_by_tau.items():
            if tau in self.models_:
                sigma = self.models_[tau].sigma_
                for i, mean in zip(indices, self._means([curves[i] for i in indices], tau), strict=True):
                    predictions[i] = Prediction(mean, sigma)
        return predictions

    def _fit_models(self, curves: Sequence[LearningCurve], fit_model: Callable[[int, Array, Array], Regressor]) -> Self:
        """Fit one model for each length. `fit_model` takes tau, features `(n, d)` and final values `(n,)`."""
        curves = sorted(curves, key=lambda curve: curve.trial)
        self.configuration_ = ConfigurationFeatures(self.log_scaled, groups=self.groups).fit([c.configuration for c in curves])
        self.models_: dict[int, Regressor] = {}
        self._queries: dict[int, Callable[[Array], Array]] = {}
        # tau = T needs no model: the curve is complete.
        for tau in range(1, max((len(c.values) for c in curves), default=0)):
            longer = [c for c in curves if len(c.values) > tau]
            if len(longer) >= MIN_ROWS:
                n, n_features = len(longer), 3 * tau + len(self.configuration_.columns_)
                # A fit in the background lets others run between two models: rows, features and kernel matrices with copies.
                pause(8 * n * (4 * n_features + 6 * n))
                rows = self._rows(longer, tau)
                finals = np.clip([c.values[-1] for c in longer], -LARGEST_INPUT, LARGEST_INPUT)
                model = fit_model(tau, features_of(rows, tau), finals)
                self.models_[tau] = model
                if rows.shape[1] <= MOST_QUERY_COLUMNS:
                    # Features are linear in the row, so the features of the unit rows are the matrix from rows to features.
                    self._queries[tau] = model.as_query(features_of(np.eye(rows.shape[1]), tau), rows.mean(axis=0))
        return self

    def _means(self, curves: Sequence[LearningCurve], tau: int) -> list[float]:
        """Predict the means by the fast query; those for which there is none, or it overflows, by the regressor itself."""
        rows, query = self._rows(whole_blocks(curves), tau), self._queries.get(tau)
        means: list[float] = [math.nan] * len(curves)
        if query is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                means = query(rows)[: len(curves)].tolist()
            # One sum instead of a check of each; an overflow of the sum itself only costs time.
            if math.isfinite(sum(means)):
                return means
        exact: list[float] = self.models_[tau].predict(features_of(rows, tau)).tolist()
        return [mean if math.isfinite(mean) else other for mean, other in zip(means, exact, strict=False)]

    def _rows(self, curves: Sequence[LearningCurve], tau: int) -> Array:
        """Return `(n, tau + columns of the configuration)`: y_1..y_tau, then the configuration, within +-LARGEST_INPUT."""
        values = np.array([c.values[:tau] for c in curves], dtype=float)
        rows = np.hstack([values, self.configuration_.transform([c.configuration for c in curves])])
        clipped: Array = np.clip(rows, -LARGEST_INPUT, LARGEST_INPUT)
        return clipped


def features_of(rows: Array, tau: int) -> Array:
    """Compute the regressor's features: those of the curve, then the configuration.

    Args:
        rows: `(n, tau + c)`, y_1..y_tau followed by the c columns of the configuration.
        tau: Observed length, >= 1.

    Returns:
        `(n, 3 tau - 3 + c)` features (`(n, 1 + c)` for tau = 1), linear in the rows.
    """
    return np.hstack([curve_features(rows[:, :tau]), rows[:, tau:]])
