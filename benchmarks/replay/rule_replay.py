"""Replay a study under a stopping rule, with models of one's own in place of a `Study`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.replay.shuffled_study import Forecaster
from curvestop.clients.backtest import replay
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.srm.curve import Prediction
from curvestop.srm.policies.evidence import Evidence, Rule
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.predictors.stacked.reliability import Reliability


class Replay(replay.Replay):
    """One replay. models: None for rules that need none."""

    def __init__(
        self,
        study: CurveSet,
        rule: Rule,
        *,
        workers: int = 1,
        models: Forecaster | None = None,
        durations: Array | None = None,
    ) -> None:
        decision_points = list(rule.decision_points(study.max_epochs))
        self._rule, self._models = rule, models
        self._history = RankHistory(study.direction, ranked_at=frozenset(decision_points))
        self._completed: list[int] = []
        self._in_use = 0  # curves behind the models that the history ranks by
        super().__init__(study, decision_points, workers=workers, durations=durations)

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        name = str(trial)
        for value in self._curves.curves[trial, seen:epoch].tolist():
            self._history.observe(name, value)
        if epoch == self._max_epochs:
            self._history.complete(name)
            self._completed.append(trial)

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        prediction, n_curves, why_unreliable = self._predict(trial, epoch)
        evidence = Evidence(self._history, str(trial), epoch, self._max_epochs, previous, prediction, n_curves, why_unreliable)
        self._rank(self._rule.ranked_epochs(epoch, previous, self._max_epochs))
        decision = self._rule.decide(evidence)
        self._keep_statement(trial, decision)
        return decision.stop

    def _predict(self, trial: int, epoch: int) -> tuple[Prediction | None, int, str]:
        """The prediction now, the number of curves behind it and why not to rely upon it; the history then ranks by its model."""
        forecast = None if self._models is None else self._models.forecast(epoch, self._completed)
        if forecast is None:
            return None, 0, "too few complete curves"
        if self._in_use != forecast.n_curves:
            self._in_use = forecast.n_curves
            self._history.forget_predictions()
        why_unreliable = Reliability(epoch, forecast.n_curves, forecast.r2, 1.0).why_unreliable(least_curves=0)
        return forecast.prediction(trial), forecast.n_curves, why_unreliable

    def _rank(self, epochs: Sequence[int]) -> None:
        """Rank the trials at these epochs by the models' scores."""
        for epoch in epochs if self._models is not None and self._in_use else ():
            forecast = self._models.forecast(epoch, self._completed) if self._models is not None else None
            trials = list(map(int, self._history.without_prediction(epoch)))
            if forecast is not None and trials:
                self._history.add_predictions(epoch, forecast.score[trials].tolist())
