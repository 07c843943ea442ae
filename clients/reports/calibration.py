"""Calibration: how often a study's predictions came true, by observed length, and what its stops cost.

A *forecast* is the last prediction that was made for a trial within one stage of its curve and whose outcome is known. So each
trial counts once per stage, and the forecasts of a stage are about different trials; `drift` tests them as independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import betaincinv

from curvestop.clients.reports.study_log import RecordedDecision, StudyView, TrialView
from curvestop.srm.study_memory import STAGES, stage_of

STATED_COVERAGE = 0.95
"""Coverage that a prediction states for the interval of `INTERVAL_SIGMAS` around its mean."""

INTERVAL_SIGMAS = 1.959964
"""Half width of that interval, in standard deviations: the 0.975 quantile of the normal distribution."""

PROBABILITY_BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0)
"""Bounds of the bins of the reliability diagram; narrow towards 1, where the stopping rules decide."""


@dataclass(frozen=True)
class Forecast:
    """A prediction whose outcome is known.

    Attributes:
        trial: Name of the trial.
        stage: Index of the stage of the curve, of `len(STAGES) - 1`.
        epoch: Observed length of the curve when it was made.
        target_epoch: The epoch whose value was predicted.
        mean: Predicted mean, in the metric.
        sigma: Predicted standard deviation, in the metric.
        actual: The value at the target epoch.
        known_at: Number of the log entry that brought that value.
        held_out: Whether the trial is one that is never stopped.
        probability: Stated probability that the value is no better than the value to beat; None if none was stated.
        was_no_better: Whether it was no better; None if no probability was stated.
    """

    trial: str
    stage: int
    epoch: int
    target_epoch: int
    mean: float
    sigma: float
    actual: float
    known_at: int
    held_out: bool
    probability: float | None = None
    was_no_better: bool | None = None

    @property
    def covered(self) -> bool:
        """Whether the actual value lies inside the stated interval."""
        return abs(self.actual - self.mean) <= INTERVAL_SIGMAS * self.sigma


@dataclass(frozen=True)
class Calibration:
    """What became of some forecasts, beside what they stated.

    Attributes:
        n: Number of forecasts.
        n_covered: How many actual values lay inside the stated interval.
        rmse: Root mean square error of the predicted means, in the metric; None without forecasts.
        n_with_probability: How many forecasts stated a probability; the fields below are about these.
        n_better: How many turned out better than the value to beat.
        expected_better: How many should have, by the stated probabilities.
        brier: Mean squared error of the probabilities, in [0, 1], lower is better; None without any.
        expected_brier: What `brier` is on average if the probabilities are right; None without any.
    """

    n: int
    n_covered: int
    rmse: float | None
    n_with_probability: int
    n_better: int
    expected_better: float
    brier: float | None
    expected_brier: float | None

    @property
    def coverage(self) -> float | None:
        """The share of actual values inside the stated interval; None without forecasts."""
        return self.n_covered / self.n if self.n else None


@dataclass(frozen=True)
class ReliabilityBin:
    """The forecasts whose stated probability falls into one bin.

    Attributes:
        mean_stated: Mean of their stated probabilities.
        lower_bound: Lower bound of the bin.
        n: Number of forecasts.
        n_no_better: How many turned out no better than the value to beat.
    """

    mean_stated: float
    lower_bound: float
    n: int
    n_no_better: int


@dataclass(frozen=True)
class ShadowStops:
    """Stops that were recorded but not carried out, and what became of the trials that ran to completion.

    Attributes:
        n: Number of shadow stops.
        n_complete: How many of those trials are complete.
        n_lost: How many of those are among the best tenth of all complete trials.
        lost_share_bound: Upper end of the 95 % confidence interval of the share `n_lost / n_complete`.
        lost_best: Whether the best trial of all is among them.
        would_save_epochs: Number of epochs that the stops would have saved.
    """

    n: int
    n_complete: int
    n_lost: int
    lost_share_bound: float
    lost_best: bool
    would_save_epochs: int


def resolved_forecasts(study: StudyView) -> list[Forecast]:
    """Return all forecasts whose outcome is known, in the order in which it became known.

    Args:
        study: The study. Its stopped trials have no outcome, so the sample is biased; see `Forecast.held_out`.
    """
    forecasts = (forecast for trial in study.trials.values() for forecast in _forecasts_of_trial(study, trial))
    return sorted(forecasts, key=lambda forecast: forecast.known_at)


def calibration_of(forecasts: Sequence[Forecast]) -> Calibration:
    """Count and average what became of the forecasts.

    Args:
        forecasts: Forecasts of any stages, in any order; may be none.
    """
    stated = [(forecast.probability, forecast.was_no_better) for forecast in forecasts if forecast.probability is not None]
    p = np.array([probability for probability, _ in stated])  # (n_with_probability,)
    no_better = np.array([outcome for _, outcome in stated], dtype=float)  # the same shape, 0 or 1
    squared_errors = [(forecast.actual - forecast.mean) ** 2 for forecast in forecasts]
    return Calibration(
        n=len(forecasts),
        n_covered=sum(forecast.covered for forecast in forecasts),
        rmse=math.sqrt(sum(squared_errors) / len(forecasts)) if forecasts else None,
        n_with_probability=len(stated),
        n_better=len(stated) - int(no_better.sum()),
        expected_better=float((1 - p).sum()),
        brier=float(((p - no_better) ** 2).mean()) if stated else None,
        # E (p - o)^2 = p (1 - p)^2 + (1 - p) p^2 = p (1 - p) for an outcome o that is 1 with probability p.
        expected_brier=float((p * (1 - p)).mean()) if stated else None,
    )


def by_stage(forecasts: Iterable[Forecast]) -> list[list[Forecast]]:
    """Return one list of forecasts for each stage, in their order.

    Args:
        forecasts: Forecasts in any order, which is kept within each stage.

    Returns:
        `len(STAGES) - 1` lists; those of stages without forecasts are empty.
    """
    stages: list[list[Forecast]] = [[] for _ in pairwise(STAGES)]
    for forecast in forecasts:
        stages[forecast.stage].append(forecast)
    return stages


def reliability_bins(forecasts: Iterable[Forecast]) -> list[ReliabilityBin]:
    """Return the bins of the reliability diagram that hold at least one forecast, in ascending order.

    Args:
        forecasts: Forecasts; those without a stated probability are left out.
    """
    stated = [forecast for forecast in forecasts if forecast.probability is not None]
    bins = []
    for low, high in pairwise(PROBABILITY_BINS):
        below = high if high < 1 else 2  # the last bin includes a probability of 1
        inside = [forecast for forecast in stated if forecast.probability is not None and low <= forecast.probability < below]
        if inside:
            mean = sum(forecast.probability or 0.0 for forecast in inside) / len(inside)
            bins.append(ReliabilityBin(mean, low, len(inside), sum(bool(forecast.was_no_better) for forecast in inside)))
    return bins


def share_interval(k: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % confidence interval of a share (Clopper and Pearson 1934).

    Args:
        k: Number of successes.
        n: Number of trials; at least 1.

    Returns:
        Lower and upper bound, in [0, 1].

    Examples:
        >>> [round(bound, 3) for bound in share_interval(0, 10)]
        [0.0, 0.308]
    """
    # The bounds are quantiles of beta distributions: Beta(k, n - k + 1) below and Beta(k + 1, n - k) above.
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return low, high


def shadow_stops(study: StudyView) -> ShadowStops:
    """Return what the study's shadow stops would have lost and saved, had they been carried out.

    Args:
        study: The study, in shadow mode or with held-out trials; others have no shadow stops.
    """
    best_first = sorted(study.complete(), key=lambda trial: -study.sign * trial.final)
    # Rounded up: of 11 trials the best two count.
    best_tenth = {trial.name for trial in best_first[: math.ceil(len(best_first) / 10)]}
    would_stop = [(trial, stop) for trial in study.trials.values() if (stop := trial.shadow_stop) is not None]
    complete = [trial.name for trial, _ in would_stop if study.is_complete(trial)]
    n_lost = sum(name in best_tenth for name in complete)
    return ShadowStops(
        n=len(would_stop),
        n_complete=len(complete),
        n_lost=n_lost,
        # Without any complete trial nothing is known about the share.
        lost_share_bound=share_interval(n_lost, len(complete))[1] if complete else 1.0,
        lost_best=bool(best_first) and best_first[0].name in complete,
        would_save_epochs=sum(stop.target_epoch - stop.epoch for _, stop in would_stop),
    )


def _forecasts_of_trial(study: StudyView, trial: TrialView) -> Iterator[Forecast]:
    # Later decisions overwrite earlier ones, so that one forecast is left for each target and stage.
    last_in_stage: dict[tuple[int, int], RecordedDecision] = {}
    for recorded in trial.decisions:
        # A prediction of a value that is already observed, or from no value at all, is no forecast.
        if recorded.decision.prediction is not None and 0 < recorded.epoch < recorded.target_epoch:
            last_in_stage[recorded.target_epoch, stage_of(recorded.epoch / recorded.target_epoch)] = recorded
    for (target, stage), recorded in last_in_stage.items():
        outcome = _outcome(study, trial, target)
        if outcome is not None:
            yield _forecast(study, trial, stage, recorded, *outcome)


def _forecast(
    study: StudyView, trial: TrialView, stage: int, recorded: RecordedDecision, actual: float, known_at: int
) -> Forecast:
    decision = recorded.decision
    assert decision.prediction is not None
    # A probability without a value to beat cannot be checked.
    checkable = decision.probability is not None and recorded.value_to_beat is not None
    return Forecast(
        trial.name,
        stage,
        recorded.epoch,
        recorded.target_epoch,
        decision.prediction.mean,
        decision.prediction.sigma,
        actual,
        known_at,
        study.settings.is_held_out(trial.name),
        decision.probability if checkable else None,
        _no_better(study, actual, recorded.value_to_beat or 0.0) if checkable else None,
    )


def _outcome(study: StudyView, trial: TrialView, target: int) -> tuple[float, int] | None:
    """Return the value at the target epoch and the log entry that brought it; None if it is not known.

    The last value of a trial that finished before the last epoch stands for its final one.
    """
    # A trial that was stopped before the target epoch has no outcome, whatever it would have reached.
    if trial.last_epoch >= target:
        return trial.reported.at(target), trial.entry_at(target)
    if target == study.settings.max_epochs and study.is_complete(trial) and trial.ended_at is not None:
        return trial.final, trial.ended_at
    return None


def _no_better(study: StudyView, actual: float, to_beat: float) -> bool:
    # The comparison of the stopping rules, on scores: what equals the value to beat, or is within the tolerance, is as good.
    return study.sign * actual < study.sign * to_beat - study.settings.rule.tolerance
