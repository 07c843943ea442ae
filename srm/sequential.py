"""Sequential regression models: one regressor for every observed length tau, each with its own sigma.

Baker 2017 (thesis), section 4.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from curvestop.srm.curve import CurvePredictor, LastSeenValue, LearningCurve, Prediction
from curvestop.srm.features import Array, ConfigurationFeatures, curve_features
from curvestop.srm.regressors import MIN_ROWS, REGRESSORS, Regressor


class SequentialRegression:
    """The SRM: T - 1 regressors, the tau-th of which sees y_1..y_tau and the configuration.

    regressor: makes a fresh `Regressor`.
    log_scaled: names of the configuration whose logarithm is the feature.
    Curves may differ in length: the model for tau learns from those longer than tau; with fewer than `MIN_ROWS` of them
    there is no model for it.
    Rows are put in the order of their trials' names before a fit, so the order of arrival changes nothing.
    """

    def __init__(self, regressor: Callable[[], Regressor] = REGRESSORS["nu-svr"], *, log_scaled: Iterable[str] = ()) -> None:
        self.regressor = regressor
        self.log_scaled = frozenset(log_scaled)

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        curves = sorted(curves, key=lambda curve: curve.trial)
        self.configuration_ = ConfigurationFeatures(self.log_scaled).fit([c.configuration for c in curves])
        self.models_: dict[int, Regressor] = {}
        for tau in range(1, max((len(c.values) for c in curves), default=0)):
            longer = [c for c in curves if len(c.values) > tau]
            if len(longer) >= MIN_ROWS:
                target = np.array([c.values[-1] for c in longer])
                self.models_[tau] = self.regressor().fit(self._features(longer, tau), target)
        return self

    def predict(self, curve: LearningCurve) -> Prediction | None:
        tau = len(curve.values)
        model = self.models_.get(tau)
        if model is None:
            return None
        return Prediction(float(model.predict(self._features([curve], tau))[0]), model.sigma_)

    def _features(self, curves: Sequence[LearningCurve], tau: int) -> Array:
        values = np.array([c.values[:tau] for c in curves], dtype=float)  # (n, tau)
        return np.hstack([curve_features(values), self.configuration_.transform([c.configuration for c in curves])])


def _sequential(name: str, *, log_scaled: Iterable[str] = (), **settings: Any) -> SequentialRegression:
    regressor = partial(REGRESSORS[name], **settings)
    regressor()  # wrong settings are an error now, not at the first fit
    return SequentialRegression(regressor, log_scaled=log_scaled)


def _last_seen(*, log_scaled: Iterable[str] = ()) -> LastSeenValue:
    return LastSeenValue()


PREDICTORS: Mapping[str, Callable[..., CurvePredictor]] = {
    **{name: partial(_sequential, name) for name in REGRESSORS},
    "last-seen": _last_seen,
}
"""Predictors by name: `PREDICTORS[name](log_scaled=..., **settings)`."""
