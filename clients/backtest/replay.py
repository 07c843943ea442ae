"""`Replay`: replays curves on simulated workers. Trials start in order and end when a rule stops them or as they once ended."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from curvestop.clients.backtest.curve_set import Array, CurveSet, Outcome
from curvestop.srm.curve import Decision


class Replay(ABC):
    """One replay; a subclass says what a rule observes and when it stops. The replay runs in the constructor.

    Args:
        curves: The curves to replay.
        decision_points: Epochs, ascending, after which a trial may be stopped.
        workers: Number of trials that run at once; with one, a trial ends before the next one starts.
        durations: `(n,)` time that one epoch of each trial takes. Default: 1.

    Attributes:
        ended_at: `(n,)` epochs that each trial trained.
        makespan: Simulated time until the last trial ended.
    """

    def __init__(
        self, curves: CurveSet, decision_points: Sequence[int], *, workers: int = 1, durations: Array | None = None
    ) -> None:
        n, self._max_epochs = curves.curves.shape
        self._curves, self._decision_points = curves, list(decision_points)
        self._durations = np.ones(n) if durations is None else durations
        self._last_epochs: list[int] = curves.epochs.tolist()
        self._best = -np.inf  # score of the best final value so far
        self._statements: list[tuple[float, float, int]] = []  # (stated probability, score to beat, trial)
        self.ended_at = curves.epochs.astype(float)
        self.makespan = self._run(workers)

    @abstractmethod
    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        """Take in that a trial trained the epochs after `seen` up to `epoch`, which may be its last one."""

    @abstractmethod
    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        """Return whether the rule stops a trial after this epoch. `previous` is its last decision point; 0 before the first."""

    def _keep_statement(self, trial: int, decision: Decision) -> None:
        if decision.probability is not None and np.isfinite(self._best):
            self._statements.append((decision.probability, self._best, trial))

    def outcome(self) -> Outcome:
        """Return what the rule saved and lost."""
        finals = self._curves.finals
        # Whether a statement came true is known only for trials with a final value.
        known = [statement for statement in self._statements if self._curves.is_complete[statement[2]]]
        stated = np.array([p for p, _, _ in known])
        happened = np.array([float(finals[trial] <= to_beat) for _, to_beat, trial in known])
        return Outcome.of(self._curves, self.ended_at, self._complete_makespan / self.makespan, stated, happened)

    def _run(self, workers: int) -> float:
        """Run the simulation and return the time at which the last trial ends."""
        # (time, trial, index of the decision point reached then, epochs seen before); the heap's order breaks ties by trial.
        events: list[tuple[float, int, int, int]] = []
        waiting = iter(range(len(self.ended_at)))

        def schedule(now: float, trial: int, point: int, seen: int) -> None:
            epoch = self._epoch_at(trial, point)
            heapq.heappush(events, (now + (epoch - seen) * self._durations[trial], trial, point, seen))

        def start_next(now: float) -> None:
            trial = next(waiting, None)
            if trial is not None:
                schedule(now, trial, 0, 0)

        for _ in range(workers):
            start_next(0.0)
        self._complete_makespan = makespan(self._durations * self._curves.epochs, workers)
        now = 0.0
        while events:
            now = events[0][0]
            # Of events at the same time, all are observed before any is decided: workers report independently.
            simultaneous = []
            while events and events[0][0] == now:
                _, trial, point, seen = heapq.heappop(events)
                self._see(trial, seen, self._epoch_at(trial, point))
                simultaneous.append((trial, point, seen))
            for trial, point, seen in simultaneous:
                epoch = self._epoch_at(trial, point)
                if epoch == self._last_epochs[trial] or self._stops(trial, epoch, seen):
                    self.ended_at[trial] = epoch
                    start_next(now)
                else:
                    schedule(now, trial, point + 1, epoch)
        return now

    def _epoch_at(self, trial: int, point: int) -> int:
        """Return the epoch of a decision point by its index, or the trial's last epoch if that comes first."""
        epoch = self._decision_points[point] if point < len(self._decision_points) else self._max_epochs
        return min(epoch, self._last_epochs[trial])

    def _see(self, trial: int, seen: int, epoch: int) -> None:
        self._observe(trial, seen, epoch)
        if epoch == self._last_epochs[trial]:
            # A score: -inf for a run without a final value, which so never becomes the best.
            self._best = max(self._best, float(self._curves.finals[trial]))


def makespan(durations: Sequence[float] | Array, workers: int) -> float:
    """Return the time to run trials of these durations, in order, on that many workers."""
    free = [0.0] * workers  # a heap of the times at which workers become free
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + float(duration))
    return max(free)
