"""Replay a study: trials start in order on W workers, end when whoever is asked says so, and at the latest as they once did."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from curvestop.clients.backtest.curve_set import Array, CurveSet, Outcome
from curvestop.srm.curve import Decision


class Replay(ABC):
    """One replay. `ended_at`: `(n,)` epochs each trial ran.

    decision_points: epochs after which a trial may be stopped. workers: trials at once; with one, trials run whole one after the other.
    An epoch of a trial lasts `durations[trial]`.
    """

    def __init__(
        self, study: CurveSet, decision_points: Sequence[int], *, workers: int = 1, durations: Array | None = None
    ) -> None:
        n, self._horizon = study.curves.shape
        self._study, self._looks = study, list(decision_points)
        self._durations = np.ones(n) if durations is None else durations
        self._ends: list[int] = study.epochs.tolist()
        self._best = -np.inf  # score of the best final value so far
        self._stated: list[tuple[float, float, int]] = []  # probability, score to beat, trial
        self.ended_at = study.epochs.astype(float)
        self.makespan = self._run(workers)

    @abstractmethod
    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        """The trial trained the epochs after `seen` up to `epoch`, which may be its last one."""

    @abstractmethod
    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        """Whether the trial is stopped after this epoch; previous: its last look, 0 before the first."""

    def _keep_statement(self, trial: int, decision: Decision) -> None:
        if decision.probability is not None and np.isfinite(self._best):
            self._stated.append((decision.probability, self._best, trial))

    def outcome(self) -> Outcome:
        finals = self._study.finals
        known = [statement for statement in self._stated if self._study.is_whole[statement[2]]]
        stated = np.array([p for p, _, _ in known])
        happened = np.array([float(finals[trial] <= to_beat) for _, to_beat, trial in known])
        return Outcome.of(self._study, self.ended_at, self._whole_makespan / self.makespan, stated, happened)

    def _run(self, workers: int) -> float:
        """Simulated time until the last trial ends."""
        events: list[tuple[float, int, int, int]] = []  # time, trial, index of the look that comes then, epochs seen before
        waiting = iter(range(len(self.ended_at)))

        def go_on(now: float, trial: int, look: int, seen: int) -> None:
            epoch = self._next_epoch(trial, look)
            heapq.heappush(events, (now + (epoch - seen) * self._durations[trial], trial, look, seen))

        def start(now: float) -> None:
            trial = next(waiting, None)
            if trial is not None:
                go_on(now, trial, 0, 0)

        for _ in range(workers):
            start(0.0)
        self._whole_makespan = _makespan(self._durations * self._study.epochs, workers)
        now = 0.0
        while events:
            now = events[0][0]
            together = []
            while events and events[0][0] == now:
                _, trial, look, seen = heapq.heappop(events)
                self._see(trial, seen, self._next_epoch(trial, look))
                together.append((trial, look, seen))
            for trial, look, seen in together:
                epoch = self._next_epoch(trial, look)
                if epoch == self._ends[trial] or self._stops(trial, epoch, seen):
                    self.ended_at[trial] = epoch
                    start(now)
                else:
                    go_on(now, trial, look + 1, epoch)
        return now

    def _next_epoch(self, trial: int, look: int) -> int:
        return min(self._looks[look] if look < len(self._looks) else self._horizon, self._ends[trial])

    def _see(self, trial: int, seen: int, epoch: int) -> None:
        self._observe(trial, seen, epoch)
        if epoch == self._ends[trial]:
            self._best = max(self._best, float(self._study.finals[trial]))


def _makespan(durations: Sequence[float] | Array, workers: int) -> float:
    """Time to run trials of these durations in order on that many workers."""
    free = [0.0] * workers
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + float(duration))
    return max(free)
