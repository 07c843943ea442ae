"""The seed noise of a study: by how much the final values of one configuration differ from seed to seed.

A best trial that ends within one standard deviation of another was not better than it, so losing it is no loss.

Repeated configurations tell the noise directly. Of configuration i with n_i >= 2 complete trials and final values y_ij,

    sigma^2 = sum_i sum_j (y_ij - mean_i)^2 / sum_i (n_i - 1),                                                      (1)

the pooled variance within configurations. Without repeats, the straight line through the last quarter of each curve leaves a
residual with k - 2 degrees of freedom for k epochs,

    s^2 = sum_t (y_t - line_t)^2 / (k - 2),                                                                         (2)

and sigma is `LATE_FACTOR` times the median of s. That is rough: a run whose learning rate decays hardly moves in the end, but
another seed would still have led it elsewhere. On six sets with repeats, by factors that never saw the set's domain, it was off
by a factor of 2.4 (root mean square of the logarithm), and by 3.4 in the worst (`python -m benchmarks.predict.seed_noise`).

Both go by the better half of the trials only: bad and diverged ones are noisier, and nobody asks which of them is the best.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Configuration, LearningCurve
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction

LEAST_REPEATS = 3
"""Repeats (trials beyond the first of their configuration) that are enough: with three, (1) is off by a factor of about 1.6."""
OUTLIER = 4.0
"""A trial this many standard deviations from the median of its configuration went wrong, and is left out."""
LEAST_TRIALS = 5
"""Complete trials that the late epochs are read of, at least."""
LATE_SHARE = 0.25
"""Share of a curve that is late."""
LEAST_LATE_EPOCHS = 5
"""Curves with fewer late epochs tell nothing: their end is still the climb."""
LATE_FACTOR = 2.14
"""Seed noise over the residual of late epochs: geometric mean over the domains of the benchmark."""
LATE_ERROR = 2.5
"""The factor by which an estimate from late epochs may be off, for people."""
ROUNDING = 1e-12
"""What is smaller than this share of the final values is no noise, but rounding."""
NORMAL_MAD = 0.6745
"""Median absolute deviation of a normal distribution of standard deviation 1."""

Array = npt.NDArray[np.float64]
Key = frozenset[tuple[str, bool | int | float | str]]


@dataclass(frozen=True)
class SeedNoise:
    """The standard deviation of final values from seed to seed.

    Attributes:
        deviation: In the metric, > 0.
        source: "repeated configurations"; "late epochs", a rougher source, if there are too few of them.
        n: Number of repeated configurations, or of trials whose late epochs were read.

    Examples:
        >>> str(SeedNoise(0.004, "repeated configurations", 12))
        '0.004 (from 12 repeated configurations)'
        >>> str(SeedNoise(0.00512, "late epochs", 30))
        '0.0051 (from the late epochs of 30 trials: may be off by a factor of 2.5)'
    """

    deviation: float
    source: Literal["repeated configurations", "late epochs"]
    n: int

    def __str__(self) -> str:
        if self.source == "repeated configurations":
            return f"{self.deviation:.2g} (from {plural(self.n, 'repeated configuration')})"
        trials = plural(self.n, "trial")
        return f"{self.deviation:.2g} (from the late epochs of {trials}: may be off by a factor of {LATE_ERROR:g})"


def seed_noise(complete: Iterable[LearningCurve], direction: Direction) -> SeedNoise | None:
    """Estimate the seed noise of a study.

    Trials are of one configuration if all its entries are equal, apart from those whose names end in "seed". Equal curves of one
    configuration are the same training twice, and count once. Trials without a configuration repeat none. What was varied but is
    not in the configuration counts as noise.

    Args:
        complete: Curves of complete trials, in any order; the last value of each is its final one.
        direction: "maximize" if higher is better, or "minimize".

    Returns:
        The noise; None if there are neither three repeats nor five curves of 17 epochs, or if all of them are equal.

    Examples:
        >>> finals = {0.1: [0.90, 0.94], 0.2: [0.80, 0.82], 0.3: [0.85, 0.87, 0.89], 0.4: [0.5], 0.5: [0.4, 0.6, 0.3, 0.2]}
        >>> curves = [LearningCurve("", {"lr": lr}, (0.1, final)) for lr in finals for final in finals[lr]]
        >>> str(seed_noise(curves, "maximize"))  # of the better half: sqrt((.0008 + .0002 + .0008) / 4)
        '0.021 (from 3 repeated configurations)'
        >>> seed_noise(curves[:2], "maximize") is None  # a single repeat, and too short for late epochs
        True
    """
    sign = 1.0 if direction == "maximize" else -1.0
    scores: defaultdict[Key, list[Array]] = defaultdict(list)  # higher is better
    for key, values in dict.fromkeys((_key(curve.configuration), curve.values) for curve in complete):
        scores[key].append(sign * np.array(values))
    curves = [curve for its in scores.values() for curve in its]
    if not curves:
        return None
    median = float(np.median([curve[-1] for curve in curves]))
    repeated = [np.array([curve[-1] for curve in its]) for key, its in scores.items() if key and len(its) > 1]
    from_repeats = _from_repeats([finals for finals in repeated if np.median(finals) >= median])
    better_half = [curve for curve in curves if curve[-1] >= median]
    from_late_epochs = _from_late_epochs(better_half) if len(curves) >= LEAST_TRIALS else None
    rounding = ROUNDING * max(abs(float(curve[-1])) for curve in better_half)
    found = (from_repeats, from_late_epochs)
    return next((noise for noise in found if noise is not None and noise.deviation > rounding), None)


def _key(configuration: Configuration) -> Key:
    return frozenset((name, value) for name, value in configuration.items() if not name.lower().endswith("seed"))


def _from_repeats(repeated: Sequence[Array]) -> SeedNoise | None:
    """Return the pooled deviation of equation 1, given the final values of each repeated configuration."""
    if not repeated:
        return None
    limit = OUTLIER * _robust_deviation(repeated)
    # Zero if most are equal, as accuracies of a small test set are; then nothing tells an outlier.
    kept = [finals[np.abs(finals - np.median(finals)) <= limit] for finals in repeated] if limit else repeated
    kept = [finals for finals in kept if len(finals) > 1]
    n_repeats = sum(len(finals) - 1 for finals in kept)
    if n_repeats < LEAST_REPEATS:
        return None
    deviation = math.sqrt(sum(float(np.square(finals - finals.mean()).sum()) for finals in kept) / n_repeats)
    return SeedNoise(deviation, "repeated configurations", len(kept))


def _robust_deviation(repeated: Sequence[Array]) -> float:
    """Return a deviation within configurations that a minority of outliers does not move much."""
    # n - 1 deviations of n values: the least one is 0, or as large as the next.
    deviations = [
        np.sort(np.abs(finals - np.median(finals)))[1:] * math.sqrt(len(finals) / (len(finals) - 1)) for finals in repeated
    ]
    return float(np.median(np.concatenate(deviations))) / NORMAL_MAD


def _from_late_epochs(curves: Sequence[Array]) -> SeedNoise | None:
    """Return the deviation that the late epochs of the curves suggest."""
    late = [curve[-math.ceil(LATE_SHARE * len(curve)) :] for curve in curves]
    residuals = [_residual(values) for values in late if len(values) >= LEAST_LATE_EPOCHS]
    return SeedNoise(LATE_FACTOR * float(np.median(residuals)), "late epochs", len(residuals)) if residuals else None


def _residual(values: Array) -> float:
    """Return the deviation of values `(k,)` from the straight line through them, equation 2."""
    x = np.arange(len(values)) - (len(values) - 1) / 2  # centered, so that slope and mean are fitted apart
    line = values.mean() + (x @ values) / (x @ x) * x
    return math.sqrt(float(np.square(values - line).sum()) / (len(values) - 2))
