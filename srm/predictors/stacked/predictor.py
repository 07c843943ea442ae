"""The default predictor: one stacked kernel model at a dozen observed lengths, all settings by closed-form leave-one-out.

A curve of another length is cut to the nearest modelled length below. A fitted predictor never changes: readers need no lock once
all its models are solved, and a refit makes a new one. The derivation is docs/stacked.md, whose equation numbers the comments of
this folder give.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from curvestop.srm.cooperative import pause
from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.stacked.configuration_rows import ConfigurationRows, bounded
from curvestop.srm.predictors.stacked.conformal import PROMISING_QUANTILE, Interval, simultaneous_factor, stretched_interval
from curvestop.srm.predictors.stacked.curve_summary import LARGEST_SQUARABLE
from curvestop.srm.predictors.stacked.mixture_kernel import Rows
from curvestop.srm.predictors.stacked.reliability import Reliability
from curvestop.srm.predictors.unit_scale import usual_direction
from curvestop.srm.regression.features import Array, array_from_rows, enabled_groups, whole_blocks
from curvestop.srm.regression.nu_svr import MIN_ROWS

if TYPE_CHECKING:
    from curvestop.srm.predictors.stacked.level_model import LevelModel

MODELLED_FRACTIONS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the longest curve at which there is a model."""
MAX_CURVES = 200
"""Only the first so many curves are learnt from: a fit costs the cube of their number, a prediction the square."""
SCORE_DIGITS = 9
"""Scores are rounded to this many digits, so that the order of a sum does not show in a rank."""


def modelled_lengths(max_epochs: int) -> tuple[int, ...]:
    """Return the observed lengths that get a model, eq. (1).

    Args:
        max_epochs: Length of the longest curve, >= 0.

    Returns:
        Lengths in [1, max_epochs - 1], ascending; none if max_epochs < 2.
    """
    return tuple(sorted({min(max(1, round(f * max_epochs)), max_epochs - 1) for f in MODELLED_FRACTIONS if max_epochs > 1}))


class Level(NamedTuple):
    """What was learnt about one observed length.

    Attributes:
        model: The fitted model.
        left_out_scores: Score of each curve that was learnt from, without it, by trial.
        promising: The mean (times the sign of the direction) from which on a curve is promising.
        reliability: The model's self-test.
    """

    model: LevelModel
    left_out_scores: Mapping[str, float]
    promising: float
    reliability: Reliability


class StackedPredictor:
    """Predict final values by curve summaries, mixture kernels and closed-form leave-one-out, with a sigma for each curve.

    Args:
        direction: Tells diverged runs from good ones, which are far from the median too. None (default) takes the direction
            in which most curves went.
        log_scaled: Names of the configuration whose logarithm is the feature; columns that span two decades are found anyway.
        ap: 0 leaves out the configuration columns of group "AP" (see `curvestop.srm.regression.features.group_of`).
        hp: 0 leaves out those of group "HP".
        bow: 0 leaves out those of group "BoW".

    Raises:
        ValueError: If ap, hp or bow is neither 0 nor 1.

    Examples:
        >>> curves = [LearningCurve(str(i), {"lr": i}, tuple(i / 10 * (1 - 0.5**t) for t in range(1, 7))) for i in range(12)]
        >>> predictor = StackedPredictor(direction="maximize").fit(curves)
        >>> prediction = predictor.predict(LearningCurve("new", {"lr": 5.5}, (0.275, 0.4125)))
        >>> round(prediction.mean, 2)  # 0.55 (1 - 0.5**6) is 0.54
        0.54
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
        """Learn from complete curves; the last value of each is its target.

        Args:
            curves: Complete curves of any lengths >= 1, in any order.
        """
        self._configuration_rows = ConfigurationRows(self.log_scaled, groups=self.groups).fit([c.configuration for c in curves])
        self._prepare(curves, known=None)
        self.complete()
        return self

    def refitted(self, curves: Sequence[LearningCurve]) -> StackedPredictor:
        """Return a new predictor on these curves at this one's settings, without a search, in milliseconds.

        Each of its models is solved when it is first asked for; `complete` solves all.

        Args:
            curves: Complete curves of any lengths >= 1, in any order.
        """
        # Nothing new to learn from, such as a repeated run or a curve beyond MAX_CURVES.
        if _distinct_curves(curves) == self._curves:
            return self
        other = StackedPredictor(direction=self.direction, log_scaled=self.log_scaled)
        # Columns and their logarithms are settings too: the known column weights count on their order.
        other.groups, other._configuration_rows = self.groups, self._configuration_rows
        other._prepare(curves, known=self)
        return other

    def complete(self) -> None:
        """Solve the models that were not asked for yet; from then on several threads may use the predictor."""
        for tau in self._lengths:
            if tau not in self._levels:
                pause()  # a fit in the background lets others run between two models
                self._level(tau)

    @property
    def is_full(self) -> bool:
        """Whether it learnt from MAX_CURVES, so that further curves change nothing."""
        return len(self._curves) == MAX_CURVES

    @property
    def models_(self) -> dict[int, LevelModel]:
        """The model of each modelled length."""
        return {tau: self._level(tau).model for tau in self._lengths}

    @cached_property
    def standardized_(self) -> Array:
        """The `(n, lengths)` leave-one-out residuals over their sigmas, NaN where a curve was too short."""
        standardized = []
        for tau in self._lengths:
            column = np.full(len(self._curves), np.nan)
            column[[len(c.values) > tau for c in self._curves]] = self._level(tau).model.standardized_
            standardized.append(column)
        # (curves, lengths); curves that are too short for every model have no score and drop out.
        scored = np.array(standardized).reshape(len(standardized), len(self._curves)).T
        kept: Array = scored[~np.isnan(scored).all(axis=1)]
        return kept

    def predict(self, curve: LearningCurve) -> Prediction | None:
        """Predict the final value of a partial curve; None if it is too short for any model.

        Args:
            curve: `(tau,)` values, tau >= 1; beyond a modelled length they are cut to it.
        """
        tau = self.modelled_length(len(curve.values))
        return None if tau is None else self._level(tau).model.predict_one(self._query([curve], tau))[0]

    def predict_many(self, curves: Sequence[LearningCurve]) -> list[Prediction | None]:
        """Predict several partial curves of any lengths at once: what `predict` says of each, to the last bit, for less time.

        Args:
            curves: One or more partial curves.

        Returns:
            One item for each curve, in order; None where it is too short for any model.
        """
        taus = {length: self.modelled_length(length) for length in {len(c.values) for c in curves}}
        # The usual case, all of one modelled length: no sorting into groups.
        if len(set(taus.values())) == 1:
            return self._predict_alike(curves, self.modelled_length(len(curves[0].values)))
        predictions: dict[int, Prediction | None] = {}
        for tau in set(taus.values()):
            members = [i for i, c in enumerate(curves) if taus[len(c.values)] == tau]
            predictions.update(zip(members, self._predict_alike([curves[i] for i in members], tau), strict=True))
        return [predictions[i] for i in range(len(curves))]

    def predict_and_score(self, curve: LearningCurve) -> tuple[Prediction | None, float | None]:
        """Return prediction and score of a partial curve in hardly more time than one of them.

        Args:
            curve: A partial curve of a trial that was not learnt from; the score is what `scores` returns for it.

        Returns:
            Prediction and score; (None, None) if the curve is too short for any model.
        """
        tau = self.modelled_length(len(curve.values))
        if tau is None:
            return None, None
        model, rows = self._level(tau).model, self._query([curve], tau)
        prediction, kernel_sum = model.predict_one(rows)
        return prediction, round(model.score(kernel_sum, rows.values[0, -1].item()), SCORE_DIGITS)

    def predict_and_score_alike(self, curves: Sequence[LearningCurve]) -> list[tuple[Prediction, float]] | None:
        """Return `predict_and_score` of one or more curves of one modelled length; None if there is no model for it.

        Args:
            curves: Of trials that were not learnt from, since left-out scores are not looked up.
        """
        tau = self.modelled_length(len(curves[0].values))
        if tau is None:
            return None
        model, rows = self._level(tau).model, self._query(curves, tau)
        predictions, kernel_sums = model.predict_and_score(rows)
        # (m,) each; `tolist` makes floats of them all at once.
        columns = (predictions.mean, predictions.sigma, model.score(kernel_sums, rows.values[:, -1]))
        return [
            (Prediction(mean, sigma), round(score, SCORE_DIGITS))
            for mean, sigma, score in zip(*(column[: len(curves)].tolist() for column in columns), strict=True)
        ]

    def score(self, curve: LearningCurve) -> float | None:
        """Return the expected normal score of a curve's final value among the training curves; only ranks mean something.

        Higher scores are for higher values. None if the curve is too short for any model.

        Args:
            curve: Partial curve of a trial that was not learnt from.
        """
        tau = self.modelled_length(len(curve.values))
        return None if tau is None else self._level(tau).model.scores(self._query([curve], tau)).item(0)

    def scores(self, curves: Sequence[LearningCurve]) -> list[float] | None:
        """Return the score of each of one or more curves of one length; None if there is no model for the length.

        Trials that were learnt from at that length get their left-out scores, so that all are comparable. Scores are rounded,
        so that they are the same one by one and together.

        Args:
            curves: One or more partial curves; trials are recognized by name.
        """
        tau = self.modelled_length(len(curves[0].values))
        if tau is None:
            return None
        left_out = self._level(tau).left_out_scores
        known = [left_out.get(c.trial) for c in curves]
        unknown = [c for c, score in zip(curves, known, strict=True) if score is None]
        computed = iter(self._level(tau).model.scores(self._query(unknown, tau)).tolist() if unknown else ())
        return [round(next(computed) if score is None else score, SCORE_DIGITS) for score in known]

    def bounds(self, curves: Sequence[LearningCurve], *, level: float = 0.95) -> list[Interval | None]:
        """Return intervals that hold the final values at all observed lengths of each curve at once.

        Args:
            curves: Partial curves of any lengths.
            level: Probability that the intervals of a curve hold its final value, in (0, 1).

        Returns:
            One interval for each curve; None if it is too short for any model.

        Raises:
            ValueError: If the level is not in (0, 1).
        """
        factor = self.simultaneous_factor(level)
        intervals: list[Interval | None] = []
        for curve, prediction in zip(curves, self.predict_many(curves), strict=True):
            if prediction is None:
                intervals.append(None)
                continue
            promising = self._level(self._lengths[bisect_right(self._lengths, len(curve.values)) - 1]).promising
            # The good side, upper or lower, of a promising curve.
            toward = self._sign if self._sign * prediction.mean >= promising else 0
            intervals.append(stretched_interval(prediction.mean, factor * prediction.sigma, toward=toward))  # eq. (32)
        return intervals

    def simultaneous_factor(self, level: float) -> float:
        """Return how many sigmas either way hold at all decision points of a curve at once, eq. (31).

        Args:
            level: Probability, in (0, 1).

        Raises:
            ValueError: If the level is not in (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be in (0, 1), but got {level!r}")
        return simultaneous_factor(self.standardized_, level)

    def why_unreliable(self, curve: LearningCurve) -> str:
        """Return why the prediction of this curve should not be relied upon; empty if it may be, or there is none."""
        tau = self.modelled_length(len(curve.values))
        return "" if tau is None else self._level(tau).reliability.why_unreliable(least_curves=0)

    @property
    def reliability(self) -> tuple[Reliability, ...]:
        """How reliable each model is, by ascending observed length."""
        return tuple(self._level(tau).reliability for tau in self._lengths)

    def modelled_length(self, length: int) -> int | None:
        """Return the largest modelled length <= this one, to which a curve is cut; None if there is none.

        Args:
            length: Observed length in epochs, >= 1.
        """
        position = bisect_right(self._lengths, length)
        return self._lengths[position - 1] if position else None

    def _predict_alike(self, curves: Sequence[LearningCurve], tau: int | None) -> list[Prediction | None]:
        """Predict curves of one modelled length."""
        if tau is None:
            return [None] * len(curves)
        predictions = self._level(tau).model.predict(self._query(curves, tau))
        m = len(curves)
        return list(map(Prediction._make, zip(predictions.mean[:m].tolist(), predictions.sigma[:m].tolist(), strict=True)))

    def _prepare(self, curves: Sequence[LearningCurve], *, known: StackedPredictor | None) -> None:
        """Take the curves to learn from, and the settings of a known predictor's models where there are any."""
        self._curves = curves = _distinct_curves(curves)
        self._known = known
        self._direction: Direction = self.direction or usual_direction(curves)
        self._sign = 1 if self._direction == "maximize" else -1
        lengths = sorted((len(c.values) for c in curves), reverse=True)
        # A model needs MIN_ROWS curves that are longer.
        longest = lengths[MIN_ROWS - 1] if len(lengths) >= MIN_ROWS else 0
        self._lengths = tuple(tau for tau in modelled_lengths(max(lengths, default=0)) if tau < longest)
        self._levels: dict[int, Level] = {}

    def _level(self, tau: int) -> Level:
        """Return the model of a modelled length, solved when it is first asked for."""
        level = self._levels.get(tau)
        if level is None:
            level = self._levels[tau] = self._solved(tau)
        return level

    def _solved(self, tau: int) -> Level:
        # Only a fit needs scipy.special and scipy.stats: a client, which makes a predictor to check its settings, does not.
        from curvestop.srm.predictors.stacked.level_model import LevelModel

        longer = [c for c in self._curves if len(c.values) > tau]
        # Models square differences of final values, which must stay finite.
        finals = np.clip([c.values[-1] for c in longer], -LARGEST_SQUARABLE, LARGEST_SQUARABLE)
        known = self._known
        settings = known._level(tau).model.settings if known is not None and tau in known._lengths else None
        model = LevelModel(self._rows(longer, tau), finals, self._direction, settings)
        left_out_means = finals - model.residuals_  # (n,) predictions without each curve
        return Level(
            model,
            left_out_scores=dict(zip((c.trial for c in longer), model.left_out_scores_.tolist(), strict=True)),
            promising=float(np.quantile(self._sign * left_out_means, PROMISING_QUANTILE)),
            reliability=_reliability_of(model),
        )

    def _query(self, curves: Sequence[LearningCurve], tau: int) -> Rows:
        """Return the rows of one or more curves that are asked about, in whole blocks: the rows at the end may be repeated."""
        return self._rows(whole_blocks(curves), tau)

    def _rows(self, curves: Sequence[LearningCurve], tau: int) -> Rows:
        """Return the first tau values of each curve, and its configuration."""
        values = bounded(array_from_rows([c.values[:tau] for c in curves], (len(curves), tau)))
        return Rows(values, self._configuration_rows.transform([c.configuration for c in curves]))


def _distinct_curves(curves: Sequence[LearningCurve]) -> list[LearningCurve]:
    """Return the first MAX_CURVES sorted by trial; of equal runs one, unless fewer than MIN_ROWS would be left.

    A run that is there twice would predict itself perfectly when one of the two is left out.
    """
    distinct: dict[object, LearningCurve] = {}
    for curve in curves:
        distinct.setdefault((curve.values, *sorted(curve.configuration.items())), curve)
    chosen = list(distinct.values()) if len(distinct) >= MIN_ROWS else list(curves)
    # The first that completed: the set grows to MAX_CURVES, then stays. Sorted, so that their order changes nothing.
    return sorted(chosen[:MAX_CURVES], key=lambda c: (c.trial, c.values))


def _reliability_of(model: LevelModel) -> Reliability:
    """Return the self-test of a model; 1.645 sigma either way is the nominal 90 % interval."""
    return Reliability(model.tau, model.n_curves, model.r2_, float(np.mean(np.abs(model.standardized_) <= 1.645)))
