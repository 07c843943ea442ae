"""How far a study's predictions were right: coverage, probabilities and drift by observed length, and what its stops cost.

A probability p is put to the test by counting (Poisson-binomial: the number of independent events of probabilities p_1..p_n);
for intervals of one stated coverage that is the binomial distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import betaincinv

from curvestop.clients.reports.study_log import Judged, StudyView, TrialView

STAGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Bounds of the shares of a curve that were observed; a trial has one forecast in each stage, the last one made in it."""

STATED = 0.95
WITHIN_SIGMAS = 1.959964
BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0)
WINDOW, LEAST = 40, 20
ALARM = 0.001

DRIFT_RULE = (
    f"At each observed length, the last {WINDOW} trials whose final value is known ({LEAST} at least) are put to two tests: "
    f"their final values must lie inside the stated {STATED:.0%} intervals, and must turn out better than the value to beat, "
    f"as often as was stated. It is called drift when so many misses, or more, have a probability below {ALARM:g} if what was "
    "stated is true (binomial and Poisson-binomial, one-sided)."
)


@dataclass(frozen=True)
class Forecast:
    """A prediction whose outcome is known.

    stage: index of its bounds in `STAGES`. actual: the value at the target epoch. known_at: the log's entry that told it.
    probability: that the value is no better than the value to beat; None when there was none. was_no_better: whether it was.
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
        return abs(self.actual - self.mean) <= WITHIN_SIGMAS * self.sigma


@dataclass(frozen=True)
class Calibration:
    """n forecasts, of which `covered` lay inside the stated interval.

    rmse: root mean square error of the mean, in the metric. n_stated: forecasts with a probability. better: outcomes better than
    the value to beat; better_stated: how many were to be expected. brier: mean squared error of the probabilities, and
    brier_stated what it is to be if they are right; None without any.
    """

    n: int
    covered: int
    rmse: float | None
    n_stated: int
    better: int
    better_stated: float
    brier: float | None
    brier_stated: float | None

    @property
    def coverage(self) -> float | None:
        return self.covered / self.n if self.n else None


@dataclass(frozen=True)
class Drift:
    """A test of recent forecasts of one stage that failed. what: "intervals" or "probabilities". p: of so many misses or more."""

    stage: int
    what: str
    n: int
    misses: int
    expected: float
    p: float


@dataclass(frozen=True)
class ShadowStops:
    """Stops that were only noted, and what became of those trials that ran to their end.

    lost: of these n, in the best tenth of all complete trials; at_most: 95 % bound on their share. lost_best: the best one was.
    """

    n: int
    n_complete: int
    lost: int
    at_most: float
    lost_best: bool
    would_save: int


def forecasts(study: StudyView) -> list[Forecast]:
    """All forecasts whose outcome is known, in the order in which it became known."""
    return sorted((f for trial in study.trials.values() for f in _of_trial(study, trial)), key=lambda f: f.known_at)


def calibration(made: Sequence[Forecast]) -> Calibration:
    stated = [(f.probability, f.was_no_better) for f in made if f.probability is not None]
    p = np.array([p for p, _ in stated])
    worse = np.array([worse for _, worse in stated], dtype=float)
    return Calibration(
        n=len(made),
        covered=sum(f.covered for f in made),
        rmse=math.sqrt(sum((f.actual - f.mean) ** 2 for f in made) / len(made)) if made else None,
        n_stated=len(stated),
        better=len(stated) - int(worse.sum()),
        better_stated=float((1 - p).sum()),
        brier=float(((p - worse) ** 2).mean()) if stated else None,
        brier_stated=float((p * (1 - p)).mean()) if stated else None,
    )


def by_stage(made: Iterable[Forecast]) -> list[list[Forecast]]:
    """One list for each stage."""
    stages: list[list[Forecast]] = [[] for _ in pairwise(STAGES)]
    for forecast in made:
        stages[forecast.stage].append(forecast)
    return stages


def drifts(made: Iterable[Forecast]) -> list[Drift]:
    """What recent forecasts miss more often than was stated; see `DRIFT_RULE`."""
    found = []
    for stage, of_stage in enumerate(by_stage(made)):
        recent = of_stage[-WINDOW:]
        stated = [f for f in recent if f.probability is not None]
        tests = (
            ("intervals", [1 - STATED] * len(recent), sum(not f.covered for f in recent)),
            ("probabilities", [1 - (f.probability or 0.0) for f in stated], sum(not f.was_no_better for f in stated)),
        )
        for what, probabilities, misses in tests:
            p = tail(probabilities, misses)
            if len(probabilities) >= LEAST and p < ALARM:
                found.append(Drift(stage, what, len(probabilities), misses, sum(probabilities), p))
    return found


def tail(probabilities: Sequence[float], at_least: int) -> float:
    """P(so many or more of independent events come about), by their exact distribution."""
    distribution = np.ones(1)
    for p in probabilities:
        distribution = np.convolve(distribution, (1 - p, p))
    return float(min(1.0, distribution[at_least:].sum()))


def reliability(made: Iterable[Forecast]) -> list[tuple[float, float, int, int]]:
    """Of each bin of `BINS` with forecasts: mean stated probability, the bin's lower bound, n, and how many were no better."""
    stated = [f for f in made if f.probability is not None]
    rows = []
    for low, high in pairwise(BINS):
        inside = [f for f in stated if f.probability is not None and low <= f.probability < (high if high < 1 else 2)]
        if inside:
            mean = sum(f.probability or 0.0 for f in inside) / len(inside)
            rows.append((mean, low, len(inside), sum(bool(f.was_no_better) for f in inside)))
    return rows


def share_interval(k: int, n: int) -> tuple[float, float]:
    """The share behind k of n, with 95 % confidence (Clopper and Pearson 1934)."""
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return low, high


def noted(study: StudyView) -> ShadowStops:
    """What would have been lost by the stops that were only noted."""
    best_first = sorted(study.complete(), key=lambda trial: -study.sign * trial.values[-1])
    top = {trial.name for trial in best_first[: math.ceil(len(best_first) / 10)]}
    would_stop = [(trial, judged) for trial in study.trials.values() if (judged := trial.noted) is not None]
    whole = [trial.name for trial, _ in would_stop if study.is_complete(trial)]
    lost = sum(name in top for name in whole)
    return ShadowStops(
        n=len(would_stop),
        n_complete=len(whole),
        lost=lost,
        at_most=share_interval(lost, len(whole))[1] if whole else 1.0,
        lost_best=bool(best_first) and best_first[0].name in whole,
        would_save=sum(judged.target_epoch - judged.epoch for _, judged in would_stop),
    )


def _of_trial(study: StudyView, trial: TrialView) -> Iterator[Forecast]:
    last_in_stage: dict[tuple[int, int], Judged] = {}
    for judged in trial.judged:
        if judged.decision.prediction is not None and 0 < judged.epoch < judged.target_epoch:
            last_in_stage[judged.target_epoch, _stage(judged.epoch / judged.target_epoch)] = judged
    for (target, stage), judged in last_in_stage.items():
        outcome = _outcome(study, trial, target)
        if outcome is not None:
            yield _forecast(study, trial, stage, judged, *outcome)


def _forecast(study: StudyView, trial: TrialView, stage: int, judged: Judged, actual: float, known_at: int) -> Forecast:
    decision = judged.decision
    assert decision.prediction is not None
    known = decision.probability is not None and judged.value_to_beat is not None
    return Forecast(
        trial.name,
        stage,
        judged.epoch,
        judged.target_epoch,
        decision.prediction.mean,
        decision.prediction.sigma,
        actual,
        known_at,
        study.settings.is_held_out(trial.name),
        decision.probability if known else None,
        _no_better(study, actual, judged.value_to_beat or 0.0) if known else None,
    )


def _outcome(study: StudyView, trial: TrialView, target: int) -> tuple[float, int] | None:
    """The value at the target epoch and when it was known; of a trial that finished before the last epoch, its last value."""
    if len(trial.values) >= target:
        return trial.values[target - 1], trial.known_at[target - 1]
    if target == study.settings.max_epochs and study.is_complete(trial) and trial.ended_at is not None:
        return trial.values[-1], trial.ended_at
    return None


def _no_better(study: StudyView, actual: float, to_beat: float) -> bool:
    return study.sign * actual <= study.sign * to_beat - study.settings.rule.tolerance


def _stage(share: float) -> int:
    """The index of the stage whose upper bound is the first that is >= the share."""
    return next(index for index, high in enumerate(STAGES[1:]) if share <= high)
