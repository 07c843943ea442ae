"""The predictions of a study: which models are fitted, what they say of each trial, and ranks by what they say."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from curvestop.srm.curve import CurvePredictor, LearningCurve, Prediction, Ranking
from curvestop.srm.grid import Grid
from curvestop.srm.model_cache import FitJob, FittedModels, ModelCache
from curvestop.srm.report import Report
from curvestop.srm.reported import curve_on
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial_book import TrialBook

MOST_TARGETS = 32
"""Largest number of target epochs for which a study whose fits are deferred has models."""

_log = logging.getLogger(__name__)


class Forecast(NamedTuple):
    """What is predicted of a trial.

    Attributes:
        prediction: Distribution of its value at the target epoch; None without a model.
        why_unreliable: Why the prediction cannot be relied on, for people; empty if it can.
        n_curves: Number of complete curves that the model was fitted on; 0 without a model.
    """

    prediction: Prediction | None
    why_unreliable: str
    n_curves: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one predictor says of a trial, for as long as it would say the same.

    Attributes:
        predictor: The predictor that was asked.
        length: Observed length that its model goes by; None if the curve is too short for any.
        prediction: Its prediction, if any.
        score: Its score for ranking, higher for a higher final value; None if it does not rank.
        why_unreliable: Why not to rely on it; empty if nothing speaks against it.
    """

    predictor: CurvePredictor
    length: int | None
    prediction: Prediction | None
    score: float | None
    why_unreliable: str


class Forecasts:
    """Predictions for the trials of one study.

    Args:
        settings: Settings of the study.
        book: Its trials.
        fit_at_once: Whether models are fitted inside the call that needs them. Otherwise the owner runs `due()`.

    Attributes:
        fits_at_once: The same.
    """

    def __init__(self, settings: StudySettings, book: TrialBook, *, fit_at_once: bool) -> None:
        self._settings, self._book, self.fits_at_once = settings, book, fit_at_once
        self._models = ModelCache(settings, book)
        self._latest: dict[int, tuple[CurvePredictor, dict[str, Predicted]]] = {}  # target epoch -> predictor, latest by trial
        self._prefetched: dict[str, tuple[list[float], Predicted]] = {}  # trial -> (values it may come to have, prediction)
        self._ranking: Ranking | None = None  # whose predictions the book's history ranks by

    # Models.

    def due(self) -> Iterator[FitJob]:
        """Yield the fits that are due now, for every target epoch that was asked for."""
        return self._models.due()

    def install(self, models: FittedModels) -> None:
        """Use these models from now on, unless newer ones are in use.

        Args:
            models: What `FitJob.run` returned.
        """
        self._models.install(models)

    def fail(self, job: FitJob, error: Exception) -> None:
        """Go on without the models of a fit that raised an error; decisions say so, and the log has the traceback.

        Args:
            job: A fit that was due.
            error: What it raised.
        """
        name = self._settings.name
        _log.error(
            "study %r: models for epoch %d could not be fitted on %d curves",
            *(name, job.target_epoch, len(job.curves)),
            exc_info=error,
        )
        self._models.fail(job, error)

    def failure(self) -> str:
        """Return which models could not be fitted at the last try, and why, for people; empty if none failed."""
        return self._models.failure()

    def targets(self) -> tuple[int, ...]:
        """Return the target epochs that were asked for and the last epoch, ascending."""
        return self._models.targets()

    def expect(self, target_epoch: int) -> None:
        """Prepare for questions about this epoch: models for it become due.

        Args:
            target_epoch: In 1..max_epochs; announced again, nothing happens. One too many is left without models.
        """
        if self.has_room_for(target_epoch):
            self._models.expect(target_epoch)

    def check_target(self, target_epoch: int) -> None:
        """Check that models for this epoch may be asked for.

        Raises:
            ValueError: If they would be those of one target epoch too many.
        """
        if not self.has_room_for(target_epoch):
            known = ", ".join(map(str, self.targets()))
            raise ValueError(
                f"a study predicts for at most {MOST_TARGETS} target epochs, and {target_epoch} would be one more: "
                f"ask about one of {known}, or make another study"
            )

    def has_room_for(self, target_epoch: int) -> bool:
        """Return whether models for this epoch are, or may be, asked for. A study that fits at once has room for any."""
        return self.fits_at_once or self._models.expects(target_epoch) or len(self.targets()) < MOST_TARGETS

    def expects(self, target_epoch: int) -> bool:
        """Return whether models for this epoch are fitted when they are due."""
        return self._models.expects(target_epoch)

    def n_fitted(self, target_epoch: int) -> int:
        """Return the number of curves that the models for this epoch were fitted on; 0 without models."""
        return self._models.n_fitted(target_epoch)

    def n_due(self, target_epoch: int) -> int:
        """Return the same number once nothing is due."""
        return self._models.n_due(target_epoch)

    def models(self, target_epoch: int) -> FittedModels | None:
        """Return the models for this epoch, fitted first if this study fits at once.

        Args:
            target_epoch: In 1..max_epochs. Where fits are deferred, `expect` says for which epochs they become due.

        Returns:
            The models in use; None if too few trials reached the epoch, or the first fit is not installed yet.
        """
        if self.fits_at_once:
            self._models.expect(target_epoch)
        # A search on fewer curves than there are is followed by a quick refit on all of them: both run here.
        while self.fits_at_once and (job := self._models.due_for(target_epoch)) is not None:
            try:
                self._models.install(job.run(lazily=True))
            except Exception as error:  # whatever a predictor raises, such as MemoryError: no reason to end a training
                self.fail(job, error)
        return self._models.get(target_epoch)

    # Predictions.

    def of_trial(self, trial: str, tau: int, target_epoch: int) -> Forecast:
        """Predict the value of a trial at the target epoch, from its first tau points of that epoch's grid.

        Args:
            trial: Name of a trial of the study.
            tau: Number of points to predict from, >= 1, of those that the trial reached before the target epoch.
            target_epoch: Epoch to predict, in 1..max_epochs.

        Returns:
            The forecast; without a model its `why_unreliable` says what is missing.
        """
        models = self.models(target_epoch)
        if models is None:
            return Forecast(None, self._models.why_none(target_epoch), 0)
        latest = self._predicted(trial, tau, models)
        if latest.prediction is None:
            axis, epoch = self._settings.axis, Grid(target_epoch).epoch(tau)
            why = f"no model for curves of {axis.number(epoch)} of {axis.span(target_epoch)}: too few complete curves are longer"
            return Forecast(None, why, 0)
        return Forecast(latest.prediction, latest.why_unreliable, models.n_curves)

    def of_curve(self, curve: LearningCurve, target_epoch: int) -> Prediction | None:
        """Predict the value at the target epoch of one curve that is no trial; see `predict_all`."""
        models = self.models(target_epoch)
        curve = curve_on(Grid(target_epoch), curve)
        # A curve that ends before the first point is too short for any model.
        return models.predictor.predict(curve) if models is not None and curve.values else None

    def prefetch(self, reports: Sequence[Report]) -> None:
        """Precompute the predictions that deciding on these reports will need; a cache, answers do not change.

        Args:
            reports: Those of one batch, before any of them is recorded; what was precomputed for an earlier batch is dropped.
        """
        self._prefetched.clear()
        models = self._models.get(self._settings.max_epochs)
        # A report alone is predicted just as fast when it is decided.
        if len(reports) < 2 or models is None or models.ranking is None:
            return
        by_length: defaultdict[int | None, list[LearningCurve]] = defaultdict(list)
        known = self._latest_of(models)
        for report in reports:
            length = self._length_after(report)
            modelled = None if length is None else models.modelled_length(length)
            latest = known.get(report.trial)
            # Between two modelled lengths, as most reports are, the latest prediction stays.
            if modelled is not None and (latest is None or latest.length != modelled):
                curve = self._curve_after(report)
                if curve is not None:
                    by_length[modelled].append(curve)
        # One matrix product for all curves that the same model answers for.
        for length, curves in by_length.items():
            for curve, both in zip(curves, models.ranking.predict_and_score_alike(curves) or (), strict=False):
                predicted = Predicted(models.predictor, length, *both, models.why_unreliable(curve))
                self._prefetched[curve.trial] = list(curve.values), predicted

    def rank(self, epochs: Sequence[int]) -> None:
        """Rank the trials at these epochs by their predicted final values, all predicted by the present models.

        Args:
            epochs: Decision points, as points of the study's grid, that the policy will read.
        """
        models, history = self.models(self._settings.max_epochs), self._book.history
        ranking = None if models is None else models.ranking
        # Scores of two models cannot be compared, so those of the old one go.
        if ranking is not self._ranking:
            self._ranking = ranking
            history.forget_predictions()
        if models is None or ranking is None:
            return
        for epoch in epochs:
            trials = history.without_prediction(epoch)
            scores = self._scores(models, ranking, epoch, trials) if trials else None
            if scores is not None:
                history.add_predictions(epoch, scores)

    def _length_after(self, report: Report) -> int | None:
        """The length of a trial's curve after a report; None if that is not plain, or nothing will be predicted."""
        record, max_epochs = self._book.get(report.trial), self._settings.max_epochs
        if record is None or record.state != "running" or max_epochs in record.stops or not report.ask or not report.values:
            return None
        # Of a long training, a curve is predicted again when it passes the next of its points, which few reports do.
        if not self._book.grid.is_every_epoch or report.first_epoch != len(record.prefix) + 1:
            return None
        length = len(record.prefix) + len(report.values)
        return length if length < max_epochs and report.target_epoch in (None, max_epochs) else None

    def _curve_after(self, report: Report) -> LearningCurve | None:
        """The curve of a trial after a report that has a `_length_after`; None if the report's values are not plain."""
        record = self._book[report.trial]
        values = (*record.prefix, *report.values)
        return LearningCurve(report.trial, record.configuration, values) if math.isfinite(sum(values)) else None

    def _predicted(self, trial: str, tau: int, models: FittedModels) -> Predicted:
        known, length = self._latest_of(models), models.modelled_length(tau)
        latest = known.get(trial)
        # Between two modelled lengths the curve is cut to the same epochs, so its prediction stays.
        if latest is None or latest.length != length:
            latest = known[trial] = self._prefetched_for(trial, tau, models) or _predict_newly(
                self._book.curve(trial, tau, models.target_epoch), length, models
            )
        return latest

    def _latest_of(self, models: FittedModels) -> dict[str, Predicted]:
        """The latest predictions of these models, by trial; those of earlier models go, and with them the models."""
        predictor, latest = self._latest.get(models.target_epoch, (None, {}))
        if predictor is not models.predictor:
            latest = {}
            self._latest[models.target_epoch] = models.predictor, latest
        return latest

    def _prefetched_for(self, trial: str, tau: int, models: FittedModels) -> Predicted | None:
        values, predicted = self._prefetched.get(trial, (None, None))
        if predicted is None or predicted.predictor is not models.predictor or models.target_epoch != self._settings.max_epochs:
            return None
        # A value may have been refused or kept from an earlier report, so the curve can be another one than expected.
        return predicted if self._book[trial].prefix[:tau] == values else None

    def _scores(self, models: FittedModels, ranking: Ranking, epoch: int, trials: Sequence[str]) -> list[float] | None:
        """Predicted scores, higher is better, of trials as they were at this epoch; None without a model for it."""
        scores: Sequence[float] | None = None
        if len(trials) == 1:  # the trial that is judged: it was predicted just now
            latest = self._latest_of(models).get(trials[0])
            if latest is not None and latest.length == models.modelled_length(epoch):
                scores = None if latest.score is None else [latest.score]
        if scores is None:
            scores = ranking.scores([self._book.curve(trial, epoch, models.target_epoch) for trial in trials])
        return None if scores is None else [self._book.history.sign * score for score in scores]


def predict_all(models: FittedModels | None, curves: Sequence[LearningCurve], target_epoch: int) -> list[Prediction | None]:
    """Predict the value at the target epoch of curves that are no trials; None where no model covers the length.

    Args:
        models: Those for the target epoch; None if there are none.
        curves: Partial curves of any lengths >= 1; they may be none.
        target_epoch: Epoch to predict, in 1..max_epochs.

    Returns:
        One item for each curve, in order.
    """
    if models is None or not curves:
        return [None] * len(curves)
    on_grid = [curve_on(Grid(target_epoch), curve) for curve in curves]
    predictions = iter(models.predict_many([curve for curve in on_grid if curve.values]))
    return [next(predictions) if curve.values else None for curve in on_grid]


def _predict_newly(curve: LearningCurve, length: int | None, models: FittedModels) -> Predicted:
    predictor, ranking = models.predictor, models.ranking
    prediction, score = ranking.predict_and_score(curve) if ranking else (predictor.predict(curve), None)
    return Predicted(predictor, length, prediction, score, "" if prediction is None else models.why_unreliable(curve))
