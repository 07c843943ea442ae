"""The default predictor: one stacked kernel model at a dozen observed lengths, all settings by closed-form leave-one-out.

A curve of another length is cut to the nearest modelled length below. What it learns is immutable once fitted: readers need
no lock, and a refit makes a new bank.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.curve import Configuration, LearningCurve, Prediction
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.conformal import PROMISING, Interval, around, simultaneous_factor
from curvestop.srm.predictors.stacked.curve_summary import LARGEST
from curvestop.srm.predictors.stacked.level_model import Answer, LevelModel
from curvestop.srm.predictors.stacked.mixture_kernel import Rows
from curvestop.srm.predictors.unit_scale import usual_direction
from curvestop.srm.regression.features import CONFIGURATION_GROUPS, Array, ConfigurationFeatures, array_from_rows, enabled_groups
from curvestop.srm.regression.regressors import MIN_ROWS

FRACTIONS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the longest curve at which there is a model."""
MOST_CURVES = 200
"""It learns from the first so many; the cost of a fit grows with their cube, that of a prediction with their square."""
SCORE_DIGITS = 9
"""To which scores are rounded, so that the order of a sum does not show in a rank."""
LOG_RATIO = 100.0
"""A numeric column of the configuration, all > 0, whose largest value is this many times its least counts by its logarithm."""


def checkpoints(horizon: int) -> tuple[int, ...]:
    """Observed lengths in [1, horizon - 1] that get a model, ascending; none for a horizon of 1."""
    return tuple(sorted({min(max(1, round(f * horizon)), horizon - 1) for f in FRACTIONS if horizon > 1}))


class ConfigurationRows:
    """Configurations as rows of finite numbers; columns that span decades, and those declared so, by their logarithm."""

    def __init__(self, log_scaled: Iterable[str] = (), *, groups: Iterable[str] = CONFIGURATION_GROUPS) -> None:
        self.log_scaled, self.groups = frozenset(log_scaled), frozenset(groups)

    def fit(self, configurations: Sequence[Configuration]) -> Self:
        self._features = ConfigurationFeatures(groups=self.groups).fit(configurations)
        rows = self._features.transform(configurations)
        least, most = rows.min(axis=0, initial=np.inf), rows.max(axis=0, initial=-np.inf)
        declared = np.array([name in self.log_scaled for name, _ in self._features.columns_], dtype=bool)
        self._logs = np.flatnonzero((declared | (most / LOG_RATIO >= least)) & (least > 0))
        self._least = least[self._logs]
        return self

    def transform(self, configurations: Sequence[Configuration]) -> Array:
        """`(n, columns)`, all finite; a value below the least of training counts as that one where logarithms are taken."""
        rows = _bounded(self._features.transform(configurations))
        if len(self._logs):
            rows[:, self._logs] = np.log(np.maximum(rows.take(self._logs, axis=1), self._least))
        return rows


def _bounded(values: Array) -> Array:
    """The same array, its numbers kept where squares and differences are finite."""
    np.minimum(values, LARGEST, out=values)
    return np.maximum(values, -LARGEST, out=values)


def _first_distinct(curves: Sequence[LearningCurve]) -> list[LearningCurve]:
    """The first MOST_CURVES, by the names of their trials; of equal runs one, unless hardly any would be left.

    A run that is there twice would vouch for itself when it is left out.
    """
    distinct: dict[object, LearningCurve] = {}
    for curve in curves:
        distinct.setdefault((curve.values, *sorted(curve.configuration.items())), curve)
    chosen = list(distinct.values()) if len(distinct) >= MIN_ROWS else list(curves)
    return sorted(chosen[:MOST_CURVES], key=lambda c: (c.trial, c.values))


@dataclass(frozen=True)
class Reliability:
    """What a predictor says of itself at one checkpoint.

    tau: observed length. n_curves: it learnt from. r2: of left-out curves, at most 1. coverage: share of left-out curves
    within their nominal 90 % interval.
    """

    tau: int
    n_curves: int
    r2: float
    coverage: float

    def why_unreliable(self, *, least_r2: float = 0.3, least_curves: int = 15) -> str:
        """What it would need to be trusted, as a sentence; empty when nothing."""
        if self.n_curves < least_curves:
            return f"{plural(least_curves - self.n_curves, 'more complete curve')} (it has {self.n_curves})"
        if self.r2 < least_r2:
            explained = f"it explains {self.r2:.0%} of the variance, not {least_r2:.0%}"
            return f"curves that tell more: after {plural(self.tau, 'epoch')} {explained}"
        return ""


def _reliability_of(model: LevelModel) -> Reliability:
    return Reliability(model.tau, model.n_curves, model.r2_, float(np.mean(np.abs(model.standardised_) <= 1.645)))


class StackedPredictor:
    """A `CurvePredictor`: compact curve features, mixed kernels, closed-form leave-one-out, an own sigma for each curve.

    log_scaled: names of the configuration whose logarithm is the feature; columns that span two decades are found anyway.
    direction: tells broken runs from good ones, which are far from the median too; None: the way most curves went.
    ap, hp, bow: 0 leaves out the columns of that group of the configuration (see `curvestop.srm.regression.features.group_of`).
    """

    def __init__(
        self,
        *,
        direction: Direction | None = None,
        log_scaled: Iterable[str] = (),
        ap: float = 1,
        hp: float = 1,
        bow: float = 1,
    ) -> None:
        self.direction, self.log_scaled = direction, frozenset(log_scaled)
        self.groups = enabled_groups(ap=ap, hp=hp, bow=bow)

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Learn from complete curves; the last value of each is its target."""
        self._rows = ConfigurationRows(self.log_scaled, groups=self.groups).fit([c.configuration for c in curves])
        self.models_ = self._bank(curves, {})
        return self

    def refitted(self, curves: Sequence[LearningCurve]) -> StackedPredictor:
        """A new predictor on these curves at this one's settings: no search, for use while a search runs elsewhere."""
        if _first_distinct(curves) == self._curves:
            return self
        other = StackedPredictor(direction=self.direction, log_scaled=self.log_scaled)
        other.groups, other._rows = self.groups, self._rows
        other.models_ = other._bank(curves, self.models_)
        return other

    def predict(self, curve: LearningCurve) -> Prediction | None:
        tau = self.modelled_length(len(curve.values))
        return None if tau is None else self.models_[tau].answer_one(self._inputs([curve], tau))[0]

    def predict_and_score(self, curve: LearningCurve) -> tuple[Prediction | None, float | None]:
        """Both in hardly more time than one; the score as `scores` has it for a trial that it did not learn from."""
        tau = self.modelled_length(len(curve.values))
        if tau is None:
            return None, None
        model, inputs = self.models_[tau], self._inputs([curve], tau)
        prediction, of_kernel = model.answer_one(inputs)
        return prediction, round(model.score_of(of_kernel, inputs.values[0, -1].item()), SCORE_DIGITS)

    def predict_and_score_alike(self, curves: Sequence[LearningCurve]) -> list[tuple[Prediction, float]] | None:
        """`predict_and_score` of one or more curves that one model answers for; None without a model."""
        tau = self.modelled_length(len(curves[0].values))
        if tau is None:
            return None
        model, inputs = self.models_[tau], self._inputs(curves, tau)
        answer, of_kernel = model.answer_and_score(inputs)
        each = zip(answer.mean.tolist(), answer.sigma.tolist(), of_kernel.tolist(), inputs.values[:, -1].tolist(), strict=True)
        return [(Prediction(mean, sigma), round(model.score_of(part, last), SCORE_DIGITS)) for mean, sigma, part, last in each]

    def predict_many(self, curves: Sequence[LearningCurve]) -> list[Prediction | None]:
        """As `predict`, for several curves at once."""
        taus = {length: self.modelled_length(length) for length in {len(c.values) for c in curves}}
        if len(set(taus.values())) == 1:
            return self._predict_alike(curves, self.modelled_length(len(curves[0].values)))
        predictions: dict[int, Prediction | None] = {}
        for tau in set(taus.values()):
            members = [i for i, c in enumerate(curves) if taus[len(c.values)] == tau]
            predictions.update(zip(members, self._predict_alike([curves[i] for i in members], tau), strict=True))
        return [predictions[i] for i in range(len(curves))]

    def _predict_alike(self, curves: Sequence[LearningCurve], tau: int | None) -> list[Prediction | None]:
        """Of curves that one model answers for."""
        if tau is None:
            return [None] * len(curves)
        answer = self.models_[tau].answer(self._inputs(curves, tau))
        return list(map(Prediction._make, zip(answer.mean.tolist(), answer.sigma.tolist(), strict=True)))

    def encode(self, configurations: Sequence[Configuration]) -> Array:
        """`(m, columns)` numbers that `predict_rows` takes: worth doing once for each trial."""
        return self._rows.transform(configurations)

    def predict_rows(self, values: Array, configurations: Array) -> Answer | None:
        """As `predict_many` for m curves of equal length.

        values: `(m, tau)`, finite. configurations: `(m, columns)` of `encode`. None without a model for tau.
        """
        tau = self.modelled_length(values.shape[1])
        return None if tau is None else self.models_[tau].answer(Rows(values[:, :tau], configurations))

    def score(self, curve: LearningCurve) -> float | None:
        """Expected normal score of the final value among the training curves, higher for higher values; for ranking only."""
        tau = self.modelled_length(len(curve.values))
        return None if tau is None else self.models_[tau].scores(self._inputs([curve], tau)).item()

    def scores(self, curves: Sequence[LearningCurve]) -> list[float] | None:
        """`score` of each of one or more curves of one length; left-out scores of trials that it learnt from at that length.

        Rounded, so that it is the same whether asked for one by one or together. None without a model for the length.
        """
        tau = self.modelled_length(len(curves[0].values))
        if tau is None:
            return None
        learnt = self._left_out[tau]
        known = [learnt.get(c.trial) for c in curves]
        unknown = [c for c, score in zip(curves, known, strict=True) if score is None]
        asked = iter(self.models_[tau].scores(self._inputs(unknown, tau)).tolist() if unknown else ())
        return [round(next(asked) if score is None else score, SCORE_DIGITS) for score in known]

    def bound(self, curve: LearningCurve, *, level: float = 0.95) -> Interval | None:
        """An interval that holds the final value at all observed lengths of the curve at once with probability `level`."""
        return self.bounds([curve], level=level)[0]

    def bounds(self, curves: Sequence[LearningCurve], *, level: float = 0.95) -> list[Interval | None]:
        """As `bound`, for several curves at once."""
        factor = self.simultaneous_factor(level)
        intervals: list[Interval | None] = []
        for curve, prediction in zip(curves, self.predict_many(curves), strict=True):
            if prediction is None:
                intervals.append(None)
                continue
            promising = self._promising[bisect_right(self._lengths, len(curve.values)) - 1]
            toward = self._sign if self._sign * prediction.mean >= promising else 0
            intervals.append(around(prediction.mean, factor * prediction.sigma, toward=toward))
        return intervals

    def simultaneous_factor(self, level: float) -> float:
        """Sigmas either way that hold over all decision points; level in (0, 1)."""
        if not 0 < level < 1:
            raise ValueError(f"level must be in (0, 1), but got {level!r}")
        return simultaneous_factor(self.standardised_, level)

    def why_unreliable(self, curve: LearningCurve) -> str:
        """Why its prediction of this curve is not to be trusted; empty when it is, or when it has none."""
        tau = self.modelled_length(len(curve.values))
        return "" if tau is None else self._reliability[tau].why_unreliable(least_curves=0)

    def modelled_length(self, length: int) -> int | None:
        """The largest modelled length <= this one, to which a curve is cut; None when there is none."""
        position = bisect_right(self._lengths, length)
        return self._lengths[position - 1] if position else None

    @property
    def reliability(self) -> tuple[Reliability, ...]:
        """Of every checkpoint, by observed length."""
        return tuple(self._reliability.values())

    def _bank(self, curves: Sequence[LearningCurve], known: Mapping[int, LevelModel]) -> dict[int, LevelModel]:
        self._curves = curves = _first_distinct(curves)
        models: dict[int, LevelModel] = {}
        direction = self.direction or usual_direction(curves)
        self._sign = 1 if direction == "maximize" else -1
        self._promising: list[float] = []  # by look: what a mean (times the sign) needs to be among the better predictions
        decision_points = []
        self._left_out: dict[int, dict[str, float]] = {}
        for tau in checkpoints(max((len(c.values) for c in curves), default=0)):
            used = np.array([len(c.values) > tau for c in curves])
            longer = [c for c in curves if len(c.values) > tau]
            if len(longer) < MIN_ROWS:
                break
            pause()
            finals = np.clip([c.values[-1] for c in longer], -LARGEST, LARGEST)
            settings = known[tau].settings if tau in known else None
            models[tau] = LevelModel(self._inputs(longer, tau), finals, direction, settings)
            self._left_out[tau] = dict(zip((c.trial for c in longer), models[tau].left_out_scores_.tolist(), strict=True))
            self._promising.append(float(np.quantile(self._sign * (finals - models[tau].residuals_), PROMISING)))
            look = np.full(len(curves), np.nan)
            look[used] = models[tau].standardised_
            decision_points.append(look)
        scored = np.array(decision_points).reshape(len(decision_points), len(curves)).T
        self.standardised_ = scored[~np.isnan(scored).all(axis=1)]
        self._lengths = tuple(models)
        self._reliability = {tau: _reliability_of(model) for tau, model in models.items()}
        return models

    def _inputs(self, curves: Sequence[LearningCurve], tau: int) -> Rows:
        values = _bounded(array_from_rows([c.values[:tau] for c in curves], (len(curves), tau)))
        return Rows(values, self._rows.transform([c.configuration for c in curves]))
