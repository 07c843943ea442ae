"""The predictors by name, each imported only when one is made.

A client that asks a server checks its `StudySettings` by making the predictor they name, so importing this file must stay
cheap: it loads no scikit-learn, torch, emcee, scipy.optimize or scipy.stats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

from curvestop.srm.curve import CurvePredictor, LastSeenValue, LearningCurve
from curvestop.srm.policies.stopping_rule import Direction

REGRESSOR_NAMES = ("nu-svr", "nu-svr-linear", "ols", "kernel-ridge")
"""The keys of `curvestop.srm.regression.regressors.REGRESSORS`: each of them is a `SequentialRegression` here."""


def _sequential(
    name: str,
    *,
    direction: Direction | None = None,
    log_scaled: Iterable[str] = (),
    ap: float = 1,
    hp: float = 1,
    bow: float = 1,
    **settings: Any,
) -> CurvePredictor:
    """Make a `SequentialRegression`; `settings` are the regressor's, and `direction` has no effect on it."""
    from curvestop.srm.predictors.sequential import SequentialRegression
    from curvestop.srm.regression.features import enabled_groups
    from curvestop.srm.regression.regressors import REGRESSORS

    make_regressor = partial(REGRESSORS[name], **settings)
    make_regressor()  # wrong settings are an error now, not at the first fit
    return SequentialRegression(make_regressor, log_scaled=log_scaled, groups=enabled_groups(ap=ap, hp=hp, bow=bow))


def _last_seen(*, direction: Direction | None = None, log_scaled: Iterable[str] = ()) -> CurvePredictor:
    """Make the heuristic that the last value stays; neither argument has an effect on it."""
    return LastSeenValue()


def _stacked(**settings: Any) -> CurvePredictor:
    # Within the function, as everywhere here, so that a name alone loads nothing.
    from curvestop.srm.predictors.stacked.predictor import StackedPredictor

    return StackedPredictor(**settings)


def _learning_curve_extrapolation(*, log_scaled: Iterable[str] = (), **settings: Any) -> CurvePredictor:
    """Make the predictor that sees no configuration, so `log_scaled` has no effect on it."""
    from curvestop.srm.predictors.lce import LearningCurveExtrapolation  # needs the extra [lce]

    return LearningCurveExtrapolation(**settings)


def _bayesian_neural_network(*, log_scaled: Iterable[str] = (), **settings: Any) -> CurvePredictor:
    from curvestop.srm.predictors.bnn import BayesianNeuralNetwork  # needs the extra [torch]

    return BayesianNeuralNetwork(log_scaled=log_scaled, **settings)


PREDICTORS: Mapping[str, Callable[..., CurvePredictor]] = {
    **{name: partial(_sequential, name) for name in REGRESSOR_NAMES},
    "last-seen": _last_seen,
    "stacked": _stacked,
    "lce": _learning_curve_extrapolation,
    "bnn": _bayesian_neural_network,
}
"""Makers of predictors by name: `PREDICTORS[name](direction=..., log_scaled=..., **settings)`.

`direction` is None where it is not known. A maker raises ImportError if its extra is not installed, TypeError for a setting
the predictor does not have, and ValueError for a value it does not take.
"""


@cache
def load_libraries(name: str) -> None:
    """Import what a predictor computes with, and compile it: up to seconds, once, in which a fit could not pause.

    Args:
        name: A key of `PREDICTORS`.
    """
    if name not in SLOW_PREDICTORS:  # those load their libraries when they are made
        curves = [LearningCurve(str(i), {"x": i}, (0.1 * i, 0.2 * i * i)) for i in range(8)]
        PREDICTORS[name]().fit(curves)  # so small that nothing else takes time


SLOW_PREDICTORS = frozenset({"lce", "bnn"})
"""Predictors that need milliseconds to seconds for one prediction: never call them where other requests wait."""
