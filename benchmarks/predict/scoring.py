"""Score predictions of final values: one split of one curve set, one predictor, one or more observed lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import rankdata

from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.predictors.stacked.predictor import StackedPredictor

Array = npt.NDArray[np.float64]

FIT_COMPLETE_CURVES = ("stacked", "lce", "bnn")
"""Predictors that learn from every epoch of a curve, or need to know how long it is."""
MIN_TEST_CURVES = 30
"""A split leaves at least this many curves for the test."""
SIGMAS_95 = 1.959964
"""Sigmas either way of a 95 % interval."""


@dataclass(frozen=True)
class Score:
    """Scores of one predictor at one observed length.

    Attributes:
        r2: Share of the variance explained, at most 1.
        spearman: Rank correlation over all test curves.
        top_spearman: Rank correlation over the truly best fifth.
        crps: Over the standard deviation of the targets; lower is better.
        coverage: Share of targets within the nominal 95 % interval.
    """

    r2: float
    spearman: float
    top_spearman: float
    crps: float
    coverage: float

    @staticmethod
    def of(target: Array, mean: Array, sigma: Array, direction: Direction) -> Score:
        """Score predictions: targets, means and sigmas `(n,)` in the metric."""
        errors, spread = target - mean, float(target.std())
        # Stopping compares the best trials with each other, so their order counts by itself.
        goodness = target if direction == "maximize" else -target
        top = goodness >= np.quantile(goodness, 0.8)
        return Score(
            r2=1.0 - float(np.mean(errors**2)) / spread**2,
            spearman=spearman(mean, target),
            top_spearman=spearman(mean[top], target[top]),
            crps=float(np.mean(crps(errors, sigma))) / spread,
            coverage=float(np.mean(np.abs(errors) <= SIGMAS_95 * sigma)),
        )

    @staticmethod
    def mean(scores: Sequence[Score]) -> Score:
        """Return the mean of each score."""
        return Score(*(float(np.mean([getattr(s, f.name) for s in scores])) for f in fields(Score)))


def r2(target: Sequence[float], predicted: Sequence[float]) -> float:
    """Return 1 - squared error / squared deviation from the mean."""
    y, y_hat = np.asarray(target), np.asarray(predicted)
    return float(1 - np.sum((y - y_hat) ** 2) / np.sum((y - y.mean()) ** 2))


def crps(errors: Array, sigma: Array) -> Array:
    """Return the continuous ranked probability scores of normal predictions (Gneiting and Raftery 2007, equation 21).

    Args:
        errors: `(n,)` target minus mean.
        sigma: `(n,)` >= 0; at 0 the score is |error|.
    """
    safe = np.maximum(sigma, 1e-300)  # where sigma is 0 the result is replaced below
    with np.errstate(over="ignore"):
        z = errors / safe
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    score: Array = np.where(sigma > 0, safe * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi)), np.abs(errors))
    return score


def spearman(a: Array, b: Array) -> float:
    """Return the rank correlation; 0 if either is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


@dataclass(frozen=True)
class Split:
    """A split of a curve set.

    Attributes:
        train: Curves to learn from.
        test: Curves to judge predictions on.
    """

    train: tuple[LearningCurve, ...]
    test: tuple[LearningCurve, ...]

    @staticmethod
    def of(curves: Sequence[LearningCurve], n_train: int, seed: int) -> Split:
        """Split at random; at least MIN_TEST_CURVES are kept for the test."""
        order = np.random.default_rng(seed).permutation(len(curves))
        n_train = min(n_train, len(curves) - MIN_TEST_CURVES)
        return Split(tuple(curves[i] for i in order[:n_train]), tuple(curves[i] for i in order[n_train:]))

    @property
    def target(self) -> Array:
        """Final values of the test curves, `(n,)`."""
        return np.array([c.values[-1] for c in self.test])

    def with_few_tests(self, n: int | None) -> Split:
        """Return the split with the first n test curves only (they are in random order); None keeps all."""
        return Split(self.train, self.test[:n])


def truncated(curves: Sequence[LearningCurve], tau: int) -> list[LearningCurve]:
    """Return the curves' first tau values and the final one, so that a sequential predictor fits one model, for tau."""
    return [LearningCurve(c.trial, c.configuration, (*c.values[:tau], c.values[-1])) for c in curves]


def score(
    split: Split,
    predictor: str,
    taus: Sequence[int],
    *,
    direction: Direction,
    log_scaled: tuple[str, ...],
    settings: Mapping[str, Any],
) -> list[Score]:
    """Return one score for each observed length.

    Predictors of FIT_COMPLETE_CURVES are fitted once, on complete curves; others once for each length.

    Args:
        split: Curves to learn from and to judge on.
        predictor: A name of `PREDICTORS`.
        taus: Observed lengths.
        direction: Which values are the good ones.
        log_scaled: Names of the configuration that count by their logarithm.
        settings: Of the predictor.
    """
    scores, make = [], partial(PREDICTORS[predictor], direction=direction, log_scaled=log_scaled, **settings)
    fitted_once = make().fit(split.train) if predictor in FIT_COMPLETE_CURVES else None
    for tau in taus:
        model = fitted_once or make().fit(truncated(split.train, tau))
        heads = [curve.head(tau) for curve in split.test]
        many = model.predict_many(heads) if isinstance(model, StackedPredictor) else [model.predict(c) for c in heads]
        predictions = [p or Prediction(math.nan, math.nan) for p in many]
        mean, sigma = np.array([p.mean for p in predictions]), np.array([p.sigma for p in predictions])
        scores.append(Score.of(split.target, mean, sigma, direction))
    return scores


def simultaneous_coverage(split: Split, direction: Direction, log_scaled: tuple[str, ...]) -> tuple[float, list[bool]]:
    """Return whether test curves stay within the stacked predictor's nominal 95 % bound at all decision points.

    Returns:
        The share of all test curves that do, and for each of the true top 2 % whether it does.
    """
    model = StackedPredictor(direction=direction, log_scaled=log_scaled).fit(split.train)
    target = split.target
    inside = np.ones(len(target), dtype=bool)
    for tau in model.models_:  # a curve counts only if its final value is within the bound at every length
        bounds = model.bounds([c.head(tau) for c in split.test])
        inside &= np.array([b is not None and b.lower <= y <= b.upper for b, y in zip(bounds, target, strict=True)])
    goodness = target if direction == "maximize" else -target
    top = goodness >= np.quantile(goodness, 0.98)
    return float(inside.mean()), [bool(b) for b in inside[top]]
