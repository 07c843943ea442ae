"""What the learnt policy knows of a trial at a decision point, in sixteen numbers.

All are functions of the ranks at that epoch, of the study's complete trials and of the trial's prediction. They do not depend on
the metric's unit or direction: shares of trials enter as log odds, distances in units of the spread at the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Prediction
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.policies.stopping_rule import difference

FEATURES = (
    "share",  # share of max_epochs that was seen
    "log_arrived",  # log(1 + other trials that reached this epoch)
    "log_complete",  # log(1 + complete trials)
    "log_trials",  # log(1 + trials seen so far)
    "rank_best",  # log odds of the share of the others that are better, by best value so far
    "rank_predicted",  # the same by prediction; by current value before there is a model
    "rank_least",  # the least of the ranks by current value, by best value so far and by prediction
    "share_x_rank_least",
    "log_better",  # log(1 + others that are better by the least of these ranks)
    "margin_best",  # sigmas above the last rank of the best at the end, by best value so far (see `copula_margin`)
    "margin_predicted",  # the same by prediction; by current value before there is a model
    "change",  # of rank_least since the decision point before
    "gap",  # current value minus the third best at this epoch, in units of the spread there, squashed
    "late_gain",  # log odds of the share of complete trials that gained less than this one needs to be third best
    "z_best",  # prediction minus the best final value, in sigmas of the prediction; 0 without a model
    "neighbors",  # mean log odds of the final ranks of the five nearest configurations; higher is better
)
"""Names of the features, in order."""

BEST_SHARE = 0.04
"""Share of a study whose last rank the margins are measured from."""
PRIOR_WEIGHT = 5.0
"""Number of complete trials that the prior correlation of a decision point counts as."""
LARGEST_SIGMAS = 6.0
"""Margins and distances in sigmas are cut off there."""
N_CORRELATED = 200
"""Correlations are measured on so many complete trials, the latest."""
NO_COMPLETE_TRIAL = -2.0
"""The feature "late_gain" before any trial is complete."""

_NORMAL = NormalDist()
_BEST_QUANTILE = _NORMAL.inv_cdf(1 - BEST_SHARE)

Array = npt.NDArray[np.float64]


def trial_features(
    history: RankHistory,
    trial: str,
    epoch: int,
    *,
    before: int | None,
    max_epochs: int,
    prediction: Prediction | None,
    neighbors: float,
) -> list[float]:
    """Return the numbers named by `FEATURES`, of a trial as it was at a decision point that it and another one reached.

    Args:
        history: Curves and ranks of the study, ranks by prediction included where there is a model.
        trial: Name of the trial.
        epoch: The decision point.
        before: The decision point before; None at the first.
        max_epochs: Epoch whose value counts.
        prediction: Predicted value at max_epochs, in the metric; None without a model.
        neighbors: Mean log odds of the final ranks of the nearest configurations; 0 if unknown.
    """
    scores = history.scores[epoch]
    others, complete = len(scores) - 1, history.n_completed
    value = history.curve(trial)[epoch - 1]
    better_now, better_best, better_predicted = _better_trials(history, trial, epoch)
    by = "value" if better_predicted is None else "prediction"
    if better_predicted is None:
        better_predicted = better_now
    least = min(better_now, better_best, better_predicted)
    rank, share = log_odds(least, others), epoch / max_epochs
    return [
        share,
        math.log1p(others),
        math.log1p(complete),
        math.log1p(history.n_trials),
        log_odds(better_best, others),
        log_odds(better_predicted, others),
        rank,
        share * rank,
        math.log1p(least),
        copula_margin(better_best, others, correlation(history, epoch, share, "best")),
        copula_margin(better_predicted, others, correlation(history, epoch, share, by)),
        0.0 if before is None else rank - least_rank(history, trial, before),
        squashed((value - scores.at(len(scores) - min(3, others + 1))) / _spread(history, epoch)),
        _late_gain(history, epoch, value),
        _sigmas_above_best(history, prediction),
        neighbors,
    ]


def log_odds(count: int, of: int) -> float:
    """Return the log odds of a share count / of, smoothed so that it is finite."""
    return math.log((count + 0.5) / (of - count + 0.5))


def squashed(x: float) -> float:
    """Return x on a scale that is linear near 0 and logarithmic far out; the sign stays."""
    return math.copysign(math.log1p(min(abs(x), 1e6)), x)


def least_rank(history: RankHistory, trial: str, epoch: int) -> float:
    """Return the log odds of the best of a trial's ranks at an epoch: by value, by best so far, by prediction."""
    counts = _better_trials(history, trial, epoch)
    return log_odds(min(count for count in counts if count is not None), len(history.scores[epoch]) - 1)


def _better_trials(history: RankHistory, trial: str, epoch: int) -> tuple[int, int, int | None]:
    """Return how many trials are better at an epoch: by value, by best so far, by prediction (None without a model)."""
    return (
        history.scores[epoch].better_than(history.curve(trial)[epoch - 1]),
        history.bests[epoch].better_than(history.best_so_far(trial, epoch)),
        history.predicted_better(trial, epoch),
    )


def copula_margin(better: int, of: int, rho: float) -> float:
    """Return by how many sigmas a trial of this rank is expected to end above the last rank of the best.

    The rank now and the rank at the end are taken for normal scores with correlation rho (a Gaussian copula):
    (rho z - z_best) / sqrt(1 - rho^2).

    Args:
        better: Number of other trials that are better.
        of: Number of other trials.
        rho: Correlation in (-1, 1).

    Returns:
        The margin in +-LARGEST_SIGMAS.
    """
    z = -_NORMAL.inv_cdf((better + 0.5) / (of + 1))
    return max(min((rho * z - _BEST_QUANTILE) / math.sqrt(1 - rho * rho), LARGEST_SIGMAS), -LARGEST_SIGMAS)


def prior_correlation(share: float) -> float:
    """Return the correlation of values after this share of the epochs with final values, before a study tells."""
    return 1 - 0.6 * (1 - share) ** 2


def correlation(history: RankHistory, epoch: int, share: float, by: str) -> float:
    """Return how well a decision point ranks in this study: Spearman of complete trials there and at the end, shrunk to a prior.

    It is measured once for all that can change it.

    Args:
        history: Curves and ranks of the study.
        epoch: The decision point.
        share: epoch / max_epochs.
        by: "value", "best" (so far) or "prediction" (left out).

    Returns:
        The correlation in [-0.5, 0.995].
    """
    state = (history.n_completed, history.n_models if by == "prediction" else 0)
    known: tuple[tuple[int, int], float] | None = history.memo.get(("correlation", epoch, by))
    if known is None or known[0] != state:
        known = history.memo["correlation", epoch, by] = state, _shrunk_correlation(history, epoch, share, by)
    return known[1]


def _shrunk_correlation(history: RankHistory, epoch: int, share: float, by: str) -> float:
    prior = prior_correlation(share)
    pairs = [
        (then, history.curve(trial)[-1])
        for trial in history.latest_completed(N_CORRELATED)
        if (then := _score_then(history, trial, epoch, by)) is not None
    ]
    measured = spearman(*zip(*pairs, strict=True)) if len(pairs) > 2 else prior
    weight = history.n_completed / (history.n_completed + PRIOR_WEIGHT)
    return max(min(weight * measured + (1 - weight) * prior, 0.995), -0.5)


def _score_then(history: RankHistory, trial: str, epoch: int, by: str) -> float | None:
    if by == "prediction":
        return history.predicted_score(trial, epoch)
    if len(history.curve(trial)) < epoch:  # it finished early
        return None
    return history.best_so_far(trial, epoch) if by == "best" else history.curve(trial)[epoch - 1]


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the rank correlation of two samples, ties at their mean rank; 0 if one side does not vary."""
    a, b = _centered_ranks(left), _centered_ranks(right)
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else 0.0


def _centered_ranks(values: Sequence[float]) -> Array:
    array: npt.NDArray[Any] = np.array(values)
    ordered = np.sort(array)
    ranks = (np.searchsorted(ordered, array, "left") + np.searchsorted(ordered, array, "right")) / 2
    centered: Array = ranks - ranks.mean()
    return centered


def _spread(history: RankHistory, epoch: int) -> float:
    """From the median to the ninth decile of the scores at an epoch, > 0: of the better half, as the worse one may diverge."""
    scores = history.scores[epoch]
    last = len(scores) - 1
    return (scores.at(9 * last // 10) - scores.at(last // 2)) or 1e-12


def _late_gain(history: RankHistory, epoch: int, value: float) -> float:
    complete = history.n_completed
    third_best = history.finals.nth_best(min(3, complete)) if complete else None
    if third_best is None:
        return NO_COMPLETE_TRIAL
    return log_odds(history.gains[epoch].worse_than(third_best - value), len(history.gains[epoch]))


def _sigmas_above_best(history: RankHistory, prediction: Prediction | None) -> float:
    best = history.finals.nth_best(1)
    if prediction is None or best is None:
        return 0.0
    z = difference(history.sign * prediction.mean, best) / max(prediction.sigma, 1e-300)
    return max(min(z, LARGEST_SIGMAS), -LARGEST_SIGMAS)
