"""Whole runs beside the paper's Algorithms 1 and 2, written here again as its nested loops.

Two readings, both named where they are used: configurations continue from their checkpoints (the paper trains each rung
from epoch 1), and D[r] takes every curve that gets to r epochs, whichever its rung.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import RungOpened, TrialStopped
from curvestop.srm.curve import LearningCurve
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.predictors.sequential import SequentialRegression
from curvestop.srm.regression.regressors import OrdinaryLeastSquares
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

R, ETA = 27, 3


def configuration(number: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    return {"number": number, "level": float(rng.beta(2, 2)), "pace": float(rng.uniform(0.05, 1.0))}


def metric(c: dict[str, Any], epoch: int, seed: int) -> float:
    """Saturating curves with noise; those that learn slowly cross the others."""
    noise = np.random.default_rng([seed, c["number"], epoch]).normal(0, 0.01)
    return float(c["level"] * (1 - math.exp(-c["pace"] * epoch)) + noise)


@dataclass
class Log:
    """What a run did, in order."""

    stops: list[tuple[str, int, int]] = field(default_factory=list)  # trial, epochs trained, target
    rungs: list[tuple[int, int, list[str]]] = field(default_factory=list)  # s, r, trials
    epochs: int = 0
    best: float = -math.inf


@dataclass
class Settings:
    threshold: float = 0.95
    tolerance: float = 0.0
    kappa: float = 1.0
    min_curves: int = 8
    n_iterations: int = 3
    seed: int = 0


class Paper:
    """Algorithms 1 and 2, sequentially."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.D: dict[int, list[LearningCurve]] = defaultdict(list)
        self.M: dict[int, SequentialRegression] = {}
        self.at_R: list[float] = []
        self.log = Log()

    def algorithm_1(self) -> Log:
        numbers = count()
        s_max = max(s for s in range(20) if ETA**s <= R)
        B = (s_max + 1) * R
        for iteration in range(self.settings.n_iterations):
            for s in range(s_max, -1, -1):
                n = math.ceil(Fraction(B, R) * Fraction(ETA**s, s + 1))
                r = Fraction(R, ETA**s)
                T: list[dict[str, Any]] = [
                    {"name": f"i{iteration}-s{s}-{i:03d}", "l": [], "c": configuration(next(numbers), self.settings.seed)}
                    for i in range(n)
                ]
                for i in range(s + 1):
                    n_i, r_i = math.floor(Fraction(n, ETA**i)), int(r * ETA**i)
                    n_next = math.floor(Fraction(n_i, ETA)) if i != s else 1
                    self.log.rungs.append((s, r_i, [t["name"] for t in T]))
                    L = self.algorithm_2(T, r_i, n_next)
                    order = sorted(range(len(T)), key=lambda j: -L[j])
                    T = [T[j] for j in order[: math.floor(Fraction(n_i, ETA))]]
        return self.log

    def algorithm_2(self, T: list[dict[str, Any]], r: int, n_next: int) -> list[float]:
        L: list[float] = []
        observed: list[float] = []
        for t in T:
            predicted = self.hopeless(t, r, n_next, observed) if t["l"] else None
            while predicted is None and len(t["l"]) < r:
                t["l"].append(metric(t["c"], len(t["l"]) + 1, self.settings.seed))
                self.log.epochs += 1
                self.learn(t)
                if len(t["l"]) < r:
                    predicted = self.hopeless(t, r, n_next, observed)
            if predicted is None:
                observed.append(t["l"][-1])
            L.append(t["l"][-1] if predicted is None else predicted)
        return L

    def learn(self, t: dict[str, Any]) -> None:
        r = len(t["l"])
        if r == R:
            self.at_R.append(t["l"][-1])
            self.log.best = max(self.at_R)
        if len(self.D[r]) < self.settings.min_curves:
            self.D[r].append(LearningCurve(t["name"], t["c"], tuple(t["l"])))
            if len(self.D[r]) == self.settings.min_curves:
                self.M[r] = SequentialRegression(OrdinaryLeastSquares).fit(self.D[r])

    def hopeless(self, t: dict[str, Any], r: int, n_next: int, observed: list[float]) -> float | None:
        """The prediction when it says to break."""
        L = self.at_R if r == R else observed
        k = max(1, math.ceil(Fraction(str(self.settings.kappa)) * n_next))
        if r not in self.M or len(L) < k:
            return None
        prediction = self.M[r].predict(LearningCurve(t["name"], t["c"], tuple(t["l"])))
        if prediction is None:
            return None
        max_k = sorted(L, reverse=True)[k - 1]
        if NormalDist(prediction.mean, prediction.sigma).cdf(max_k - self.settings.tolerance) < self.settings.threshold:
            return None
        self.log.stops.append((t["name"], len(t["l"]), r))
        return prediction.mean


def ours(settings: Settings, *, direction: Direction = "maximize") -> tuple[Log, FHyperband]:
    sign = 1.0 if direction == "maximize" else -1.0
    rule = StoppingRule(settings.threshold, settings.tolerance, min_curves=settings.min_curves)
    # A refit_growth that is never reached fits each model once, on the first d curves, as Algorithm 2 does.
    study = Study(StudySettings("s", R, direction=direction, predictor="ols", rule=rule, refit_growth=1e9))
    numbers = count()
    scheduler = FHyperband(
        lambda: configuration(next(numbers), settings.seed),
        max_epochs=R, eta=ETA, study=study, direction=direction, kappa=settings.kappa, n_iterations=settings.n_iterations,
    )  # fmt: skip
    log = Log()
    while (job := scheduler.ask()) is not None:
        for epoch in range(job.first_epoch, job.target_epoch + 1):
            value = metric(dict(job.configuration), epoch, settings.seed)
            if scheduler.report(job.trial, sign * value).stop:
                break
        scheduler.job_over(job.trial)
    events = scheduler.take_events()
    for event in events:
        if isinstance(event, RungOpened):
            log.rungs.append((event.bracket.s, event.rung.epochs, list(event.trials)))
        if isinstance(event, TrialStopped):
            log.stops.append((event.record.trial, event.decision.model_epoch, event.target_epoch))
    best = scheduler.best()
    log.epochs, log.best = scheduler.epochs_trained, sign * best.values[-1] if best else -math.inf
    return log, scheduler


CASES = [
    Settings(),
    Settings(seed=1, kappa=0.5),
    Settings(seed=2, threshold=0.8),
    Settings(seed=3, tolerance=0.05, min_curves=12, n_iterations=4),
    Settings(seed=4, kappa=0.34, threshold=0.99),
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_the_same_stops_promotions_and_epochs_as_the_papers_loops(settings: Settings) -> None:
    expected = Paper(settings).algorithm_1()
    found, scheduler = ours(settings)
    assert found == expected
    # The comparison says something: many stops, in every kind of rung, and epochs saved.
    assert len(found.stops) >= 10
    assert {r for _, _, r in found.stops} >= {9, R}
    assert scheduler.epochs_planned == settings.n_iterations * 357 > found.epochs


def test_some_stopped_configurations_are_promoted_by_their_predictions() -> None:
    _, scheduler = ours(CASES[2])
    promoted = [record for record in scheduler.records if record.stops and record.settled_epochs > 9]
    stopped_below = [epoch for record in promoted for epoch, _ in record.stops if epoch < 9]
    assert stopped_below


@pytest.mark.parametrize("settings", CASES[:2], ids=str)
def test_minimising_is_maximising_the_negative(settings: Settings) -> None:
    assert ours(settings, direction="minimize")[0] == ours(settings)[0]


def test_stopping_changes_nothing_about_which_configurations_are_drawn() -> None:
    _, scheduler = ours(CASES[0])
    per_iteration = 27 + 12 + 6 + 4
    assert [record.configuration["number"] for record in scheduler.records] == list(range(3 * per_iteration))
