"""Replay a study under a stopping rule: trials start in order on W workers, and end when the rule says so."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.replay_study import Array, Forecaster, ReplayStudy
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.history import History
from curvestop.srm.rules import Evidence, Rule
from curvestop.srm.stacked import Trust

NOTHING: Array = np.empty(0)
CLOSE = 1e-3
"""A final pick this close to the best one counts as recovered (in the metric)."""


@dataclass(frozen=True)
class Outcome:
    """What a rule did to one study.

    speedup: all epochs over the epochs spent, warm-up included. time_speedup: the same for simulated time on the workers.
    recovered: the best complete trial is within `CLOSE` of the best of all. regret: how far it falls short, in standard
    deviations of the better half of the final values (inf without a complete trial). top_stopped: share of the best tenth that
    was stopped. best_stopped: the very best was. stated, happened: P(no better than the best so far) at every look with a
    model, and whether it came true.
    """

    speedup: float
    time_speedup: float
    recovered: bool
    regret: float
    top_stopped: float
    best_stopped: bool
    stated: Array
    happened: Array

    @staticmethod
    def of(
        study: ReplayStudy, ended_at: Array, time_speedup: float | None = None, stated: Array = NOTHING, happened: Array = NOTHING
    ) -> Outcome:
        """ended_at: `(n,)` epochs that each trial ran."""
        finals, horizon = study.finals, study.curves.shape[1]
        full = finals[ended_at == horizon]
        pick = float(full.max()) if len(full) else -np.inf
        top = finals >= np.quantile(finals, 0.9)
        speedup = len(finals) * horizon / float(ended_at.sum())
        return Outcome(
            speedup=speedup,
            time_speedup=speedup if time_speedup is None else time_speedup,
            recovered=pick >= finals.max() - CLOSE,
            regret=(float(finals.max()) - pick) / (float(np.std(finals[finals >= np.median(finals)])) or 1.0),
            top_stopped=float((ended_at[top] < horizon).mean()),
            best_stopped=bool(ended_at[finals.argmax()] < horizon),
            stated=stated,
            happened=happened,
        )


class Replay:
    """One replay. `ended_at`: `(n,)` epochs each trial ran.

    workers: trials at once; with one, trials run whole one after the other. An epoch of a trial lasts `durations[trial]`.
    models: None for rules that need none.
    """

    def __init__(
        self,
        study: ReplayStudy,
        rule: Rule,
        *,
        workers: int = 1,
        models: Forecaster | None = None,
        durations: Array | None = None,
    ) -> None:
        n, self._horizon = study.curves.shape
        self._study, self._rule, self._models = study, rule, models
        self._looks = list(rule.looks(self._horizon))
        self._durations = np.ones(n) if durations is None else durations
        self._history = History(study.direction, ranked_at=frozenset(self._looks))
        self._completed: list[int] = []
        self._in_use = 0  # curves behind the models that the history ranks by
        self._stated: list[tuple[float, float, int]] = []  # probability, value to beat, trial
        self.ended_at = np.full(n, float(self._horizon))
        self.makespan = self._run(workers)

    def outcome(self) -> Outcome:
        finals, sign = self._study.finals, self._study.sign
        stated = np.array([p for p, _, _ in self._stated])
        happened = np.array([float(finals[trial] <= sign * value) for _, value, trial in self._stated])
        return Outcome.of(self._study, self.ended_at, self._whole_makespan / self.makespan, stated, happened)

    def _run(self, workers: int) -> float:
        """Simulated time until the last trial ends."""
        stations = [*self._looks, self._horizon]
        events: list[tuple[float, int, int]] = []  # time, trial, index of the station it reaches
        waiting = iter(range(len(self.ended_at)))

        def start(now: float) -> None:
            trial = next(waiting, None)
            if trial is not None:
                heapq.heappush(events, (now + stations[0] * self._durations[trial], trial, 0))

        for _ in range(workers):
            start(0.0)
        self._whole_makespan = _makespan(self._durations * self._horizon, workers)
        now = 0.0
        while events:
            now = events[0][0]
            together = []
            while events and events[0][0] == now:
                _, trial, station = heapq.heappop(events)
                self._observe(trial, stations[station - 1] if station else 0, stations[station])
                together.append((trial, station))
            for trial, station in together:
                epoch = stations[station]
                if epoch == self._horizon or self._stops(trial, epoch, stations[station - 1] if station else 0):
                    self.ended_at[trial] = epoch
                    start(now)
                else:
                    wait = (stations[station + 1] - epoch) * self._durations[trial]
                    heapq.heappush(events, (now + wait, trial, station + 1))
        return now

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        name = str(trial)
        for value in self._study.curves[trial, seen:epoch].tolist():
            self._history.observe(name, value)
        if epoch == self._horizon:
            self._history.complete(name)
            self._completed.append(trial)

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        prediction, n_curves, doubt = self._predict(trial, epoch)
        evidence = Evidence(self._history, str(trial), epoch, self._horizon, previous, prediction, n_curves, doubt)
        decision = self._rule.decide(evidence)
        self._keep_statement(decision, evidence, trial)
        return decision.stop

    def _predict(self, trial: int, epoch: int) -> tuple[Prediction | None, int, str]:
        """The prediction now, the number of curves behind it and why not to rely upon it; the history then ranks by its model."""
        forecast = None if self._models is None else self._models.forecast(epoch, self._completed)
        if forecast is None:
            return None, 0, "too few complete curves"
        if self._in_use != forecast.n_curves:
            self._in_use = forecast.n_curves
            self._history.rank_by(self._scores)
        doubt = Trust(epoch, forecast.n_curves, forecast.r2, 1.0).missing(least_curves=0)
        return forecast.prediction(trial), forecast.n_curves, doubt

    def _scores(self, epoch: int, trials: Sequence[str]) -> Sequence[float] | None:
        forecast = None if self._models is None else self._models.forecast(epoch, self._completed)
        return None if forecast is None else forecast.score[list(map(int, trials))].tolist()

    def _keep_statement(self, decision: Decision, evidence: Evidence, trial: int) -> None:
        to_beat = evidence.to_beat()
        if decision.probability is not None and to_beat is not None:
            self._stated.append((decision.probability, to_beat, trial))


def _makespan(durations: Sequence[float] | Array, workers: int) -> float:
    """Time to run trials of these durations in order on that many workers."""
    free = [0.0] * workers
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + float(duration))
    return max(free)
