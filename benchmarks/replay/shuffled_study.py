"""One study to be replayed: the curves of a set in one order, and models of them fitted as the replay completes curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.curves import CurveFile
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.srm.curve import Prediction
from curvestop.srm.predictors.stacked.level_model import LevelModel
from curvestop.srm.predictors.stacked.mixture_kernel import Rows

LONGEST = 150
"""Curves of more epochs are read at 100 evenly spaced ones."""
FIT_SIZES = (8, 11, 15, 20, 28, 40, 60, 90, 130, 190)
"""Numbers of complete curves at which models are fitted."""
SEARCH_SIZES = (8, 15, 40, 130)
"""Those of them at which settings are searched for; at the others the last ones found are kept."""


def read_curves(curve_set: CurveFile) -> tuple[Array, Array]:
    """`(n, T)` values with T <= `LONGEST`, and `(n, f)` configurations."""
    curves = curve_set.scored()
    if curves.shape[1] > LONGEST:
        curves = curves[:, np.linspace(0, curves.shape[1] - 1, 100).round().astype(int)]
    logs = [name in curve_set.log_scaled for name in curve_set.names]
    configurations = curve_set.configurations.copy()
    configurations[:, logs] = np.log(configurations[:, logs])
    return curves, configurations


def shuffled(curve_set: CurveFile, seed: int, *, n_trials: int) -> CurveSet:
    """The first `n_trials` of a random order."""
    order = np.random.default_rng(seed).permutation(len(curve_set.curves))[:n_trials]
    return in_order(curve_set, order, seed)


def in_order(curve_set: CurveFile, order: Sequence[int] | npt.NDArray[np.intp], seed: int) -> CurveSet:
    curves, configurations = read_curves(curve_set)
    rows = np.asarray(order)
    return CurveSet(curve_set.name, seed, curves[rows], configurations[rows], curve_set.direction)


@dataclass(frozen=True)
class Forecast:
    """One model's view of all n trials after the same epochs; left-out predictions for those it learnt from.

    score: `(n,)` predicted place, higher is better. mean, sigma: `(n,)` in the metric.
    """

    score: Array
    mean: Array
    sigma: Array
    n_curves: int
    r2: float

    def prediction(self, trial: int) -> Prediction:
        return Prediction(float(self.mean[trial]), float(self.sigma[trial]))


class Forecaster(Protocol):
    def forecast(self, epoch: int, completed: Sequence[int]) -> Forecast | None:
        """After `epoch` epochs, by a model of these complete trials, in the order of completion; None without a model."""
        ...


@dataclass
class Models:
    """The default predictor's models of one study, fitted when a rule first needs them.

    `forecast` learns from the first complete curves, as many as the largest of `FIT_SIZES` allows; it looks at no other final
    value.
    """

    study: CurveSet
    _fitted: dict[tuple[int, int], Forecast] = field(default_factory=dict)
    _latest: dict[int, LevelModel] = field(default_factory=dict)

    def forecast(self, epoch: int, completed: Sequence[int]) -> Forecast | None:
        """After `epoch` epochs, from these complete trials in the order of completion; None with fewer than 8."""
        size = max((s for s in FIT_SIZES if s <= len(completed)), default=0)
        if size == 0:
            return None
        if (size, epoch) not in self._fitted:
            self._fitted[size, epoch] = self._fit(epoch, np.array(completed[:size]))
        return self._fitted[size, epoch]

    def _fit(self, epoch: int, train: npt.NDArray[np.intp]) -> Forecast:
        study = self.study
        rows = Rows(study.curves[:, :epoch], study.configurations)
        known = self._latest.get(epoch)
        settings = None if known is None or len(train) in SEARCH_SIZES else known.settings
        finals = study.curves[train, -1]
        model = self._latest[epoch] = LevelModel(rows[train], finals, study.direction, settings)
        predicted = model.predict(rows)
        score, mean = study.sign * model.scores(rows), predicted.mean.copy()
        score[train] = study.sign * model.left_out_scores_
        mean[train] = finals - model.residuals_
        return Forecast(score, mean, predicted.sigma, len(train), model.r2_)
