"""`PolicyReplay`: replays curves through a `Study`, which decides as it would have decided during the search."""

from __future__ import annotations

import math
from collections.abc import MutableMapping

from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.clients.backtest.replay import Replay
from curvestop.srm.grid import Grid
from curvestop.srm.model_cache import FitJob, FittedModels
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

Fits = MutableMapping[tuple[tuple[str, ...], int], FittedModels]
"""Fitted models by (the trials they learnt from, in order; the number of curves that their settings were searched on)."""


class PolicyReplay(Replay):
    """A replay whose decisions are those of a `Study`.

    Args:
        curves: The curves to replay.
        settings: The study's settings: policy, rule, predictor, ...
        workers: Number of trials that run at once. Default: 1.
        durations: `(n,)` time that one epoch of each trial takes. Default: 1.
        refit_growth: Factor >= 1: models are refitted when there are this many times as many complete curves. Default: 1, a
            refit for every new curve, as in a process of its own; a busy server refits less often.
        fits: Models that other replays of the same order have fitted; this one uses them and adds its own.

    Attributes:
        ended_at: `(n,)` epochs that each trial trained.
        makespan: Simulated time until the last trial ended.
        reasons: Reason of each stop, by row.

    Examples:
        >>> import numpy as np
        >>> levels = np.array([1, 2, 3, 4, 5, 2, 4])  # the sixth and seventh run are compared with the median 3
        >>> curves = CurveSet("demo", 0, np.repeat(levels[:, None], 4, axis=1), np.zeros((7, 1)), "maximize")
        >>> replay = PolicyReplay(curves, StudySettings("demo", max_epochs=4, policy="median"))
        >>> replay.ended_at.astype(int).tolist()
        [4, 4, 4, 4, 4, 1, 4]
        >>> round(replay.outcome().saved, 3)
        0.107
    """

    def __init__(
        self,
        curves: CurveSet,
        settings: StudySettings,
        *,
        workers: int = 1,
        durations: Array | None = None,
        refit_growth: float = 1.0,
        fits: Fits | None = None,
    ) -> None:
        self._study = Study(settings, fit="deferred")  # `_fit` says when, so that refits can be rarer and shared
        self._refit_growth, self._fits = refit_growth, {} if fits is None else fits
        self._next_fit_at = settings.rule.min_curves  # number of complete curves at which models are fitted next
        self.reasons: dict[int, str] = {}
        grid = Grid(settings.max_epochs)
        decision_points = [grid.epoch(point) for point in settings.stopping.decision_points(len(grid))]
        super().__init__(curves, decision_points, workers=workers, durations=durations)

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        curves, name = self._curves, str(trial)
        values = curves.curves[trial, seen:epoch].tolist()
        self._study.record(Report(name, values, curves.configuration(trial), first_epoch=seen + 1))
        if epoch == self._last_epochs[trial]:
            # A run that broke off has no final value: as a finished trial it would teach the models a wrong one.
            self._study.finish(name, "finished" if curves.is_complete[trial] else "failed")

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        name = str(trial)
        self._fit()
        decision = self._study.decide(name, self._study.question(name))
        # Also of a trial that is stopped: whether the statement was right is known from its recorded end.
        self._keep_statement(trial, decision)
        if decision.stop:
            self.reasons[trial] = decision.reason
            self._study.finish(name, "stopped")
        return decision.stop

    def _fit(self) -> None:
        """Run the fits that are due, if the complete curves have grown enough."""
        if self._study.book.n_reached(self._max_epochs) < self._next_fit_at:
            return
        while (job := next(self._study.forecasts.due(), None)) is not None:
            models = self._run_once(job)
            self._study.forecasts.install(models)
            # With growth 1 this holds no fit back: `due` alone decides.
            self._next_fit_at = math.ceil(models.n_curves * self._refit_growth)

    def _run_once(self, job: FitJob) -> FittedModels:
        """Run a fit, or take it from `fits`: a fit depends on the curves only, not on the policy."""
        n_searched = len(job.curves) if job.known is None else job.known.n_searched
        key = tuple(curve.trial for curve in job.curves), n_searched
        if key not in self._fits:
            self._fits[key] = job.run()
        return self._fits[key]
