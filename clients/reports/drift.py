"""Drift: tests of whether a study's recent predictions still come true as often as they state.

Stated probabilities p_1..p_n are tested by counting: the number of events among n independent ones of these probabilities has
the Poisson-binomial distribution; for intervals of one stated coverage it is the binomial distribution. Forecasts of one stage
are about different trials, so they are taken as independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from curvestop.clients.reports.calibration import STATED_COVERAGE, Forecast, by_stage

DRIFT_WINDOW = 40
"""Largest number of recent forecasts of a stage in the drift test."""

MIN_DRIFT_FORECASTS = 20
"""Smallest number of forecasts of a stage for which drift is tested."""

DRIFT_P_VALUE = 0.001
"""Largest p-value that is called drift; small, as the test is repeated with every trial and for every stage."""

DRIFT_RULE = (
    f"For each observed length, the last {DRIFT_WINDOW} trials with a known final value (at least {MIN_DRIFT_FORECASTS}) are "
    f"tested twice: their final values must lie inside the stated {STATED_COVERAGE:.0%} intervals, and must turn out better than "
    "the value to beat, as often as was stated. Drift is reported if this many misses, or more, have a probability below "
    f"{DRIFT_P_VALUE:g} given that what was stated is true (one-sided binomial and Poisson-binomial tests)."
)
"""The drift test in words, for the report."""


@dataclass(frozen=True)
class Drift:
    """A drift test that failed.

    Attributes:
        stage: Index of the stage of the curve.
        tested: "intervals" or "probabilities".
        n: Number of recent forecasts tested.
        n_misses: How many of them missed.
        expected_misses: How many should have, by what they stated.
        p_value: Probability of so many misses or more if what was stated is true.
    """

    stage: int
    tested: str
    n: int
    n_misses: int
    expected_misses: float
    p_value: float


def find_drifts(forecasts: Iterable[Forecast]) -> list[Drift]:
    """Return the drift tests that fail; `DRIFT_RULE` describes the test.

    Args:
        forecasts: Forecasts in the order in which their outcome became known.

    Returns:
        At most two for each stage: for its intervals and for its probabilities.
    """
    found = []
    for stage, of_stage in enumerate(by_stage(forecasts)):
        # Old forecasts come from models of fewer trials; recent ones tell how far to trust the next.
        recent = of_stage[-DRIFT_WINDOW:]
        stated = [forecast for forecast in recent if forecast.probability is not None]
        # Only misses that do harm count: intervals that are too wide, or trials worse than stated, raise no alarm.
        tests = (
            ("intervals", [1 - STATED_COVERAGE] * len(recent), sum(not forecast.covered for forecast in recent)),
            (
                "probabilities",
                [1 - (forecast.probability or 0.0) for forecast in stated],
                sum(not forecast.was_no_better for forecast in stated),
            ),
        )
        for tested, probabilities, n_misses in tests:
            # Intervals all miss with the same probability, for which the tail is that of the binomial distribution.
            p_value = poisson_binomial_tail(probabilities, n_misses)
            if len(probabilities) >= MIN_DRIFT_FORECASTS and p_value < DRIFT_P_VALUE:
                found.append(Drift(stage, tested, len(probabilities), n_misses, sum(probabilities), p_value))
    return found


def poisson_binomial_tail(probabilities: Sequence[float], at_least: int) -> float:
    """Return the probability that at least so many of independent events happen.

    Args:
        probabilities: Probability of each event, shape `(n,)`.
        at_least: The number of events.

    Examples:
        >>> round(poisson_binomial_tail([0.5, 0.5], at_least=1), 3)
        0.75
    """
    distribution = np.ones(1)  # (k + 1,): the probabilities of 0..k events among the first k
    for p in probabilities:
        distribution = np.convolve(distribution, (1 - p, p))
    # Rounding can lift the sum a little above 1.
    return float(min(1.0, distribution[at_least:].sum()))
