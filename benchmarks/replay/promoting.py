"""Rules that promote: trials pause at the rungs, and the best of a rung go on. What was never promoted counts as stopped.

The trials are given, as everywhere in this benchmark. Promoting ASHA is Algorithm 2 of Li et al. 2020, "A System for Massively
Parallel Hyperparameter Tuning", PASHA that of Bohdal et al. 2023, "PASHA: Efficient HPO and NAS with Progressive Resource
Allocation". Hyperband (Li et al. 2017) has the brackets of one iteration, scaled to the number of trials.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.clients.backtest.replay import makespan
from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.asynchronous import AsynchronousHyperband, OpenBracket
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, Rung, brackets
from curvestop.hyperband.scheduler.open_rung import OpenRung
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import TrialRecord
from curvestop.srm.curve import Configuration
from curvestop.srm.policies.rules import Halving

Sample = Callable[[], Configuration]
Make = Callable[[Sample, int, int], BracketScheduler]
"""Makes a scheduler of a function that draws, the number of trials and max_epochs."""


class PromotedRun(NamedTuple):
    """A search under a scheduler.

    Attributes:
        ended_at: `(n,)` epochs that each trial trained.
        time_saved: Share of the simulated time that was not needed.
    """

    ended_at: Array
    time_saved: float


class TrainedEpoch(NamedTuple):
    """An epoch that is over.

    Attributes:
        at: Simulated time.
        row: Trial, in the order in which trials are drawn.
        epoch: Number of the epoch, from 1.
    """

    at: float
    row: int
    epoch: int


def trained_epochs(
    scheduler: BracketScheduler, search: CurveSet, durations: Array, *, workers: int = 1
) -> Iterator[TrainedEpoch]:
    """Train what a scheduler asks for, and yield each epoch when it is over and reported.

    Args:
        scheduler: Draws the rows of the search in order.
        search: The curves, higher is better.
        durations: `(n,)` time that one epoch of each trial takes.
        workers: Number of trials that train at once.
    """
    curves: list[list[float]] = search.curves.tolist()
    row_of: dict[str, int] = {}
    events: list[tuple[float, int, Job, int]] = []  # (time, order, job, epoch that is over then)
    idle, started, now = workers, 0, 0.0

    def push(job: Job, epoch: int) -> None:
        nonlocal started
        started += 1
        heapq.heappush(events, (now + durations[row_of[job.trial]], started, job, epoch))

    while True:
        while idle and (job := scheduler.ask()) is not None:
            idle -= 1
            row_of |= {record.trial: record.number for record in scheduler.records[len(row_of) :]}
            push(job, job.first_epoch)
        if not events:
            return
        now, _, job, epoch = heapq.heappop(events)
        row = row_of[job.trial]
        if scheduler.report(job.trial, curves[row][epoch - 1]).stop:
            scheduler.job_over(job.trial)
            idle += 1
        else:
            push(job, epoch + 1)
        yield TrainedEpoch(now, row, epoch)


def promoted(search: CurveSet, *, workers: int = 1, durations: Array | None = None, make: Make) -> PromotedRun:
    """Replay a search under a scheduler that draws all its trials, in order."""
    n, max_epochs = search.curves.shape
    durations = np.ones(n) if durations is None else durations
    configurations = map(search.configuration, range(n))
    scheduler = make(lambda: next(configurations), n, max_epochs)
    trained = list(trained_epochs(scheduler, search, durations, workers=workers))
    ended_at = np.zeros(n)
    for _, row, epoch in trained:
        ended_at[row] = epoch
    return PromotedRun(ended_at, 1 - trained[-1].at / makespan(durations * max_epochs, workers))


class PromotingAsha(AsynchronousHyperband):
    """ASHA as published: of c trials that came through a rung the best floor(c / eta) are promoted, however many that gets.

    One thing is added. The best of a rung that is over is promoted in any case, or a small search would complete no trial.
    """

    def _promotable(self, bracket: OpenBracket, rung: OpenRung) -> list[TrialRecord]:
        n = len(rung.scores) // self.eta
        return self._paused_among_best(max(n, 1) if self._is_complete(bracket, rung) else n, rung)

    def _paused_among_best(self, n: int, rung: OpenRung) -> list[TrialRecord]:
        best = [] if rung.is_last else rung.ranked(self.direction)[:n]
        return [record for record in best if self._is_paused_in(record, rung)]


class Pasha(PromotingAsha):
    """PASHA: the top rung is the second one, and the next one whenever the two top rungs rank the trials differently.

    Trials that cross each other twice rank alike: differences up to the 90th percentile of theirs do not count. When nothing is
    left to promote below the top rung, its best trial trains to max_epochs.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._top = 1
        self._epsilon = 0.0

    def _promotable(self, bracket: OpenBracket, rung: OpenRung) -> list[TrialRecord]:
        if rung.opened.index < self._top:
            return super()._promotable(bracket, rung)
        return self._paused_among_best(1, rung) if self._is_complete(bracket, rung) else []

    def _after_job(self, rung: OpenRung) -> None:
        rungs = next(bracket.rungs for bracket in self._open if rung in bracket.rungs)
        if rung.opened.index == self._top < len(rungs) - 1:
            curves = np.array([record.values[: rung.epochs] for record in rung.ranked(self.direction)])  # (k, tau)
            self._epsilon = crossing_difference(curves, self._epsilon)
            if not ranks_alike(curves[:, -1], curves[:, rungs[self._top - 1].epochs - 1], self._epsilon):
                self._top += 1
        super()._after_job(rung)


def ranks_alike(now: Array, before: Array, epsilon: float) -> bool:
    """Return whether trials rank now as they did before, where values that differed by epsilon or less rank alike.

    Args:
        now: `(k,)` values, higher is better.
        before: `(k,)` values of the same trials at the end of the rung before.
        epsilon: >= 0.

    Examples:
        >>> now, before = np.array([3.0, 2.0]), np.array([1.0, 1.5])
        >>> ranks_alike(now, before, 0.4), ranks_alike(now, before, 0.5)
        (False, True)
    """
    had = before[np.argsort(-now, kind="stable")]  # of the trial that is first now, second now, ...
    return bool((np.abs(had - np.sort(before)[::-1]) <= epsilon).all())


def crossing_difference(curves: Array, otherwise: float) -> float:
    """Return the 90th percentile of the last differences of pairs of curves that crossed twice; `otherwise` without such a pair.

    Args:
        curves: `(k, tau)` values.
        otherwise: What is returned if no pair crossed twice.

    Examples:
        >>> crossing_difference(np.array([[2.0, 1.0, 2.0], [1.0, 2.0, 1.5], [0.0, 0.0, 0.0]]), 0.0)
        0.5
    """
    differences = []
    for one, other in combinations(curves, 2):
        as_at_last = (one > other) == (one[-1] > other[-1])
        if not as_at_last.all() and np.argmax(as_at_last) < np.flatnonzero(~as_at_last)[-1]:
            differences.append(abs(one[-1] - other[-1]))
    return float(np.percentile(differences, 90)) if differences else otherwise


def _one_bracket(n: int, max_epochs: int, share: float, eta: int) -> list[Bracket]:
    """Return rungs that take all n trials, if need be: who is promoted is up to the rule."""
    lengths = [*Halving(first_share=share, eta=eta).decision_points(max_epochs), max_epochs]
    return [Bracket(tuple(Rung(n, epochs) for epochs in lengths))]


def asha(sample: Sample, n: int, max_epochs: int, *, share: float, eta: int) -> BracketScheduler:
    """Return promoting ASHA with its first rung after a share of the epochs."""
    return PromotingAsha(sample, max_epochs=max_epochs, eta=eta, plan=_one_bracket(n, max_epochs, share, eta))


def pasha(sample: Sample, n: int, max_epochs: int, *, share: float, eta: int) -> BracketScheduler:
    """Return PASHA with its first rung after a share of the epochs."""
    return Pasha(sample, max_epochs=max_epochs, eta=eta, plan=_one_bracket(n, max_epochs, share, eta))


def hyperband(sample: Sample, n: int, max_epochs: int, *, eta: int) -> BracketScheduler:
    """Return Hyperband in the paper's order, in which workers wait for the end of a rung."""
    return FHyperband(sample, max_epochs=max_epochs, eta=eta, plan=scaled_brackets(n, max_epochs, eta=eta))


def scaled_brackets(n: int, max_epochs: int, *, eta: int) -> list[Bracket]:
    """Return the brackets of one iteration of Hyperband, scaled so that they take n trials in all.

    Examples:
        >>> for bracket in scaled_brackets(34, 9, eta=3):  # Hyperband has 9, 5 and 3
        ...     print([(rung.n_configurations, rung.epochs) for rung in bracket.rungs])
        [(18, 1), (6, 3), (2, 9)]
        [(10, 3), (3, 9)]
        [(6, 9)]
    """
    plan = brackets(max_epochs, eta=eta)
    ends = np.cumsum([bracket.n_configurations for bracket in plan])
    sizes = np.diff(np.round(ends * n / ends[-1]).astype(int), prepend=0).tolist()
    return [
        Bracket(tuple(Rung(max(size // eta**i, 1), rung.epochs) for i, rung in enumerate(bracket.rungs)))
        for bracket, size in zip(plan, sizes, strict=True)
        if size
    ]
