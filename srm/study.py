"""A study: collects the learning curves of one search, predicts where a partial one ends and decides whether to stop it.

`Study` is the whole service in one process; `curvestop.connect` gives the same interface on a server.

A report is recorded in the `TrialBook`; `Forecasts` predicts the trial's final value; the settings' policy decides, from the
ranks of the trial among all others and from that prediction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from curvestop.srm.curve import Decision, LearningCurve, Prediction
from curvestop.srm.forecasts import Forecasts, predict_all
from curvestop.srm.grid import Grid
from curvestop.srm.overview import Overview, overview_line
from curvestop.srm.plural import plural
from curvestop.srm.policies.evidence import Evidence, Rule, StatesChances, due
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.policies.stopping_rule import nth_best
from curvestop.srm.report import Question, Report, as_sequence, trial_name
from curvestop.srm.second_chances import SecondChance, most_promising, policy_of_chances
from curvestop.srm.seed_noise import SeedNoise, seed_noise
from curvestop.srm.settings import StudySettings, checked_settings
from curvestop.srm.study_like import KeywordReports
from curvestop.srm.study_memory import Event, StudyMemory
from curvestop.srm.trial import EndState, Trial, TrialState
from curvestop.srm.trial_book import LOST, Recorded, TrialBook, with_what_was_known
from curvestop.srm.validation import check_question, checked_curve

N_BEFORE_WARNING = 5
"""So many finished trials show how long trials are."""

_log = logging.getLogger(__name__)


class Study(KeywordReports, Overview):
    """A study in this process.

    It is not for several threads at once: a server guards it with a lock. Its state is a function of the calls made, so the log
    of a server (`record`, `restore`, `finish`) gives the same study again. It can be copied and pickled, with its trials; a copy
    is a study of its own, so workers in other processes that shall learn from each other need a server.

    Args:
        settings: What the study is.
        fit: "at_once" fits models inside `report` and `predict` when they are due. "deferred" leaves that to the owner, who
            takes `forecasts.due()`, runs the jobs anywhere and hands the results to `forecasts.install()`.

    Attributes:
        book: The trials.
        forecasts: Models and predictions.
        memory: What happened, for reports; None if fits are deferred, as the owner keeps the log then.

    Examples:
        >>> study = Study(StudySettings("demo", max_epochs=10))
        >>> for trial in range(12):
        ...     decision = study.report(trial, [0.5 + trial / 50 + epoch / 20 for epoch in range(10)])
        >>> decision = study.report("late", [0.1])
        >>> decision.stop, " chance to end as the best (rank 13 of 13 " in decision.reason
        (True, True)
    """

    def __init__(self, settings: StudySettings, *, fit: Literal["at_once", "deferred"] = "at_once") -> None:
        self._settings = checked_settings(settings)
        self.book = TrialBook(settings)
        self.forecasts = Forecasts(settings, self.book, fit_at_once=fit == "at_once")
        self.memory = StudyMemory() if fit == "at_once" else None
        self._has_warned = False
        self._no_history = RankHistory(settings.direction)  # a rung's question does not go by ranks

    def __repr__(self) -> str:
        return f"study {self.settings.name!r} in this process: {overview_line(self.settings, self.trials())}"

    @property
    def settings(self) -> StudySettings:
        """The settings that the study was created with."""
        return self._settings

    def answer(self, report: Report) -> Decision:
        """Store the values of a report and, if it asks, decide whether the trial should continue; see `StudyLike.answer`."""
        ended_as = self.book.ended_as(report.trial)  # before this report, which may end it
        recorded = self.record(report)
        self._remember_report(report.trial, recorded, ended_as)
        if recorded.lacks_values:
            decision = LOST
        elif report.ask:
            decision = self.decide(report.trial, self.question(report.trial, report.target_epoch, report.value_to_beat))
        else:
            decision = Decision.carry_on("not asked")
        return with_what_was_known(decision, recorded, ended_as, self.forecasts.failure())

    def _remember_report(self, trial: str, recorded: Recorded, ended_as: EndState | None) -> None:
        if self.memory is not None:
            for epoch, _ in recorded.new:
                self.memory.add(Event(trial, epoch=epoch))
            if recorded.diverged_at is not None and ended_as is None:
                self.memory.add(Event(trial, ended="failed"))

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """Answer reports in order: each one's decision, or the ValueError that it alone would raise.

        Args:
            reports: Of any trials, several of one trial among them.

        Returns:
            One item for each report, in order; an error stores nothing of its report and does not affect the others.
        """
        answers: list[Decision | Exception] = []
        # The predictions of a whole batch cost hardly more than one.
        self.forecasts.prefetch(reports)
        for report in reports:
            try:
                answers.append(self.answer(report))
            except ValueError as error:
                answers.append(error)
        return answers

    def predict(
        self,
        values: float | Sequence[float],
        *,
        configuration: Mapping[str, Any] | None = None,
        target_epoch: int | None = None,
    ) -> Prediction | None:
        """Predict where a partial curve ends; see `StudyLike.predict`."""
        check_question(target_epoch, None, max_epochs=self.settings.max_epochs)
        curve = self._checked(LearningCurve("", {} if configuration is None else configuration, tuple(as_sequence(values))))
        return self.forecasts.of_curve(curve, target_epoch or self.settings.max_epochs)

    def predict_many(self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None) -> list[Prediction | None]:
        """Predict where each partial curve ends; see `StudyOfMany.predict_many`."""
        return self.predictor_of(curves, target_epoch=target_epoch)()

    def predictor_of(
        self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None, expects: bool = False
    ) -> Callable[[], list[Prediction | None]]:
        """Return a function that predicts where each partial curve ends, for an owner that calls it without its lock.

        Args:
            curves: Partial curves of any lengths >= 1, with the configurations of their runs.
            target_epoch: Epoch to predict; None for the last one.
            expects: Whether models for that epoch become due.

        Raises:
            ValueError: If a curve or the epoch breaks a rule.
        """
        check_question(target_epoch, None, max_epochs=self.settings.max_epochs)
        checked, target = [self._checked(curve) for curve in curves], target_epoch or self.settings.max_epochs
        if expects:
            self.forecasts.check_target(target)
            self.forecasts.expect(target)
        models = self.forecasts.models(target) if checked else None
        return partial(predict_all, models, checked, target)

    def finish(self, trial: str | int, state: EndState = "finished") -> TrialState:
        """End a trial and return the state that it now has; see `StudyLike.finish`."""
        trial = trial_name(trial)
        was_running = self.book.state_of(trial) == "running"
        now = self.book.finish(trial, state)
        if self.memory is not None and was_running:
            self.memory.add(Event(trial, ended=state))
        if state == "finished" and not self._has_warned:
            self._check_lengths()
        return now

    def _check_lengths(self) -> None:
        """Warn once if no trial comes near the last epoch, so that all are compared on the wrong scale."""
        max_epochs, furthest, n = (
            self.settings.max_epochs,
            self.book.furthest_epoch,
            self.book.n_reached(self.settings.max_epochs),
        )
        if n >= N_BEFORE_WARNING and 2 * furthest <= max_epochs and self.forecasts.fits_at_once:
            self._has_warned = True
            axis = self.settings.axis
            name = "max_epochs" if axis.unit == "epoch" else "max_resource"
            _log.warning(
                "study %r: %d trials are finished, but none went beyond %s of %s=%s: set %s=%s",
                *(self.settings.name, n, axis.at(furthest), name, axis.max_resource, name, axis.amount(furthest)),
            )

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report."""
        return self.book.trials()

    def close(self) -> None:
        """Do nothing: nothing waits to be sent. A program that may use a study on a server closes it, or uses `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def seed_noise(self) -> SeedNoise | None:
        """Estimate by how much final values differ from seed to seed: a trial that is better by less than that is not better.

        Returns:
            The standard deviation, in the metric, and where it comes from: repeated configurations among the better half of the
            complete trials, else the late epochs of these. None if neither tells enough; see `srm.seed_noise.seed_noise`.

        Examples:
            >>> study = Study(StudySettings("demo", max_epochs=2))
            >>> for trial, final in enumerate([0.70, 0.72, 0.74, 0.76]):
            ...     decision = study.report(f"{trial}", [0.5, final], configuration={"lr": 0.1, "seed": trial})
            >>> str(study.seed_noise())
            '0.026 (from 1 repeated configuration)'
        """
        complete = self.book.reached(self.settings.max_epochs, self.book.n_reached(self.settings.max_epochs))
        return seed_noise(complete, self.settings.direction)

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with, the most promising first; see `StudyOfMany.second_chances`."""
        policy = policy_of_chances(self.settings, n)
        chances = (self.second_chance(trial, policy) for trial in self.book.stopped())
        return most_promising((chance for chance in chances if chance is not None), n)

    def resume(self, trial: str | int) -> None:
        """Let a stopped trial continue: its next reports are decided anew; see `StudyOfMany.resume`."""
        trial = trial_name(trial)
        self.book.resume(trial)
        if self.memory is not None:
            self.memory.add(Event(trial))

    def second_chance(self, trial: str, policy: StatesChances) -> SecondChance | None:
        """Return one stopped trial's chance: a step of `second_chances`, for an owner that holds a lock meanwhile.

        Args:
            trial: Name of a trial that was reported.
            policy: The study's policy, which states chances.

        Returns:
            The second chance; None if the trial is not stopped (any more), passed no decision point, or has all its epochs.
        """
        record, grid = self.book[trial], self.book.grid
        if not self.book.is_stopped(trial):
            return None
        last_epoch = record.observed.last_epoch
        # As if nothing had been decided before (0 points): the latest decision point that the trial passed.
        point = due(policy.decision_points(len(grid)), len(record.prefix), 0)
        if point is None or last_epoch == grid.last:
            return None
        chance = policy.chance(self._evidence(trial, self.question(trial), previous=0), point)
        return SecondChance(trial, record.configuration, last_epoch + 1, chance)

    # The steps of `answer`, for an owner that keeps a log.

    def record(self, report: Report) -> Recorded:
        """Store the values of a report. Everything is checked before anything changes.

        Args:
            report: Values and what they belong to; its question is not answered.

        Returns:
            What was new, what conflicted, and whether the trial diverged.

        Raises:
            ValueError: If a name, epoch, value or configuration breaks its rule.
        """
        if report.target_epoch is not None:
            check_question(report.target_epoch, None, max_epochs=self.settings.max_epochs)
            self.forecasts.check_target(report.target_epoch)
        recorded = self.book.record(report)
        # Also without a question: who names an epoch will ask about it, and its models take time.
        if report.target_epoch is not None:
            self.forecasts.expect(report.target_epoch)
        return recorded

    def question(self, trial: str, target_epoch: int | None = None, value_to_beat: float | None = None) -> Question:
        """Return the question that `decide` would answer now, at the trial's present length.

        Args:
            trial: Name of a trial that was reported.
            target_epoch: Epoch whose value counts, in 1..max_epochs; None for the last one.
            value_to_beat: In the metric; None for the study's n-th best at that epoch.

        Raises:
            UnknownTrial: If the trial was never reported.
        """
        return Question(self.book[trial].observed.last_epoch, target_epoch or self.settings.max_epochs, value_to_beat)

    def decide(self, trial: str, question: Question) -> Decision:
        """Decide on a recorded trial. A repeated question gets the same answer; a stop is final for its target epoch.

        That holds until the trial is resumed.

        Args:
            trial: Name of a trial that was reported.
            question: What `question` returned for it.
        """
        remembered = self.remembered(trial, question)
        return self.judge(trial, question) if remembered is None else remembered

    def remembered(self, trial: str, question: Question) -> Decision | None:
        """Return the answer that needs no judging: to an ended trial, after a stop, to a repeated question.

        Args:
            trial: Name of a trial that was reported.
            question: What `question` returned for it.

        Returns:
            The answer; None if the question must be judged.
        """
        record = self.book[trial]
        # An end answers every later question, whatever epoch it is about.
        if record.state == "stopped" and record.last_stop is not None:
            return record.last_stop  # its reason, rather than that its owner obeyed
        if record.state in ("failed", "stopped"):
            return Decision(stop=True, reason=record.ended_because)
        if question.target_epoch in record.stops:
            return record.stops[question.target_epoch]
        # A retry after a lost answer asks the same question, and must not get another answer by newer models.
        return record.last[1] if record.last is not None and record.last[0] == question else None

    def judge(self, trial: str, question: Question) -> Decision:
        """Decide anew and remember the decision.

        Args:
            trial: Name of a trial for which `remembered` has no answer.
            question: What `question` returned for it.
        """
        decision = self._judge(trial, question)
        self.restore(trial, question, decision)
        if self.memory is not None:
            self.memory.decide(trial, question, decision)
        return decision

    def restore(self, trial: str, question: Question, decision: Decision) -> None:
        """Remember a decision, made now or read from a log.

        Args:
            trial: Name of a trial that was reported.
            question: What was decided.
            decision: The answer, whatever the policy would say today.
        """
        record = self.book[trial]
        # Also when a log is replayed, so that the models are due again after a restart.
        self.forecasts.expect(question.target_epoch)
        record.last = (question, decision)
        # Questions about a rung come between the decision points of the policy and do not use them up.
        if self._is_own(question):
            record.decided_at = self.book.grid.n_points(question.tau)
        if decision.stop:
            record.stops.setdefault(question.target_epoch, decision)

    def _judge(self, trial: str, question: Question) -> Decision:
        record, tau, target = self.book[trial], question.tau, question.target_epoch
        axis = self.settings.axis
        if tau == 0:
            return Decision.carry_on("nothing was reported yet")
        if record.state == "finished":
            return Decision.carry_on("the trial was ended as finished; values reported after that are stored, not judged")
        if tau >= target:
            return Decision.carry_on(f"{axis.at(target)} is reached: nothing is left to predict")
        grid = self._grid(target)
        if tau < grid.epoch(1):
            return Decision.carry_on(
                f"of {axis.span(target)}, {axis.at(grid.epoch(1))} is the first after which trials are compared"
            )
        decision = self._policy(question).decide(self._evidence(trial, question, previous=record.decided_at))
        n_reports = len(record.observed.epochs)
        # What lies between the reports was not measured, and a reader of the reason should know.
        if n_reports < grid.n_points(tau):
            decision = replace(decision, reason=f"{decision.reason}; the trial made {plural(n_reports, 'report')} so far")
        return decision

    def _grid(self, target_epoch: int) -> Grid:
        return self.book.grid if target_epoch == self.book.grid.last else Grid(target_epoch)

    def _policy(self, question: Question) -> Rule:
        return self.settings.stopping if self._is_own(question) else self.settings.rung_stopping

    def _evidence(self, trial: str, question: Question, *, previous: int) -> Evidence:
        """Make everything that the policy may read, before it is asked."""
        target, is_own, grid = question.target_epoch, self._is_own(question), self._grid(question.target_epoch)
        tau = grid.n_points(question.tau)
        policy = self._policy(question)
        forecast = self.forecasts.of_trial(trial, tau, target)
        neighbors = 0.0
        if is_own:
            epochs = policy.ranked_epochs(tau, previous, len(grid))
            # Only the points that this decision reads: ranking one may need a prediction of every trial that reached it.
            self.forecasts.rank(epochs)
            # Between two decision points nobody reads it.
            if epochs and policy.reads_neighbors:
                neighbors = self.book.neighbors.mean_log_odds(trial, self.book.history.ranked_finals)
        return Evidence(
            history=self.book.history if is_own else self._no_history,
            trial=trial,
            tau=tau,
            max_epochs=len(grid),
            grid=grid,
            axis=self.settings.axis,
            previous=previous,
            prediction=forecast.prediction,
            n_curves=forecast.n_curves,
            why_unreliable=forecast.why_unreliable,
            value_to_beat=None if is_own else self._value_to_beat(question),
            beat=self.settings.rule,
            neighbors=neighbors,
            all_equal=self.book.all_equal(question.tau),
        )

    def _is_own(self, question: Question) -> bool:
        """Whether the policy answers it: it is about the final value and compares with the study's own best."""
        return question.value_to_beat is None and question.target_epoch == self.settings.max_epochs

    def _value_to_beat(self, question: Question) -> float | None:
        """The value given, or the n-th best that any trial had at the target epoch."""
        if question.value_to_beat is not None:
            return question.value_to_beat
        return nth_best(self.book.values_at(question.target_epoch), self.settings.rule.rank, self.settings.direction)

    def _checked(self, curve: LearningCurve) -> LearningCurve:
        return checked_curve(curve, max_epochs=self.settings.max_epochs, log_scaled=self.settings.log_scaled)
