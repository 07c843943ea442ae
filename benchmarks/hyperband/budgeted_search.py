"""One search with a budget, on replayed curves: configurations are drawn with replacement and trained until the budget is spent.

The draws are the same for all searchers of a seed. With several workers an epoch of each draw takes a time of its own, and a
budget is a time: that in which as many workers, never idle, train so many epochs of mean length 1.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.hyperband.replayed_run import search_models
from benchmarks.replay.promoting import trained_epochs
from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.search_set import SearchSet, epoch_durations
from benchmarks.replay.shuffled_study import Models
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.srm.curve import Configuration
from curvestop.srm.policies.evidence import Rule
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.study import Study

BEST_SHARE = 0.01
"""Share of a set that counts as its best."""


class Complete(NamedTuple):
    """A trial that trained to its last epoch.

    Attributes:
        at: Epochs spent on all trials until then; with several workers, time x workers.
        score: Its final value, higher is better.
    """

    at: float
    score: float


@dataclass(frozen=True)
class Draws:
    """Configurations of a set in the order in which a search draws them.

    Attributes:
        search: The draws, one a row.
        workers: Number of trials that train at once.
        best: `(runs,)` final values of the whole set, ascending.
    """

    search: CurveSet
    workers: int
    best: Array

    @staticmethod
    def of(searches: SearchSet, seed: int, n: int, *, workers: int = 1) -> Draws:
        """Draw n configurations of a set with replacement."""
        rows = np.random.default_rng(seed).integers(0, len(searches.scores), n)
        search = CurveSet(searches.name, seed, searches.scores[rows], searches.configurations[rows], "maximize")
        return Draws(search, workers, np.sort(searches.scores[:, -1]))

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        """`(n,)` time that an epoch of each draw takes."""
        durations = epoch_durations(self.search, self.workers)
        return np.ones(len(self.search.curves)) if durations is None else durations / np.mean(durations)

    def first(self, n: int) -> Draws:
        """Return the first n draws."""
        search = self.search
        return replace(self, search=replace(search, curves=search.curves[:n], configurations=search.configurations[:n]))

    def figures(self, complete: list[Complete], budget: float) -> tuple[float, float]:
        """Return what was found within a budget: 1 if it is among the best 1 % of the set, and the regret.

        Args:
            complete: Of a searcher.
            budget: In full trainings.

        Returns:
            Found (0 or 1), and the shortfall of the best found in standard deviations of the set's better half.
        """
        # Before anything is complete, a run taken at random is as good; the worst one may have diverged.
        nothing = float(np.median(self.best))
        found = max((c.score for c in complete if c.at <= budget * self.search.max_epochs), default=nothing)
        threshold = self.best[-max(1, round(BEST_SHARE * len(self.best)))]
        better_half = self.best[self.best >= np.median(self.best)]
        return float(found >= threshold), float((self.best[-1] - found) / (np.std(better_half) or 1.0))


class Made(NamedTuple):
    """A scheduler and the study that it asks.

    Attributes:
        scheduler: The scheduler.
        study: Fits deferred; None if nothing is stopped inside a rung.
    """

    scheduler: BracketScheduler
    study: Study | None = None


MakeScheduler = Callable[[Callable[[], Configuration], int, float], Made]
"""Makes a scheduler of a function that draws, max_epochs and a budget in full trainings."""


def scheduled(draws: Draws, budget: float, *, make: MakeScheduler) -> list[Complete]:
    """Return the trials that a scheduler completes within a budget, in order.

    Args:
        draws: The draws.
        budget: In full trainings.
        make: Makes the scheduler.
    """
    search, durations = draws.search, draws.durations
    configurations = map(search.configuration, range(len(search.curves)))
    scheduler, study = make(lambda: next(configurations), search.max_epochs, budget)
    complete: list[Complete] = []
    fitted_at = 0
    for spent, (now, row, epoch) in enumerate(trained_epochs(scheduler, search, durations, workers=draws.workers), start=1):
        at = float(spent) if draws.workers == 1 else now * draws.workers
        if at > budget * search.max_epochs:
            break
        if epoch == search.max_epochs:
            complete.append(Complete(at, float(search.finals[row])))
        if spent >= fitted_at + search.max_epochs // 2:
            fitted_at = spent
            search_models(study)
    return complete


def stopped(draws: Draws, rule: Rule | None) -> list[Complete]:
    """Return the trials that random search completes under a stopping rule, in order.

    Args:
        draws: The draws: all of them train.
        rule: The rule; None trains all to the end.
    """
    search, durations = draws.search, draws.durations
    ended_at = np.full(len(search.curves), float(search.max_epochs))
    if rule is not None:
        models = Models(search) if isinstance(rule, LearnedPolicy) else None
        ended_at = SearchReplay(search, rule, workers=draws.workers, models=models, durations=durations).ended_at
    free = [0.0] * draws.workers  # a heap of the times at which workers become free
    complete = []
    for trial, epochs in enumerate(ended_at):
        now = heapq.heappop(free) + float(epochs * durations[trial])
        heapq.heappush(free, now)
        if epochs == search.max_epochs:
            complete.append(Complete(now * draws.workers, float(search.finals[trial])))
    return sorted(complete)
