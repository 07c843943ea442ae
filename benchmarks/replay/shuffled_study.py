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
    """`(n, T)` values with T <= `LONGEST`, all finite and none clipped, and `(n, f)` configurations; see `CurveFile.finite`."""
    curves = curve_set.finite.curves
    if curves.shape[1] > LONGEST:
        curves = curves[:, np.linspace(0, curves.shape[1] - 1, 100).round().astype(int)]
    logs = [name in curve_set.log_scaled for name in curve_set.names]
    configurations = curve_set.finite.configurations.copy()
    configurations[:, logs] = np.log(configurations[:, logs])
    return curves, configurations


def shuffled(curve_set: CurveFile, seed: int, *, n_trials: int) -> CurveSet:
    """The first `n_trials` of a random order."""
    order = np.random.default_rng(seed).permutation(len(curve_set.finite.curves))[:n_trials]
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

    A model is a function of the trials that it learns from, in the order of completion, so several replays of one study may share
    an object of this class. `forecast` looks at no final value of another trial.
    """

    study: CurveSet
    _forecasts: dict[tuple[int, tuple[int, ...]], Forecast] = field(default_factory=dict)
    _searched: dict[tuple[int, tuple[int, ...]], LevelModel] = field(default_factory=dict)

    def forecast(self, epoch: int, completed: Sequence[int]) -> Forecast | None:
        """After `epoch` epochs, from these complete trials in the order of completion; None with fewer than 8."""
        size = largest(FIT_SIZES, len(completed))
        if size == 0:
            return None
        key = epoch, tuple(completed[:size])
        if key not in self._forecasts:
            self._forecasts[key] = self._fit(*key)
        return self._forecasts[key]

    def _fit(self, epoch: int, train: tuple[int, ...]) -> Forecast:
        study, rows, finals = self.study, self._rows(epoch), self._finals(train)
        model = searched = self._searched_on(epoch, train[: largest(SEARCH_SIZES, len(train))])
        if searched.n_curves < len(train):
            model = LevelModel(rows[np.array(train)], finals, study.direction, searched.settings)
        predicted = model.predict(rows)
        score, mean = study.sign * model.scores(rows), predicted.mean.copy()
        score[list(train)] = study.sign * model.left_out_scores_
        mean[list(train)] = finals - model.residuals_
        # Rounded, so that equal curves have equal ranks whatever order a sum was taken in.
        return Forecast(score.round(9), mean, predicted.sigma, len(train), model.r2_)

    def _searched_on(self, epoch: int, train: tuple[int, ...]) -> LevelModel:
        key = epoch, train
        if key not in self._searched:
            rows = self._rows(epoch)[np.array(train)]
            self._searched[key] = LevelModel(rows, self._finals(train), self.study.direction)
        return self._searched[key]

    def _rows(self, epoch: int) -> Rows:
        return Rows(self.study.curves[:, :epoch], self.study.configurations)

    def _finals(self, train: tuple[int, ...]) -> Array:
        finals: Array = self.study.curves[list(train), -1]
        return finals


def largest(sizes: Sequence[int], most: int) -> int:
    """Return the largest of the sizes that is at most `most`; 0 if there is none."""
    return max((size for size in sizes if size <= most), default=0)
