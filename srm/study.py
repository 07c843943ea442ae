"""A study: collects the learning curves of one search, predicts the final value of a partial one and says whether to stop it.

`Study` is the whole service in one process; `curvestop.clients.connect` gives the same interface over a wire.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from curvestop.srm.curve import Configuration, Decision, LearningCurve, Prediction, Ranking
from curvestop.srm.model_cache import FitJob, FittedModels, Models, due_size
from curvestop.srm.plural import plural
from curvestop.srm.policies.rank_history import History
from curvestop.srm.policies.rules import Evidence
from curvestop.srm.policies.stopping_rule import nth_best
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import (
    EndState,
    Predicted,
    Question,
    Record,
    Recorded,
    Report,
    StudyLike,
    StudyOfMany,
    Trial,
    TrialState,
    UnknownTrial,
)
from curvestop.srm.validation import (
    LARGEST_VALUE,
    EpochOutOfRange,
    check_configuration,
    check_epoch,
    check_name,
    check_value_to_beat,
    checked_values,
)

__all__ = [
    "LARGEST_VALUE",
    "EndState",
    "EpochOutOfRange",
    "FitJob",
    "FittedModels",
    "Question",
    "Recorded",
    "Report",
    "Study",
    "StudyLike",
    "StudyOfMany",
    "StudySettings",
    "Trial",
    "TrialState",
    "UnknownTrial",
    "check_name",
    "due_size",
]


class Study:
    """A study in this process.

    fit: "at_once" fits inside `report` and `predict` when models are due; "deferred" leaves that to the owner, who takes
    `due()`, runs the jobs anywhere and hands the results to `install()`.
    Not for several threads at once: a server guards it with a lock. Its state is a function of the calls made, so a log
    of them (`record`, `restore`, `finish`) gives the same study again.
    """

    def __init__(self, settings: StudySettings, *, fit: Literal["at_once", "deferred"] = "at_once") -> None:
        self._settings = settings
        self._fits_at_once = fit == "at_once"
        self._records: dict[str, Record] = {}
        self._reached: defaultdict[int, list[str]] = defaultdict(list)  # epoch -> trials, in the order they got there
        self._complete_lengths: dict[str, int] = {}
        self._history = History(settings.direction, ranked_at=settings.ranked_at)
        self._without_ranks = History(settings.direction)
        self._models = Models(settings, self)
        self._ranking: Ranking | None = None  # whose predictions the history ranks by
        self._foreseen: dict[str, tuple[list[float], Predicted]] = {}  # trial -> values it may come to have, what is predicted

    @property
    def settings(self) -> StudySettings:
        return self._settings

    def report(
        self,
        trial: str,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
    ) -> Decision:
        self.check_question(target_epoch, value_to_beat)
        recorded = self.record(trial, values, configuration=configuration, first_epoch=first_epoch)
        self.expect(target_epoch)
        if ask:
            decision = self.decide(trial, target_epoch=target_epoch, value_to_beat=value_to_beat)
        else:
            decision = Decision.carry_on("not asked")
        return replace(decision, conflicts=recorded.conflicts)

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        self.check_question(target_epoch, None)
        curve = self._curve_to_predict(values, configuration)
        models = self._models_for(target_epoch or self.settings.max_epochs)
        return None if models is None else models.predictor.predict(curve)

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        answers: list[Decision | Exception] = []
        self.prefetch(reports)
        for one in reports:
            try:
                answers.append(
                    self.report(
                        one.trial,
                        one.values,
                        configuration=one.configuration,
                        first_epoch=one.first_epoch,
                        target_epoch=one.target_epoch,
                        value_to_beat=one.value_to_beat,
                        ask=one.ask,
                    )
                )
            except ValueError as mistake:
                answers.append(mistake)
        return answers

    def prefetch(self, reports: Sequence[Report]) -> None:
        """Predict at once what one decision after another on these reports will ask for. It changes no answer."""
        self._foreseen.clear()
        models = self._models.get(self.settings.max_epochs)
        if len(reports) < 2 or models is None or models.ranking is None:
            return
        alike: defaultdict[int | None, list[LearningCurve]] = defaultdict(list)
        for report in reports:
            curve = self._curve_after(report)
            if curve is not None:
                alike[models.modelled_length(len(curve.values))].append(curve)
        for length, curves in alike.items():
            for curve, both in zip(curves, models.ranking.predict_and_score_alike(curves) or (), strict=False):
                predicted = Predicted(models.predictor, length, *both, models.why_unreliable(curve))
                self._foreseen[curve.trial] = list(curve.values), predicted

    def _curve_after(self, report: Report) -> LearningCurve | None:
        """What the trial's curve will be; None where that is not plain, or nothing will be predicted."""
        record, horizon = self._records.get(report.trial), self.settings.max_epochs
        if record is None or record.state != "running" or horizon in record.stops or not report.ask or not report.values:
            return None
        if report.first_epoch != len(record.prefix) + 1:
            return None
        values = (*record.prefix, *report.values)
        is_plain = math.isfinite(sum(values)) and len(values) < horizon and report.target_epoch in (None, horizon)
        return LearningCurve(report.trial, record.configuration, values) if is_plain else None

    def predict_many(self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None) -> list[Prediction | None]:
        self.check_question(target_epoch, None)
        curves = [self._curve_to_predict(curve.values, curve.configuration) for curve in curves]
        models = self._models_for(target_epoch or self.settings.max_epochs) if curves else None
        return [None] * len(curves) if models is None else models.predict_many(curves)

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        if state not in ("finished", "stopped", "failed"):
            raise ValueError(f"state must be 'finished', 'stopped' or 'failed', but got {state!r}")
        record = self._record_of(trial)
        if record.state == "running":
            record.state, record.ended_because = state, f"the trial was ended as {state}"
            if state == "finished" and record.prefix:
                self._complete(trial, record)
        return record.state

    def trials(self) -> tuple[Trial, ...]:
        return tuple(Trial(name, r.configuration, tuple(r.prefix), r.state) for name, r in self._records.items())

    # The halves of a report, for an owner that keeps a log.

    def record(
        self, trial: str, values: Sequence[float], *, configuration: Configuration | None = None, first_epoch: int = 1
    ) -> Recorded:
        """Add values. Everything is checked before anything is changed."""
        check_name("trial", trial)
        values = self._checked_values(values, first_epoch)
        configuration = self._checked_configuration(configuration, of=trial)
        record = self._records.setdefault(trial, Record(configuration))
        new, conflicts, diverged_at = [], [], None
        for epoch, value in enumerate(values, start=first_epoch):
            if not math.isfinite(value):
                diverged_at = epoch
                self._diverge(record, epoch)
                break
            if epoch not in record.observed:
                record.observed[epoch] = value
                new.append((epoch, value))
            elif record.observed[epoch] != value:
                conflicts.append((epoch, record.observed[epoch]))
        self._extend_prefix(trial, record)
        return Recorded(tuple(new), tuple(conflicts), diverged_at)

    def decide(self, trial: str, *, target_epoch: int | None = None, value_to_beat: float | None = None) -> Decision:
        """Decide on a recorded trial. A repeated question gets the same answer, and a stop is final for its target epoch."""
        record = self._record_of(trial)
        question = self.question(trial, target_epoch, value_to_beat)
        decision = self.remembered(trial, question)
        if decision is None:
            decision = self._judge(trial, record, question)
            self.restore(trial, question, decision)
        return decision

    def remembered(self, trial: str, question: Question) -> Decision | None:
        """The answer `decide` gives without judging: to an ended trial, after a stop, to a repeated question."""
        record = self._record_of(trial)
        if record.state in ("failed", "stopped"):
            return Decision(stop=True, reason=record.ended_because)
        if question.target_epoch in record.stops:
            return record.stops[question.target_epoch]
        if record.last is not None and record.last[0] == question:
            return record.last[1]
        return None

    def question(self, trial: str, target_epoch: int | None, value_to_beat: float | None) -> Question:
        """What `decide` would answer now."""
        return Question(len(self._record_of(trial).prefix), target_epoch or self.settings.max_epochs, value_to_beat)

    def restore_value(self, trial: str, epoch: int, value: float) -> None:
        """Add a value that was recorded, of a trial that is known; nothing is checked again."""
        record = self._records[trial]
        record.observed[epoch] = value
        self._extend_prefix(trial, record)

    def restore(self, trial: str, question: Question, decision: Decision) -> None:
        """Remember a decision that was made."""
        record = self._record_of(trial)
        self.expect(question.target_epoch)
        record.last = (question, decision)
        if self._is_own(question):
            record.looked_at = question.tau
        if decision.stop:
            record.stops.setdefault(question.target_epoch, decision)

    def state_of(self, trial: str) -> TrialState | None:
        """The state of a trial; None when it was never reported."""
        record = self._records.get(trial)
        return None if record is None else record.state

    def expect(self, target_epoch: int | None) -> None:
        """Questions about this epoch will come: have models ready for them."""
        self._models.expect(target_epoch or self.settings.max_epochs)

    def check_question(self, target_epoch: int | None, value_to_beat: float | None) -> None:
        """Raises ValueError (EpochOutOfRange after the last epoch) when a question makes no sense."""
        if target_epoch is not None:
            check_epoch("target_epoch", target_epoch, max_epochs=self.settings.max_epochs)
        check_value_to_beat(value_to_beat)

    # Models.

    def targets(self) -> tuple[int, ...]:
        """The target epochs that were asked for, and the last epoch."""
        return self._models.targets()

    def due(self) -> Iterator[FitJob]:
        """The fits that are due now, for every target epoch that was asked for."""
        return self._models.due()

    def install(self, models: FittedModels) -> None:
        """Use these models from now on, unless newer ones are in use."""
        self._models.install(models)

    def n_fitted(self, target_epoch: int) -> int:
        """How many curves the models for `target_epoch` were fitted on; 0 without models."""
        models = self._models.get(target_epoch)
        return 0 if models is None else models.n_curves

    def n_reached(self, target_epoch: int) -> int:
        """How many trials reached this epoch (the last one: are complete)."""
        return len(self._reached[target_epoch])

    def reached(self, target_epoch: int, n: int) -> tuple[LearningCurve, ...]:
        """The first n of their curves up to it, in the order in which they got there."""
        lengths = self._complete_lengths
        return tuple(self._curve(t, min(target_epoch, lengths.get(t, target_epoch))) for t in self._reached[target_epoch][:n])

    def _models_for(self, target_epoch: int) -> FittedModels | None:
        self._models.expect(target_epoch)
        while self._fits_at_once and (job := self._models.due_for(target_epoch)) is not None:
            self._models.install(job.run())
        return self._models.get(target_epoch)

    # Judging.

    def _judge(self, trial: str, record: Record, question: Question) -> Decision:
        target = question.target_epoch
        if question.tau == 0:
            return Decision.carry_on("epoch 1 was not reported yet")
        if record.state == "finished":
            return Decision.carry_on("the trial was already ended as finished; what it reports now is stored and not judged")
        if question.tau >= target:
            return Decision.carry_on(f"epoch {target} is reached: there is nothing left to predict")
        models = self._models_for(target)
        prediction, why_unreliable = self._predicted(trial, question.tau, target, models)
        is_own = self._is_own(question)
        evidence = Evidence(
            history=self._ranked_by(models) if is_own else self._without_ranks,
            trial=trial,
            tau=question.tau,
            horizon=target,
            previous=record.looked_at,
            prediction=prediction,
            n_curves=models.n_curves if models is not None and prediction is not None else 0,
            why_unreliable=why_unreliable,
            value_to_beat=None if is_own else self._to_beat(question),
            beat=self.settings.rule,
        )
        return (self.settings.stopping if is_own else self.settings.rung_stopping).decide(evidence)

    def _is_own(self, question: Question) -> bool:
        """Whether it is the study's own question, for its policy: will the trial's final value be any good?"""
        return question.value_to_beat is None and question.target_epoch == self.settings.max_epochs

    def _predicted(self, trial: str, tau: int, target: int, models: FittedModels | None) -> tuple[Prediction | None, str]:
        """A prediction, and why it is not to be relied upon (empty: it is)."""
        if models is None:
            return None, self._models.why_none(target)
        known, length = self._records[trial].predicted, models.modelled_length(tau)
        latest = known.get(target)
        if latest is None or latest.predictor is not models.predictor or latest.length != length:
            latest = known[target] = self._was_foreseen(trial, tau, target, models) or self._newly_predicted(
                self._curve(trial, tau), length, models
            )
        if latest.prediction is None:
            return None, f"no model for curves of {tau} of {plural(target, 'epoch')}: too few complete curves are longer"
        return latest.prediction, latest.why_unreliable

    def _was_foreseen(self, trial: str, tau: int, target: int, models: FittedModels) -> Predicted | None:
        values, predicted = self._foreseen.get(trial, (None, None))
        if predicted is None or predicted.predictor is not models.predictor or target != self.settings.max_epochs:
            return None
        return predicted if self._records[trial].prefix[:tau] == values else None

    def _newly_predicted(self, curve: LearningCurve, length: int | None, models: FittedModels) -> Predicted:
        predictor, ranking = models.predictor, models.ranking
        prediction, score = ranking.predict_and_score(curve) if ranking else (predictor.predict(curve), None)
        return Predicted(predictor, length, prediction, score, "" if prediction is None else models.why_unreliable(curve))

    def _ranked_by(self, models: FittedModels | None) -> History:
        """The history, with ranks by the predictions of these models."""
        ranking = None if models is None else models.ranking
        if ranking is not self._ranking:
            self._ranking = ranking
            self._history.rank_by(None if models is None or ranking is None else partial(self._scores, models))
        return self._history

    def _scores(self, models: FittedModels, epoch: int, trials: Sequence[str]) -> Sequence[float] | None:
        scores = self._score_at_hand(models, epoch, *trials) if len(trials) == 1 else None
        if scores is None and models.ranking is not None:
            scores = models.ranking.scores([self._curve(trial, epoch) for trial in trials])
        return None if scores is None else [self._history.sign * score for score in scores]

    def _score_at_hand(self, models: FittedModels, epoch: int, trial: str) -> Sequence[float] | None:
        """That of a trial being judged, from its prediction just now."""
        latest = self._records[trial].predicted.get(models.target_epoch)
        if latest is None or latest.predictor is not models.predictor or latest.length != models.modelled_length(epoch):
            return None
        return None if latest.score is None else [latest.score]

    def _to_beat(self, question: Question) -> float | None:
        """The value given, or the n-th best observed one at the target epoch."""
        if question.value_to_beat is not None:
            return question.value_to_beat
        values = (self._records[t].prefix[question.target_epoch - 1] for t in self._reached[question.target_epoch])
        return nth_best(values, self.settings.rule.rank, self.settings.direction)

    # Keeping trials.

    def _extend_prefix(self, trial: str, record: Record) -> None:
        epoch, last = len(record.prefix) + 1, self._settings.max_epochs
        while (value := record.observed.get(epoch)) is not None:
            record.prefix.append(value)
            self._history.observe(trial, value)
            if epoch == last:
                self._complete(trial, record)
            else:
                self._reached[epoch].append(trial)
            epoch += 1

    def _complete(self, trial: str, record: Record) -> None:
        if trial not in self._complete_lengths:
            self._complete_lengths[trial] = len(record.prefix)
            self._reached[self.settings.max_epochs].append(trial)
            self._history.complete(trial)

    def _diverge(self, record: Record, epoch: int) -> None:
        if record.state == "running":
            record.state = "failed"
            record.ended_because = f"the metric of epoch {epoch} is not a finite number: the trial diverged"

    def _record_of(self, trial: str) -> Record:
        try:
            return self._records[trial]
        except KeyError:
            raise UnknownTrial(f"study {self.settings.name!r} has no trial {trial!r}") from None

    def _curve(self, trial: str, length: int) -> LearningCurve:
        record = self._records[trial]
        return LearningCurve(trial, record.configuration, tuple(record.prefix[:length]))

    # Checking what comes in.

    def _curve_to_predict(self, values: Sequence[float], configuration: Configuration | None) -> LearningCurve:
        curve = LearningCurve("", self._checked_configuration(configuration), self._checked_values(values, 1))
        if not curve.values or not math.isfinite(sum(curve.values)):  # bounded as they are, no sum overflows
            raise ValueError(f"a curve to predict needs at least one value, all finite, but got {curve.values!r}")
        return curve

    def _checked_values(self, values: Sequence[float], first_epoch: int) -> tuple[float, ...]:
        return checked_values(values, first_epoch, max_epochs=self.settings.max_epochs)

    def _checked_configuration(self, configuration: Configuration | None, *, of: str | None = None) -> Configuration:
        known = self._records.get(of) if of is not None else None
        if configuration is None:
            return {} if known is None else known.configuration
        if known is not None and known.configuration == configuration:  # it was checked when it came first
            return known.configuration
        check_configuration(configuration, log_scaled=self.settings.log_scaled)
        if known is not None:
            raise ValueError(
                f"trial {of!r} was reported with {dict(known.configuration)!r}, which stays, but got {dict(configuration)!r}"
            )
        return dict(configuration)
