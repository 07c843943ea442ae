"""A study of the server: the in-process one with a lock, a log and its fits left to another thread."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from curvestop.proto.status import ModelStatus, StudyStatus
from curvestop.server.storage.store import CurveStore, StoredStudy, Transaction
from curvestop.server.studies.commands import StudyCommand, T
from curvestop.server.studies.group_commit import BatchWriter
from curvestop.server.studies.log_replay import Decided, Ended, Entry, Observed, TrialAdded, rebuild, replay
from curvestop.srm.curve import Configuration, Decision, LearningCurve, Prediction
from curvestop.srm.predictors.registry import SLOW_PREDICTORS
from curvestop.srm.study import EndState, FitJob, Recorded, Report, Study, Trial, TrialState

_log = logging.getLogger(__name__)


class Busy(RuntimeError):
    """The study cannot answer at once."""


class DurableStudy:
    """A `StudyOfMany` for many threads. A call returns once all it rests on is on disk.

    batch_writer: in which calls are made, several with one commit. on_change: called when fits may have become due.
    Memory is what the log gives. Where others append to the log too, a turn begins by holding the study and reading what is
    new; when a commit fails, memory is forgotten and read again.
    """

    def __init__(
        self,
        stored: StoredStudy,
        store: CurveStore,
        *,
        batch_writer: BatchWriter[StudyCommand[Any]],
        on_change: Callable[[DurableStudy], None],
    ) -> None:
        self.id, self.tenant, self.settings = stored.id, stored.tenant, stored.settings
        self._store = store
        self._batch_writer = batch_writer
        self._on_change = on_change
        self._lock = threading.Lock()  # guards memory: the two that follow, and the study itself
        self._memory: Study | None = None
        self._known = 0  # the number of the last entry that memory has
        self._failed_fits: set[tuple[int, int]] = set()  # (target epoch, number of curves)

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
        (answer,) = self.report_many([Report(trial, values, configuration, first_epoch, target_epoch, value_to_beat, ask)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """Each report's answer, or the mistake it alone would raise; all of them in one commit."""
        return self._call(partial(_answers, reports))

    def begin_report(self, report: Report, then: Callable[[], None]) -> StudyCommand[list[Decision | Exception]]:
        """`report_many` of one; `then` is called, in another thread, when the result is there."""
        call = StudyCommand(self, partial(_answers, [report]))
        self._batch_writer.submit(call, then)
        return call

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        return self._predicted(
            self._look(lambda study: study.predict(values, configuration=configuration, target_epoch=target_epoch))
        )

    def predict_at_once(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        """`predict`, but raises Busy where that would have to wait, to read the log, or to think for long."""
        if not self._store.exclusive or self.settings.predictor in SLOW_PREDICTORS or not self._lock.acquire(blocking=False):
            raise Busy
        try:
            if self._memory is None:
                raise Busy
            prediction = self._memory.predict(values, configuration=configuration, target_epoch=target_epoch)
        finally:
            self._lock.release()
        return self._predicted(prediction)

    def predict_many(self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None) -> list[Prediction | None]:
        predictions = self._look(lambda study: study.predict_many(curves, target_epoch=target_epoch))
        if None in predictions:
            self._on_change(self)
        return predictions

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        def act(study: Study) -> tuple[TrialState, list[Entry]]:
            before = study.state_of(trial)
            after = study.finish(trial, state)
            return after, [Ended(trial, state)] if before == "running" else []

        return self._call(act)

    def trials(self) -> tuple[Trial, ...]:
        return self._call(lambda study: (study.trials(), []))

    def status(self) -> StudyStatus:
        def look(study: Study) -> StudyStatus:
            due = {job.target_epoch: len(job.curves) for job in study.due()}
            fitted = {target: study.n_fitted(target) for target in study.targets()}
            models = tuple(ModelStatus(target, n, due.get(target, n)) for target, n in fitted.items())
            return StudyStatus(self.settings, models, dict(Counter(trial.state for trial in study.trials())))

        return self._look(look)

    def log_page(self, after: int, n: int) -> tuple[int, list[Entry]]:
        """The number of the last entry, and the n entries at most that come after the one of number `after`."""
        return self._store.log_page(self.id, after=after, n=n)

    # For the owner.

    def load(self) -> None:
        """Read the log into memory unless it is there."""
        with self._lock:
            self._study()

    def forget(self) -> None:
        """Memory may be ahead of the log: read it again when it is needed."""
        with self._lock:
            self._memory = None

    def apply(self, commands: Sequence[StudyCommand[Any]], transaction: Transaction) -> None:
        """Apply commands, one after the other, and append what they did to the log."""
        newer = () if self._store.exclusive else self._newer(transaction)
        with self._lock:
            study = self._study()
            replay(study, newer)
            entries = [entry for command in commands for entry in command.apply(study)]
        if entries:
            self._known = transaction.append(self.id, entries, after=self._known)

    def changed(self) -> None:
        """Say that fits may have become due."""
        self._on_change(self)

    def fit_next(self) -> bool:
        """Run one fit that is due, if any; returns whether there was one. A failed one is logged and not tried again."""
        with self._lock:
            study = self._study()
            job = self._next_fit(study)
        if job is None:
            return False
        try:
            models = job.run()
        except Exception:
            size = (job.target_epoch, len(job.curves))
            _log.exception("study %r: models for epoch %d could not be fitted on %d curves", self.settings.name, *size)
            self._failed_fits.add(size)
            return True
        with self._lock:
            study.install(models)  # of no use when memory was forgotten meanwhile: the log may have another order
        return True

    def _next_fit(self, study: Study) -> FitJob | None:
        return next((job for job in study.due() if (job.target_epoch, len(job.curves)) not in self._failed_fits), None)

    def _call(self, act: Callable[[Study], tuple[T, list[Entry]]]) -> T:
        """Act on memory and log what was done; returns when that, and all before it, is on disk."""
        call = StudyCommand(self, act)
        self._batch_writer.submit_and_wait(call)
        return call.result()

    def _look(self, look: Callable[[Study], T]) -> T:
        """Look at memory, which has all that any server acknowledged."""
        if not self._store.exclusive:
            return self._call(lambda study: (look(study), []))
        with self._lock:
            return look(self._study())

    def _predicted(self, prediction: Prediction | None) -> Prediction | None:
        if prediction is None:
            self._on_change(self)  # the target epoch may be a new one
        return prediction

    def _newer(self, transaction: Transaction) -> Sequence[Entry]:
        """What others appended since; nobody appends more until the transaction ends."""
        last = transaction.lock_for_append(self.id)
        newer = [entry for _, entry in transaction.log(self.id, after=self._known)] if last != self._known else []
        self._known = last
        return newer

    def _study(self) -> Study:
        if self._memory is None:
            study = Study(self.settings, fit="deferred")
            with self._store.state(self.id) as (last, entries, observed):
                rebuild(study, entries, observed)
            self._memory, self._known = study, last
        return self._memory


def _answers(reports: Sequence[Report], study: Study) -> tuple[list[Decision | Exception], list[Entry]]:
    entries: list[Entry] = []
    study.prefetch(reports)
    return [_answer(study, report, entries) for report in reports], entries


def _answer(study: Study, report: Report, entries: list[Entry]) -> Decision | Exception:
    """Record and decide in memory; what the log is to have of it is added to `entries`."""
    try:
        study.check_question(report.target_epoch, report.value_to_beat)
        state = study.state_of(report.trial)
        recorded = study.record(report.trial, report.values, configuration=report.configuration, first_epoch=report.first_epoch)
    except ValueError as mistake:
        return mistake
    study.expect(report.target_epoch)
    entries.extend(_recorded_entries(report.trial, report.configuration, state, recorded))
    try:
        decision = _decide(study, report, entries) if report.ask else Decision.carry_on("not asked")
    except Exception as error:  # a predictor's: what was recorded stays
        return error
    return replace(decision, conflicts=recorded.conflicts) if recorded.conflicts else decision


def _decide(study: Study, report: Report, entries: list[Entry]) -> Decision:
    question = study.question(report.trial, report.target_epoch, report.value_to_beat)
    remembered = study.remembered(report.trial, question)
    if remembered is not None:
        return remembered
    decision = study.decide(report.trial, target_epoch=report.target_epoch, value_to_beat=report.value_to_beat)
    entries.append(Decided(report.trial, question, decision))
    return decision


def _recorded_entries(
    trial: str, configuration: Configuration | None, before: TrialState | None, recorded: Recorded
) -> Iterator[Entry]:
    if before is None:
        yield TrialAdded(trial, dict(configuration or {}))
    for epoch, value in recorded.new:
        yield Observed(trial, epoch, value)
    if recorded.diverged_at is not None and before in (None, "running"):
        yield Ended(trial, "failed", recorded.diverged_at)
