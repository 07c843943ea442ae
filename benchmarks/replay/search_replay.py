"""Replay a search under a stopping rule, with the product's ranks, neighbors and models, but fewer fits than a `Study` makes."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.replay.shuffled_study import Forecaster
from curvestop.clients.backtest import replay
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.srm.curve import Prediction
from curvestop.srm.neighbors import Neighbors
from curvestop.srm.policies.evidence import Evidence, Rule
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.predictors.stacked.reliability import Reliability


class SearchReplay(replay.Replay):
    """One replay.

    Args:
        search: Curves in the order of the trials.
        rule: The stopping rule.
        workers: Number of trials that run at once.
        models: Forecasts of the trials; None for rules that need none.
        durations: `(n,)` time that one epoch of each trial takes. Default: 1.
    """

    def __init__(
        self,
        search: CurveSet,
        rule: Rule,
        *,
        workers: int = 1,
        models: Forecaster | None = None,
        durations: Array | None = None,
    ) -> None:
        decision_points = list(rule.decision_points(search.max_epochs))
        self._rule, self._models = rule, models
        self._history = RankHistory(search.direction, ranked_at=frozenset(decision_points))
        self._neighbors = Neighbors()
        if rule.reads_neighbors:
            for trial in range(len(search.curves)):
                self._neighbors.add(str(trial), search.configuration(trial))
        self._rows: list[list[float]] = search.curves.tolist()
        self._completed: list[int] = []
        self._in_use = 0  # curves behind the models that the history ranks by
        self.chances: list[tuple[int, float]] = []  # (trial, stated chance) at each decision that states one
        super().__init__(search, decision_points, workers=workers, durations=durations)

    @property
    def time_saved(self) -> float:
        """Share of the simulated time that stopping saved."""
        return 1 - self.makespan / self._complete_makespan

    def second_chances(self, rule: LearnedPolicy, budget: float) -> Array:
        """Resume stopped trials, the most probable first, from decision point to decision point; call it once.

        Args:
            rule: States the chances; its decision points are those of the replay.
            budget: Epochs to spend, as a share of all epochs of the search.

        Returns:
            `(n,)` epochs that each trial trained in the end.
        """
        left = round(budget * self._curves.epochs.sum())
        trained = self.ended_at.astype(int)

        def chance(trial: int) -> float:
            return rule.chance(self._evidence(trial, int(trained[trial]), 0), int(trained[trial]))

        # With one trial in all there is nothing to compare with.
        chances = {t: chance(t) for t in range(len(trained)) if trained[t] < self._max_epochs and len(trained) > 1}
        while chances:
            trial = max(chances, key=chances.__getitem__)
            seen = int(trained[trial])
            following = next((e for e in self._decision_points if e > seen), self._max_epochs)
            if following - seen > left:
                break
            left -= following - seen
            self._observe(trial, seen, following)
            trained[trial] = following
            if following == self._max_epochs:
                del chances[trial]
            else:
                chances[trial] = chance(trial)
        return trained.astype(float)

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        name = str(trial)
        for value in self._rows[trial][seen:epoch]:
            self._history.observe(name, value)
        if epoch == self._max_epochs:
            self._history.complete(name)
            self._completed.append(trial)

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        decision = self._rule.decide(self._evidence(trial, epoch, previous))
        self._keep_statement(trial, decision)
        if decision.chance is not None:
            self.chances.append((trial, decision.chance))
        return decision.stop

    def _evidence(self, trial: int, epoch: int, previous: int) -> Evidence:
        """Return what is known of a trial as it was at an epoch, with ranks by the present models."""
        prediction, n_curves, why_unreliable = self._predict(trial, epoch)
        self._rank(self._rule.ranked_epochs(epoch, previous, self._max_epochs))
        neighbors = 0.0
        if self._rule.reads_neighbors:
            neighbors = self._neighbors.mean_log_odds(str(trial), self._history.ranked_finals)
        return Evidence(
            self._history,
            str(trial),
            epoch,
            self._max_epochs,
            previous,
            prediction,
            n_curves,
            why_unreliable,
            neighbors=neighbors,
        )

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
