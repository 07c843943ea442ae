"""What synchronous and asynchronous f-Hyperband share: trials, their rungs, and the stopping inside a rung.

Baker 2017 (thesis), section 4.1.3 "Fast Hyperband": Algorithm 1 (brackets and promotion) and Algorithm 2 (inside a rung).
The paper's symbols: R is `max_epochs`, n_next is `RungOpened.n_next`, L is `OpenRung.scores`. Delta, delta and d are the study's
stopping rule; the dictionaries D and M are the study's curves and models.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.brackets import Bracket, brackets
from curvestop.hyperband.scheduler.open_rung import OpenRung, Score
from curvestop.hyperband.scheduler.rung_history import CutoffRecall, RungHistory
from curvestop.hyperband.scheduler.second_chances import SecondChances
from curvestop.hyperband.scheduler.trials import Event, State, TrialEnded, TrialRecord, TrialResumed, TrialStopped
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction, nth_best
from curvestop.srm.report import BracketPosition, Report
from curvestop.srm.study_like import StudyLike
from curvestop.srm.trial import EndState
from curvestop.srm.validation import LARGEST_VALUE, is_finite

_END_STATES: Mapping[State, EndState] = {
    "finished": "finished",
    "stopped": "stopped",
    "dropped": "stopped",  # "finished" would make the study take the rung's last value for the final one
    "failed": "failed",
}


class BracketScheduler(ABC):
    """A state machine that any executor can follow.

    `ask` for jobs, `report` the metric of each epoch, and call `job_over` when a job has ended.

    Among complete trials, the value to beat is the one of all brackets and iterations so far. A promoted configuration
    continues from its checkpoint; the rule judges its known curve before it trains on. Promotion is by value, best first; ties
    go to the one earlier in the rung. The same configurations, metrics, decisions and order of completions give the same run.

    Args:
        sample: Draws a configuration.
        max_epochs: Most epochs that any configuration trains, >= 1; the paper's R.
        eta: One configuration in eta is promoted to the next rung, >= 2.
        study: Predicts and decides; its max_epochs and direction must be these. Default: plain Hyperband.
        direction: Whether higher or lower values are better.
        kappa: Finite, > 0. Inside a rung, the value to beat is the max(1, ceil(kappa n_next))-th best value so far observed at
            the rung's last epoch.
        n_iterations: Consecutive runs of Hyperband, >= 1; they share the study and so its models.
        count_predictions: Predictions of stopped configurations also count for the value to beat, as Algorithm 2 has it to the
            letter. With a threshold >= 0.5 that changes nothing, because each of them was worse than the value to beat.
        recall: What earlier rungs add to the value to beat. Default: nothing, as in Algorithm 2.
        plan: Brackets of one iteration, each of another s; eta is theirs. Default: those of Hyperband.
        learn: Called with every trial that is over, or was stopped and may get a second chance.
        second_chances: Resumes trials that were stopped or dropped, while a worker would be idle and at the end; it asks the
            same study. Default: none is resumed.
        policy_decides: Whether the study's policy decides in rungs of max_epochs, in place of a value to beat.

    Raises:
        ValueError: If an argument is out of range, or the study has another max_epochs or direction.
    """

    def __init__(
        self,
        sample: Callable[[], Configuration],
        *,
        max_epochs: int,
        eta: int = 3,
        study: StudyLike | None = None,
        direction: Direction = "maximize",
        kappa: float = 1.0,
        n_iterations: int = 1,
        count_predictions: bool = False,
        recall: CutoffRecall | None = None,
        plan: Sequence[Bracket] | None = None,
        learn: Callable[[TrialRecord], None] = lambda record: None,
        second_chances: SecondChances | None = None,
        policy_decides: bool = False,
    ) -> None:
        if not (kappa > 0 and is_finite(kappa)):
            raise ValueError(f"kappa must be finite and > 0, but got {kappa!r}")
        if n_iterations < 1:
            raise ValueError(f"n_iterations must be >= 1, but got {n_iterations!r}")
        if study is not None and (study.settings.max_epochs, study.settings.direction) != (max_epochs, direction):
            raise ValueError(
                f"the study must have max_epochs = {max_epochs} and direction = {direction!r}, "
                f"but has {study.settings.max_epochs} and {study.settings.direction!r}"
            )
        self.max_epochs, self.eta, self.direction, self.kappa = max_epochs, eta, direction, kappa
        self.count_predictions, self.n_iterations = count_predictions, n_iterations
        self.plan = brackets(max_epochs, eta=eta) if plan is None else tuple(plan)
        self._rungs_of = {b.s: tuple((rung.n_configurations, rung.epochs) for rung in b.rungs) for b in self.plan}
        self._sample, self._study, self._learn = sample, study, learn
        self._chances, self._policy_decides = second_chances, policy_decides
        self._history = None if recall is None else RungHistory(recall, direction)
        # Brackets that have not begun: Algorithm 1, line 1, for each iteration.
        self._brackets_ahead = deque((iteration, bracket) for iteration in range(n_iterations) for bracket in self.plan)
        self._records: dict[str, TrialRecord] = {}
        self._rungs: dict[str, OpenRung] = {}  # of the trials that are not over
        self._has_job: set[str] = set()  # trials whose job is not over
        self._refused: dict[str, str] = {}  # trial -> why its metric was refused, until its job is over
        self._events: list[Event] = []

    # The interface of a scheduler, see `run_loop.Scheduler`.

    def ask(self) -> Job | None:
        """Return the next job to start; None at the end, and while a running job must end first."""
        return self._next_bracket_job() or self._next_second_chance()

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        """Add the metric of a trial's next epoch.

        Args:
            trial: Name of a trial that is training.
            value: The metric. If it is not finite (or beyond +-1e100), the trial is stopped and fails.
            seconds: Time that the epoch took.

        Returns:
            Whether to train another epoch. After a stop, end the job and call `job_over`.

        Raises:
            ValueError: If the trial is not training.
        """
        if self._chances is not None and trial in self._chances.running and self._records[trial].state == "running":
            return self._report_second_chance(self._chances, self._records[trial], value, seconds)
        record, rung = self._running(trial)
        record.epochs += 1
        record.seconds += seconds
        if not abs(value) <= LARGEST_VALUE:  # also true for NaN
            return self._refuse(record, value)
        record.values.append(value)  # Algorithm 2, lines 4-5
        if record.epochs < rung.epochs:
            return self._judge(record, rung)
        self._report_to_study(record, rung, value_to_beat=None)
        if self._history is not None and rung.epochs == self.max_epochs:
            self._history.add_complete(record.values)
        # Algorithm 2, lines 13-14.
        self._pause(
            record, rung, self._score(record, rung, value, predicted=False), f"reached epoch {rung.epochs}, the end of its rung"
        )
        return Decision(stop=True, reason=record.reason)

    def job_over(self, trial: str, *, failure: str | None = None) -> None:
        """Record that a trial's job has ended.

        A job that ends before its rung's last epoch, without a stop, counts as failed: its last value cannot be compared with
        the others'. A failure after a stop changes nothing.

        Args:
            trial: Name of the trial.
            failure: The cause; None if `train` returned or was stopped.
        """
        record, rung = self._records[trial], self._rungs.get(trial)
        if self._chances is not None and trial in self._chances.running:
            self._second_chance_over(self._chances, record, failure)
            return
        self._has_job.discard(trial)
        if rung is None:  # the trial is over already
            return
        if record.state == "running":
            early = f"train ended after {plural(record.epochs, 'epoch')}, before its rung's end at {rung.epochs}"
            self._end(record, "failed", failure or self._refused.get(trial) or early)
        self._after_job(rung)

    @property
    def finished(self) -> bool:
        """Whether nothing is running and nothing is left to start."""
        return self._brackets_over and (self._chances is None or self._chances.is_over)

    # What a subclass implements.

    @abstractmethod
    def _next_bracket_job(self) -> Job | None:
        """Return the brackets' next job; None at the end, and while a running job must end first."""

    @property
    @abstractmethod
    def _brackets_over(self) -> bool:
        """Whether all brackets are over."""

    @property
    @abstractmethod
    def _has_bracket_job(self) -> bool:
        """Whether the brackets have a job to start now; nothing changes."""

    @abstractmethod
    def _after_job(self, rung: OpenRung) -> None:
        """React when a member of the rung has no job any more: it is paused or over."""

    # Resuming a run that was killed, after its calls were replayed.

    def jobs_to_resume(self) -> tuple[Job, ...]:
        """Return the jobs that are not over, each from its trial's next epoch."""
        open_jobs = [self._records[t] for t in self._records if t in self._jobs and t not in self.jobs_to_end()]
        return tuple(self._job(record, self._rungs.get(record.trial)) for record in open_jobs)

    def jobs_to_end(self) -> tuple[str, ...]:
        """Return the trials that were stopped but whose jobs were not over."""
        return tuple(t for t in self._records if t in self._jobs and (self._records[t].state != "running" or t in self._refused))

    # The state of the run.

    spends_its_epochs = False
    """Whether configurations are drawn until the plan's epochs are trained, in place of the plan's number of configurations."""

    def take_events(self) -> tuple[Event, ...]:
        """Return what happened since the last call, in order."""
        events, self._events = tuple(self._events), []
        return events

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials, in the order they were drawn."""
        return tuple(self._records.values())

    def best(self) -> TrialRecord | None:
        """Return the complete trial with the best final value, the earliest of equals; None without a complete trial."""
        sign = -1.0 if self.direction == "maximize" else 1.0
        return min((r for r in self.records if r.state == "finished"), key=lambda r: sign * r.values[-1], default=None)

    @property
    def epochs_trained(self) -> int:
        """Epochs trained so far, over all trials."""
        return sum(record.epochs for record in self.records)

    @property
    def epochs_planned(self) -> int:
        """Epochs that plain Hyperband trains for the same configurations in the rungs they came through."""
        return sum(record.planned_epochs for record in self.records)

    # Algorithm 2: inside a rung.

    def _draw(self, iteration: int, bracket: Bracket, index: int) -> TrialRecord:
        name, number = trial_name(iteration, bracket, index), len(self._records)
        record = TrialRecord(name, self._sample(), iteration, bracket.s, number=number)
        self._records[record.trial] = record
        return record

    def _enter(self, record: TrialRecord, rung: OpenRung) -> None:
        """Move a trial to a rung, where it waits for a worker."""
        self._rungs[record.trial] = rung
        record.state, record.rung, record.score, record.predicted = "waiting", rung.opened.index, None, False

    def _start_job(self, record: TrialRecord, rung: OpenRung) -> Job | None:
        """Train a member up to the end of its rung; return None if its known curve stops it at once."""
        record.state = "running"
        # A promoted trial is judged for its new target epoch before it costs an epoch.
        if record.epochs and self._judge(record, rung).stop:
            self._after_job(rung)
            return None
        self._has_job.add(record.trial)
        return self._job(record, rung)

    def _job(self, record: TrialRecord, rung: OpenRung | None) -> Job:
        # A second chance may go on to the last epoch.
        target = self.max_epochs if rung is None else rung.epochs
        return Job(record.trial, record.configuration, record.epochs + 1, target)

    def _refuse(self, record: TrialRecord, value: float) -> Decision:
        self._refused[record.trial] = f"the metric of epoch {record.epochs} is {value!r}, not a finite number"
        return Decision(stop=True, reason=self._refused[record.trial])

    def _judge(self, record: TrialRecord, rung: OpenRung) -> Decision:
        """Decide whether a trial trains on: Algorithm 2, lines 6-12."""
        if self._study is not None and self._policy_decides and rung.epochs == self.max_epochs:
            decision = self._study.answer(self._latest(record, ask=True))
        else:
            keeps_up = self._history is not None and rung.epochs == self.max_epochs and self._history.keeps_up(record.values)
            decision = self._report_to_study(record, rung, value_to_beat=None if keeps_up else self._value_to_beat(rung))
            if keeps_up:
                trained = plural(record.epochs, "epoch")
                return Decision.carry_on(f"after {trained} it keeps up with one of the best complete trials")
        if decision.stop:  # lines 8-10
            record.stops.append((record.epochs, decision))
            predicted = None if decision.prediction is None else decision.prediction.mean
            self._pause(record, rung, self._score(record, rung, predicted, predicted=True), decision.reason)
            self._events.append(TrialStopped(record, decision, rung.epochs))
        return decision

    def _report_to_study(self, record: TrialRecord, rung: OpenRung, *, value_to_beat: float | None) -> Decision:
        """Send the study the latest value, and ask it to decide if there is a value to beat.

        Before a promoted trial trains on, its latest value is sent again: the study knows values by their epoch.
        """
        if self._study is None:
            return Decision.carry_on("plain Hyperband stops nothing inside a rung")
        report = self._latest(record, ask=value_to_beat is not None)
        decision = self._study.answer(replace(report, target_epoch=rung.epochs, value_to_beat=value_to_beat))
        record.forecast = decision.prediction
        return decision if value_to_beat is not None else Decision.carry_on(f"no value to beat yet at epoch {rung.epochs}")

    def _latest(self, record: TrialRecord, *, ask: bool) -> Report:
        """Return the report of a trial's latest value."""
        return Report(
            record.trial,
            record.values[-1:],
            record.configuration,
            first_epoch=record.epochs,
            ask=ask,
            bracket=BracketPosition(record.iteration, record.bracket, self._rungs_of[record.bracket]),
        )

    def _value_to_beat(self, rung: OpenRung) -> float | None:
        """Return max_k(L, kappa n_next) of Algorithm 2, line 8; at max_epochs, L has all complete trials of the run."""
        history, rank = self._history, self._rank_to_beat(rung)
        if rung.epochs == self.max_epochs:
            if history is not None:
                return history.final_value_to_beat()
            return nth_best((r.values[-1] for r in self.records if len(r.values) == self.max_epochs), rank, self.direction)
        own_value = nth_best(rung.values(with_predictions=self.count_predictions), rank, self.direction)
        return own_value if history is None else history.value_to_beat(rung.opened, own_value)

    def _rank_to_beat(self, rung: OpenRung) -> int:
        """Return kappa n_next, rounded up."""
        # - 1e-9: 0.07 * 100 is a little more than 7 in floating point, and must not become 8.
        return max(1, math.ceil(self.kappa * rung.opened.n_next - 1e-9))

    def _score(self, record: TrialRecord, rung: OpenRung, value: float | None, *, predicted: bool) -> Score:
        best_of = max if self.direction == "maximize" else min
        return Score(value, predicted, best=None if value is None else best_of(*record.values, value))

    def _pause(self, record: TrialRecord, rung: OpenRung, score: Score, reason: str) -> None:
        """End a trial's training in its rung; its score decides whether it is promoted."""
        rung.scores[record.trial] = score
        record.state, record.reason = "paused", reason
        record.score, record.predicted = score.value, score.predicted

    # The end of a rung.

    def _remember(self, rung: OpenRung) -> None:
        """Add a rung that is over to the history."""
        if self._history is not None and rung.epochs < self.max_epochs:
            self._history.add_rung(rung.opened, rung.values(with_predictions=True), self._rank_to_beat(rung))

    def _drop(self, record: TrialRecord, rung: OpenRung) -> None:
        """End a paused trial that is not promoted."""
        if record.predicted:
            self._end(record, "stopped", record.reason)
        elif rung.epochs == self.max_epochs:
            self._end(record, "finished", f"trained to {plural(rung.epochs, 'epoch')}")
        else:
            self._end(record, "dropped", f"not among the best {rung.opened.n_next} at epoch {rung.epochs}")

    def _end(self, record: TrialRecord, state: State, reason: str) -> None:
        record.state, record.reason = state, reason
        del self._rungs[record.trial]
        if self._study is not None and record.values:  # without a value, the study does not know the trial
            self._study.finish(record.trial, _END_STATES[state])
            if state in ("stopped", "dropped"):
                prediction = self._study.predict(record.values, configuration=record.configuration)
                record.predicted_final = None if prediction is None else prediction.mean
        self._learn(record)
        is_held = self._chances is not None and state in ("stopped", "dropped")
        for over in self._chances.hold(record) if self._chances is not None and is_held else [record]:
            self._events.append(TrialEnded(over))

    # Second chances.

    @property
    def _jobs(self) -> set[str]:
        """Trials whose job is not over, those with a second chance included."""
        return self._has_job if self._chances is None else self._has_job | self._chances.running

    def _epochs_for_chances(self, chances: SecondChances) -> int:
        """Return the epochs that second chances may cost now, beyond those that they have trained or are promised."""
        return chances.epochs_left(self.epochs_trained)

    def _next_second_chance(self) -> Job | None:
        if self._chances is None:
            return None
        chance = self._chances.start(self._epochs_for_chances(self._chances))
        if chance is not None:
            record = self._records[chance.trial]
            record.state = "running"
            record.resumed_at = record.epochs_in_rungs + 1
            self._events.append(TrialResumed(record, chance.chance))
            return self._job(record, None)
        if self._brackets_over and not self._chances.running:
            self._events += map(TrialEnded, self._chances.release())
        return None

    def _report_second_chance(self, chances: SecondChances, record: TrialRecord, value: float, seconds: float) -> Decision:
        record.epochs += 1
        record.seconds += seconds
        chances.epochs_trained += 1
        if not abs(value) <= LARGEST_VALUE:
            return self._refuse(record, value)
        record.values.append(value)
        is_complete = record.epochs == self.max_epochs
        decision = chances.study.answer(self._latest(record, ask=not is_complete))
        record.forecast = decision.prediction
        if is_complete:
            record.state, record.reason = "finished", f"trained to {plural(record.epochs, 'epoch')} in a second chance"
            if self._history is not None:
                self._history.add_complete(record.values)
        elif decision.stop:
            record.state, record.reason = "stopped", decision.reason
            record.stops.append((record.epochs, decision))
            self._events.append(TrialStopped(record, decision, self.max_epochs))
        elif why := chances.why_pause(
            record, decision.chance, self._epochs_for_chances(chances), is_wanted=self._has_bracket_job
        ):
            record.state, record.reason = "paused", f"second chance up to epoch {record.epochs}: {why}"
        else:
            return decision
        return Decision(stop=True, reason=record.reason)

    def _second_chance_over(self, chances: SecondChances, record: TrialRecord, failure: str | None) -> None:
        if record.state == "running":
            early = f"train ended after {plural(record.epochs, 'epoch')}, before epoch {self.max_epochs}"
            record.state, record.reason = "failed", failure or self._refused.get(record.trial) or early
        is_final = record.state != "paused"
        if not is_final:  # what it was before
            record.state = "stopped" if record.predicted else "dropped"
        chances.study.finish(record.trial, _END_STATES[record.state])
        chances.job_over(record.trial, is_final=is_final)
        if is_final:
            self._events.append(TrialEnded(record))

    def _running(self, trial: str) -> tuple[TrialRecord, OpenRung]:
        record, rung = self._records.get(trial), self._rungs.get(trial)
        if record is None or rung is None or record.state != "running":
            raise ValueError(f"trial must be one that is running, but got {trial!r}")
        return record, rung


def trial_name(iteration: int, bracket: Bracket, index: int) -> str:
    """Return the name of a bracket's configuration.

    Args:
        iteration: Iteration of Hyperband, from 0.
        bracket: The bracket.
        index: Number of the configuration in the bracket, from 0.

    Examples:
        >>> trial_name(0, brackets(27)[0], 7)
        'i0-s3-007'
    """
    return f"i{iteration}-s{bracket.s}-{index:03d}"
