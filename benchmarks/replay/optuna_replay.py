"""A search under one of Optuna's pruners, on simulated workers."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from curvestop.clients.backtest import replay
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.clients.backtest.optuna_pruners import direction_of, parameters


class OptunaReplay(replay.Replay):
    """One replay: every epoch is reported to a study of Optuna, whose pruner is asked after each but the last.

    Args:
        search: Curves in the order of the trials; all of them complete.
        workers: Number of trials that run at once.
        durations: `(n,)` time that one epoch of each trial takes. Default: 1.
        make: Makes the pruner for the number of epochs.
    """

    def __init__(
        self, search: CurveSet, *, workers: int = 1, durations: Array | None = None, make: Callable[[int], BasePruner]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = make(search.max_epochs)
        sampler = optuna.samplers.RandomSampler(seed=0)  # never asked: all parameters are enqueued
        # Optuna's Hyperband hashes the study's name into brackets: name and seed make them reproducible.
        name, direction = f"{search.name}/{search.seed}", direction_of(search)
        self._study = optuna.create_study(study_name=name, direction=direction, pruner=pruner, sampler=sampler)
        self._space, self._configurations = parameters(search)
        self._trials: dict[int, optuna.Trial] = {}
        self._rows: list[list[float]] = search.curves.tolist()
        super().__init__(search, range(1, search.max_epochs), workers=workers, durations=durations)

    @property
    def time_saved(self) -> float:
        """Share of the simulated time that pruning saved."""
        return 1 - self.makespan / self._complete_makespan

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        if trial not in self._trials:
            self._study.enqueue_trial(self._configurations[trial])
            self._trials[trial] = self._study.ask(dict(self._space))
        for past, value in enumerate(self._rows[trial][seen:epoch], start=seen + 1):
            self._trials[trial].report(value, past)
        if epoch == self._max_epochs:
            self._study.tell(self._trials[trial], self._rows[trial][-1])

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        stops = self._trials[trial].should_prune()
        if stops:
            self._study.tell(self._trials[trial], state=TrialState.PRUNED)
        return stops
