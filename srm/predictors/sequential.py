"""Sequential regression models: one regressor for every observed length tau, each with its own sigma.

Baker 2017 (thesis), section 4.1.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.curve import CurvePredictor, LastSeenValue, LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from curvestop.srm.regression.features import CONFIGURATION_GROUPS, Array, ConfigurationFeatures, curve_features, groups_wanted
from curvestop.srm.regression.regressors import MIN_ROWS, REGRESSORS, Regressor

LARGEST = 1e300
"""Larger numbers are taken for this one."""


class SequentialRegression:
    """The SRM: T - 1 regressors, the tau-th of which sees y_1..y_tau and the configuration.

    regressor: makes a fresh `Regressor`.
    log_scaled: names of the configuration whose logarithm is the feature.
    groups: of the configuration's columns (AP, HP, BoW; thesis, Table 4.1), beside the curve itself (TS).
    Curves may differ in length: the model for tau learns from those longer than tau; with fewer than `MIN_ROWS` of them
    there is no model for it.
    Rows are put in the order of their trials' names before a fit, so the order of arrival changes nothing.
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
        return self._learn(curves, lambda tau, features, target: self.regressor().fit(features, target))

    def refit(self, curves: Sequence[LearningCurve]) -> SequentialRegression:
        """A new predictor learnt from these curves with the settings found here; only lengths that are new are searched for."""

        def learn(tau: int, features: Array, target: Array) -> Regressor:
            known = self.models_.get(tau)
            return self.regressor().fit(features, target) if known is None else known.refit(features, target)

        new = SequentialRegression(self.regressor, log_scaled=self.log_scaled, groups=self.groups)
        return new._learn(curves, learn)

    def predict(self, curve: LearningCurve) -> Prediction | None:
        return self.predict_many([curve])[0]

    def predict_many(self, curves: Sequence[LearningCurve]) -> list[Prediction | None]:
        """`predict` for each, cheaper than one by one."""
        places: dict[int, list[int]] = {}
        for i, curve in enumerate(curves):
            places.setdefault(len(curve.values), []).append(i)
        predictions: list[Prediction | None] = [None] * len(curves)
        for tau, indices in places.items():
            if tau in self.models_:
                sigma = self.models_[tau].sigma_
                for i, mean in zip(indices, self._means([curves[i] for i in indices], tau), strict=True):
                    predictions[i] = Prediction(mean, sigma)
        return predictions

    def _learn(self, curves: Sequence[LearningCurve], learn: Callable[[int, Array, Array], Regressor]) -> Self:
        curves = sorted(curves, key=lambda curve: curve.trial)
        self.configuration_ = ConfigurationFeatures(self.log_scaled, groups=self.groups).fit([c.configuration for c in curves])
        self.models_: dict[int, Regressor] = {}
        self._queries: dict[int, Callable[[Array], Array]] = {}
        for tau in range(1, max((len(c.values) for c in curves), default=0)):
            longer = [c for c in curves if len(c.values) > tau]
            if len(longer) >= MIN_ROWS:
                pause()
                rows, target = self._rows(longer, tau), np.clip([c.values[-1] for c in longer], -LARGEST, LARGEST)
                model = learn(tau, features_of(rows, tau), target)
                # A feature is linear in the row, so those of the unit rows are the map from rows to features.
                self.models_[tau] = model
                self._queries[tau] = model.through(features_of(np.eye(rows.shape[1]), tau), rows.mean(axis=0))
        return self

    def _means(self, curves: Sequence[LearningCurve], tau: int) -> list[float]:
        rows = self._rows(curves, tau)
        with np.errstate(over="ignore", invalid="ignore"):
            means: list[float] = self._queries[tau](rows).tolist()
        if not math.isfinite(sum(means)):
            means = self.models_[tau].predict(features_of(rows, tau)).tolist()
        return means

    def _rows(self, curves: Sequence[LearningCurve], tau: int) -> Array:
        """`(n, tau + columns of the configuration)`: y_1..y_tau and the configuration, of sizes whose differences are finite."""
        values = np.array([c.values[:tau] for c in curves], dtype=float)
        rows = np.hstack([values, self.configuration_.transform([c.configuration for c in curves])])
        clipped: Array = np.clip(rows, -LARGEST, LARGEST)
        return clipped


def features_of(rows: Array, tau: int) -> Array:
    """`(n, d)` rows y_1..y_tau and configuration -> the regressors' features: those of the curve, then the configuration."""
    return np.hstack([curve_features(rows[:, :tau]), rows[:, tau:]])


def _sequential(
    name: str,
    *,
    direction: Direction | None = None,
    log_scaled: Iterable[str] = (),
    ap: float = 1,
    hp: float = 1,
    bow: float = 1,
    **settings: Any,
) -> SequentialRegression:
    regressor = partial(REGRESSORS[name], **settings)
    regressor()  # wrong settings are an error now, not at the first fit
    return SequentialRegression(regressor, log_scaled=log_scaled, groups=groups_wanted(ap=ap, hp=hp, bow=bow))


def _last_seen(*, direction: Direction | None = None, log_scaled: Iterable[str] = ()) -> LastSeenValue:
    return LastSeenValue()


def _learning_curve_extrapolation(*, log_scaled: Iterable[str] = (), **settings: Any) -> CurvePredictor:
    from curvestop.srm.predictors.lce import LearningCurveExtrapolation  # needs the extra [lce]

    return LearningCurveExtrapolation(**settings)


def _bayesian_neural_network(*, log_scaled: Iterable[str] = (), **settings: Any) -> CurvePredictor:
    from curvestop.srm.predictors.bnn import BayesianNeuralNetwork  # needs the extra [torch]

    return BayesianNeuralNetwork(log_scaled=log_scaled, **settings)


PREDICTORS: Mapping[str, Callable[..., CurvePredictor]] = {
    **{name: partial(_sequential, name) for name in REGRESSORS},
    "last-seen": _last_seen,
    "stacked": StackedPredictor,
    "lce": _learning_curve_extrapolation,
    "bnn": _bayesian_neural_network,
}
"""Predictors by name: `PREDICTORS[name](direction=..., log_scaled=..., **settings)`; direction None where it is not known."""
SLOW_PREDICTORS = frozenset({"lce", "bnn"})
"""Those that need milliseconds to seconds for a prediction: not where others wait."""
