"""The thesis's stopping rule: stop when the final value is unlikely to beat the best one observed.

Baker 2017 (thesis), section 4.1.2: stop when P(y_hat <= y_best - delta) >= Delta, with y_best the n-th best observed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from curvestop.srm.curve import Prediction
from curvestop.srm.validation import is_finite, whole_number

Direction = Literal["maximize", "minimize"]
BRITISH: Mapping[str, Direction] = {"maximise": "maximize", "minimise": "minimize"}
"""Spellings that are accepted from users and from studies stored by earlier versions."""
SQRT_2 = math.sqrt(2)
ROUNDING = 1e-12
"""Two values that differ by no more than this share of them are equal."""
LEAST_CURVES = 6
"""Two curves for each of the three folds of nu-SVR's search."""


@dataclass(frozen=True)
class StoppingRule:
    """When a final value counts as no better than the best, and from when on models are fitted.

    Attributes:
        threshold: Delta in (0, 1], the probability from which a trial is stopped; higher stops less.
        tolerance: delta >= 0, in the metric's unit; a final value within it of the best is worth finishing.
        rank: n >= 1; the n-th best observed value is the one to beat.
        min_curves: d >= 6, complete curves before any model is fitted.

    Examples:
        >>> round(StoppingRule().probability(Prediction(0.7, 0.1), 0.8, "maximize"), 3)  # one sigma below the best
        0.841
    """

    threshold: float = 0.95
    tolerance: float = 0.0
    rank: int = 1
    min_curves: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], but got {self.threshold!r}")
        # `not >=` refuses NaN too.
        if not (self.tolerance >= 0 and is_finite(self.tolerance)):
            raise ValueError(f"tolerance must be finite and >= 0, but got {self.tolerance!r}")
        object.__setattr__(self, "rank", whole_number("rank", self.rank))
        # Two for each fold of the search.
        object.__setattr__(self, "min_curves", whole_number("min_curves", self.min_curves, least=LEAST_CURVES))

    def probability(self, prediction: Prediction, value_to_beat: float, direction: Direction) -> float:
        """Return P(final value no better than `value_to_beat`, less the tolerance), in [0, 1].

        A tie is as good: without spread, a prediction that equals the value to beat has probability 0.

        Args:
            prediction: Normal distribution of the final value.
            value_to_beat: In the metric.
            direction: Whether higher or lower values are better.
        """
        # How far the prediction is behind, in the metric: y_best - y_hat, the reverse if lower is better.
        margin = difference(value_to_beat, prediction.mean) * (1 if direction == "maximize" else -1)
        return normal_cdf(margin - self.tolerance, prediction.sigma)

    def stops(self, probability: float) -> bool:
        """Return whether this probability stops a trial."""
        return probability >= self.threshold


def difference(one: float, other: float) -> float:
    """Return one - other; 0 if they are equal but for rounding.

    A prediction may miss a value that all trials have by its last digit, and its sigma is then no larger.

    Examples:
        >>> difference(0.1 + 0.2, 0.3), difference(0.5, 0.25)
        (0.0, 0.25)
    """
    return 0.0 if math.isclose(one, other, rel_tol=ROUNDING) else one - other


def normal_cdf(margin: float, sigma: float) -> float:
    """Return P(N(0, sigma) < margin); a step after 0 if sigma is 0, so that a tie counts as not behind.

    Args:
        margin: Any number, in the unit of sigma.
        sigma: Standard deviation, >= 0.
    """
    if sigma <= 0:
        return 1.0 if margin > 0 else 0.0
    return 0.5 * math.erfc(-margin / (sigma * SQRT_2))  # 0.05 us, where scipy.stats.norm.cdf takes 22


def nth_best(values: Iterable[float], n: int, direction: Direction) -> float | None:
    """Return the n-th best of the values; None if there are fewer.

    Args:
        values: In the metric, in any order.
        n: >= 1.
        direction: Whether higher or lower values are better.
    """
    ranked = sorted(values, reverse=direction == "maximize")
    return ranked[n - 1] if len(ranked) >= n else None
