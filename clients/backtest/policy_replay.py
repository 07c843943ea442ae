"""Replay curves through a `Study`, which decides as it would have decided in the search itself."""

from __future__ import annotations

import math
import time
from collections.abc import MutableMapping

from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.clients.backtest.replay import Replay
from curvestop.srm.model_cache import FitJob, FittedModels
from curvestop.srm.settings import StudySettings
from curvestop.srm.report import Report
from curvestop.srm.study import Study

Fits = MutableMapping[tuple[tuple[str, ...], int], FittedModels]
"""Models by the trials they learnt from, in order, and how many of them their settings were searched on."""


class PolicyReplay(Replay):
    """A replay whose decisions are those of a `Study`. `judging_s`: seconds in its decisions. `reasons`: of the stops, by row.

    refit_growth: >= 1; models take in new curves when there are this many times as many, as a server does that has other things
    to fit; 1 for every new curve, as in a process of one's own. fits: what other replays of the same order fitted.
    """

    def __init__(
        self,
        replayed: CurveSet,
        settings: StudySettings,
        *,
        workers: int = 1,
        durations: Array | None = None,
        refit_growth: float = 1.0,
        fits: Fits | None = None,
    ) -> None:
        self._judge = Study(settings, fit="deferred")
        self._refit_growth, self._fits = refit_growth, {} if fits is None else fits
        self._fits_from = settings.rule.min_curves  # complete curves from which on something may be due
        self.judging_s = 0.0
        self.reasons: dict[int, str] = {}
        super().__init__(replayed, settings.stopping.decision_points(settings.max_epochs), workers=workers, durations=durations)

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        study, name = self._study, str(trial)
        values = study.curves[trial, seen:epoch].tolist()
        self._judge.record(Report(name, values, study.configuration(trial), seen + 1))
        if epoch == self._ends[trial]:
            self._judge.finish(name, "finished" if study.is_whole[trial] else "failed")

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        began = time.perf_counter()
        self._fit()
        decision = self._judge.decide(str(trial), self._judge.question(str(trial)))
        self.judging_s += time.perf_counter() - began
        self._keep_statement(trial, decision)
        if decision.stop:
            self.reasons[trial] = decision.reason
            self._judge.finish(str(trial), "stopped")
        return decision.stop

    def _fit(self) -> None:
        if self._judge.book.n_reached(self._horizon) < self._fits_from:
            return
        while (job := next(self._judge.forecasts.due(), None)) is not None:
            models = self._run_once(job)
            self._judge.forecasts.install(models)
            self._fits_from = math.ceil(models.n_curves * self._refit_growth)

    def _run_once(self, job: FitJob) -> FittedModels:
        n_searched = len(job.curves) if job.known is None else job.known.n_searched
        key = tuple(curve.trial for curve in job.curves), n_searched
        if key not in self._fits:
            self._fits[key] = job.run()
        return self._fits[key]
