"""What synchronous and asynchronous f-Hyperband share: trials, their rungs, and the stopping inside a rung (Algorithm 2).

Baker 2017 (thesis), section "Fast Hyperband", Algorithms 1 and 2. Delta, delta and d are the study's stopping rule.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.brackets import Bracket, brackets
from curvestop.hyperband.scheduler.rung_history import CutoffRecall, RungHistory
from curvestop.hyperband.scheduler.trials import Event, RungOpened, State, TrialEnded, TrialRecord, TrialStopped
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction, nth_best
from curvestop.srm.study import LARGEST_VALUE, EndState, StudyLike

_END_STATES: Mapping[State, EndState] = {
    "finished": "finished",
    "stopped": "stopped",
    "dropped": "stopped",  # "finished" would tell the study that the rung's value is the final one
    "failed": "failed",
}


@dataclass(frozen=True)
class Score:
    """An entry of the paper's L. value: None for a stop without a prediction."""

    value: float | None
    predicted: bool


@dataclass(eq=False)
class OpenRung:
    """A rung that is not over. members: in the order they came. scores: of the members that are through, by trial."""

    opened: RungOpened
    members: list[TrialRecord] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return self.opened.rung.epochs

    @property
    def is_last(self) -> bool:
        return self.opened.index == self.opened.bracket.s

    def values(self, *, with_predictions: bool) -> list[float]:
        """The paper's L so far."""
        return [s.value for s in self.scores.values() if s.value is not None and (with_predictions or not s.predicted)]

    def ranked(self, direction: Direction) -> list[TrialRecord]:
        """Members with a score, best first; equals stay in order."""
        sign = -1.0 if direction == "maximize" else 1.0
        values = {trial: sign * score.value for trial, score in self.scores.items() if score.value is not None}
        return sorted((r for r in self.members if r.trial in values), key=lambda r: values[r.trial])


class BracketScheduler(ABC):
    """A state machine for any executor to drive: `ask` for jobs, `report` each epoch's metric, `tell` when a job is over.

    sample: draws a configuration. max_epochs: R. eta: one in eta is promoted. n_iterations: consecutive runs of Hyperband;
    they share the study and so its predictors.
    study: predicts and decides; None is plain Hyperband. Its max_epochs must be R and its direction this one.
    kappa: > 0; inside a rung the value to beat is the max(1, ceil(kappa n_next))-th best observed at its end so far.
    count_predictions: predictions of stopped configurations count there too, as Algorithm 2 has it to the letter; with a
    threshold >= 0.5 that changes nothing, as each of them was worse than the value to beat.
    recall: what earlier rungs add to the value to beat; None is Algorithm 2 to the letter.
    learn: told every trial when it is over.

    Among configurations trained to R, the value to beat is the one of all brackets and iterations so far.
    A promoted configuration continues from its checkpoint; what is known of its curve is judged before it trains on.
    Promotion is by value, best first; ties go to the one earlier in the rung.
    The same configurations, metrics, decisions and order of completions give the same run.
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
        learn: Callable[[TrialRecord], None] = lambda record: None,
    ) -> None:
        if not (kappa > 0 and math.isfinite(kappa)):
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
        self.plan: tuple[Bracket, ...] = brackets(max_epochs, eta=eta)
        self._sample, self._study, self._learn = sample, study, learn
        self._memory = None if recall is None else RungHistory(recall, direction)
        self._ahead = deque((iteration, bracket) for iteration in range(n_iterations) for bracket in self.plan)
        self._records: dict[str, TrialRecord] = {}
        self._rungs: dict[str, OpenRung] = {}  # of the trials that are not over
        self._busy: set[str] = set()  # trials whose job is not over
        self._refused: dict[str, str] = {}  # trials whose metric was refused, until their job is over
        self._events: list[Event] = []

    # Driving.

    @abstractmethod
    def ask(self) -> Job | None:
        """The next job to start; None while there is none before a running job is over, and at the end."""

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        """Add the metric of the trial's next epoch, which took so long; the decision says whether to train another.

        After a stop the trial must be told. A value that is not finite (or beyond +-1e100) stops and fails the trial.
        """
        record, rung = self._running(trial)
        record.epochs += 1
        record.seconds += seconds
        if not abs(value) <= LARGEST_VALUE:
            self._refused[trial] = f"the metric of epoch {record.epochs} is {value!r}, not a finite number"
            return Decision(stop=True, reason=self._refused[trial])
        record.values.append(value)
        if record.epochs < rung.epochs:
            return self._judge(record, rung)
        self._send(record, rung, value_to_beat=None)
        if self._memory is not None and rung.epochs == self.max_epochs:
            self._memory.trained_to_the_end(record.values)
        self._pause(record, rung, Score(value, predicted=False), f"epoch {rung.epochs}, the end of the rung, is reached")
        return Decision(stop=True, reason=record.reason)

    def job_over(self, trial: str, *, failure: str | None = None) -> None:
        """The trial's job is over. failure: what went wrong; None when `train` returned or was stopped.

        A job that is over before its rung's epochs are done, without a stop, counts as failed: its last value cannot be
        compared with the others'. A failure after a stop changes nothing.
        """
        record, rung = self._records[trial], self._rungs.get(trial)
        self._busy.discard(trial)
        if rung is None:
            return
        if record.state == "running":
            early = f"train ended after {plural(record.epochs, 'epoch')}, before the rung's {rung.epochs}"
            self._end(record, "failed", failure or self._refused.get(trial) or early)
        self._job_is_over(rung)

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Nothing is running and nothing is left to start."""

    @abstractmethod
    def _job_is_over(self, rung: OpenRung) -> None:
        """A member of the rung has no job any more: it is paused or over."""

    # Going on after a kill, when the calls made so far were told again.

    def jobs_to_resume(self) -> tuple[Job, ...]:
        """The jobs that are not over, each from its trial's next epoch."""
        busy = [self._running(trial) for trial in self._records if trial in self._busy and trial not in self.jobs_to_end()]
        return tuple(Job(record.trial, record.configuration, record.epochs + 1, rung.epochs) for record, rung in busy)

    def jobs_to_end(self) -> tuple[str, ...]:
        """Trials that were told to stop, whose jobs were not told to be over."""
        return tuple(t for t in self._records if t in self._busy and (self._records[t].state != "running" or t in self._refused))

    # Looking.

    def take_events(self) -> tuple[Event, ...]:
        """What happened since the last call, in order."""
        events, self._events = tuple(self._events), []
        return events

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials, in the order they were drawn."""
        return tuple(self._records.values())

    def best(self) -> TrialRecord | None:
        """The finished trial with the best value at R; the earliest of equals."""
        sign = -1.0 if self.direction == "maximize" else 1.0
        return min((r for r in self.records if r.state == "finished"), key=lambda r: sign * r.values[-1], default=None)

    @property
    def epochs_trained(self) -> int:
        return sum(record.epochs for record in self.records)

    @property
    def epochs_planned(self) -> int:
        """What plain Hyperband trains for the same configurations in the rungs they came through."""
        return sum(record.planned_epochs for record in self.records)

    # Algorithm 2: inside a rung.

    def _draw(self, iteration: int, bracket: Bracket, index: int) -> TrialRecord:
        name, number = trial_name(iteration, bracket, index), len(self._records)
        record = TrialRecord(name, self._sample(), iteration, bracket.s, number=number)
        self._records[record.trial] = record
        return record

    def _enter(self, record: TrialRecord, rung: OpenRung) -> None:
        self._rungs[record.trial] = rung
        record.state, record.rung, record.score, record.predicted = "waiting", rung.opened.index, None, False

    def _begin(self, record: TrialRecord, rung: OpenRung) -> Job | None:
        """Train a member up to the end of its rung; None when what is known of its curve stops it at once."""
        record.state = "running"
        if record.epochs and self._judge(record, rung).stop:
            self._job_is_over(rung)
            return None
        self._busy.add(record.trial)
        return Job(record.trial, record.configuration, record.epochs + 1, rung.epochs)

    def _judge(self, record: TrialRecord, rung: OpenRung) -> Decision:
        leads = self._memory is not None and rung.epochs == self.max_epochs and self._memory.leads(record.values)
        decision = self._send(record, rung, value_to_beat=None if leads else self._value_to_beat(rung))
        if leads:
            trained = plural(record.epochs, "epoch")
            return Decision.carry_on(f"after {trained} it is not behind the best that were trained to {rung.epochs}")
        if decision.stop:
            record.stops.append((record.epochs, decision))
            score = None if decision.prediction is None else decision.prediction.mean
            self._pause(record, rung, Score(score, predicted=True), decision.reason)
            self._events.append(TrialStopped(record, decision, rung.epochs))
        return decision

    def _send(self, record: TrialRecord, rung: OpenRung, *, value_to_beat: float | None) -> Decision:
        """Give the study the latest value (again, before a promoted trial trains on: values are known by their epoch)."""
        if self._study is None:
            return Decision.carry_on("plain Hyperband stops nothing inside a rung")
        decision = self._study.report(
            record.trial,
            record.values[-1:],
            configuration=record.configuration,
            first_epoch=record.epochs,
            target_epoch=rung.epochs,
            value_to_beat=value_to_beat,
            ask=value_to_beat is not None,
        )
        return decision if value_to_beat is not None else Decision.carry_on(f"nothing to beat yet at epoch {rung.epochs}")

    def _value_to_beat(self, rung: OpenRung) -> float | None:
        """max_k(L, kappa n); at R over everything trained to R so far."""
        memory, k = self._memory, self._n_to_finish(rung)
        if rung.epochs == self.max_epochs:
            if memory is not None:
                return memory.final_value_to_beat()
            return nth_best((r.values[-1] for r in self.records if len(r.values) == self.max_epochs), k, self.direction)
        here = nth_best(rung.values(with_predictions=self.count_predictions), k, self.direction)
        return here if memory is None else memory.value_to_beat(rung.opened, here)

    def _n_to_finish(self, rung: OpenRung) -> int:
        """kappa n."""
        return max(1, math.ceil(self.kappa * rung.opened.n_next - 1e-9))  # 1e-9: 0.07 * 100 is 7, not 8

    def _pause(self, record: TrialRecord, rung: OpenRung, score: Score, reason: str) -> None:
        rung.scores[record.trial] = score
        record.state, record.reason = "paused", reason
        record.score, record.predicted = score.value, score.predicted

    # The end of a rung.

    def _remember(self, rung: OpenRung) -> None:
        """A rung is over."""
        if self._memory is not None and rung.epochs < self.max_epochs:
            self._memory.rung_is_over(rung.opened, rung.values(with_predictions=True), self._n_to_finish(rung))

    def _drop(self, record: TrialRecord, rung: OpenRung) -> None:
        """It is not promoted."""
        if record.predicted:
            self._end(record, "stopped", record.reason)
        elif rung.epochs == self.max_epochs:
            self._end(record, "finished", f"trained to {plural(rung.epochs, 'epoch')}")
        else:
            self._end(record, "dropped", f"not among the best {rung.opened.n_next} at epoch {rung.epochs}")

    def _end(self, record: TrialRecord, state: State, reason: str) -> None:
        record.state, record.reason = state, reason
        del self._rungs[record.trial]
        if self._study is not None and record.values:  # without a value the study never heard of it
            self._study.finish(record.trial, _END_STATES[state])
            if state in ("stopped", "dropped"):
                prediction = self._study.predict(record.values, configuration=record.configuration)
                record.predicted_final = None if prediction is None else prediction.mean
        self._learn(record)
        self._events.append(TrialEnded(record))

    def _running(self, trial: str) -> tuple[TrialRecord, OpenRung]:
        record, rung = self._records.get(trial), self._rungs.get(trial)
        if record is None or rung is None or record.state != "running":
            raise ValueError(f"trial must be one that is running, but got {trial!r}")
        return record, rung


def trial_name(iteration: int, bracket: Bracket, index: int) -> str:
    return f"i{iteration}-s{bracket.s}-{index:03d}"
