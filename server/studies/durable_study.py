"""A study on a server: the in-process one with a lock, a log, and fits that another thread runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, count
from typing import Any
from uuid import uuid4

from curvestop.proto.endpoint import UnknownStudy
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.proto.status import ModelStatus, StudyStatus
from curvestop.server.storage.store import CurveStore, StoredStudy, StoreUnavailable, StudyUnavailable, Transaction
from curvestop.server.studies.commands import StudyCommand, T
from curvestop.server.studies.group_commit import BatchWriter
from curvestop.server.studies.log_replay import rebuild, replay
from curvestop.srm.background_fitter import DueFits
from curvestop.srm.curve import Configuration, Decision, LearningCurve, Prediction
from curvestop.srm.predictors.registry import SLOW_PREDICTORS
from curvestop.srm.report import Report, as_sequence, trial_name
from curvestop.srm.second_chances import SecondChance, most_promising, policy_of_chances
from curvestop.srm.study import Study
from curvestop.srm.study_like import KeywordReports
from curvestop.srm.trial import EndState, Trial, TrialState
from curvestop.srm.trial_book import LOST, Recorded, with_what_was_known
from curvestop.srm.validation import check_name

SLOW_CPU_S = 0.05
"""A study whose calls take more CPU seconds each gets a writer of its own."""
MAX_CHANCES_PER_LOCK = 32
"""Number of trials that are judged for a second chance while the study's lock is held."""
MAX_TRIALS_PER_LOCK = 128
"""Number of trials that are copied while the study's lock is held."""


_log = logging.getLogger(__name__)


class Busy(RuntimeError):
    """The study cannot answer at once."""


class DurableStudy(KeywordReports):
    """A `StudyOfMany` for many threads. A call returns once everything that its answer rests on is on disk.

    Memory is a function of the log. Where other servers append to the log too (PostgreSQL), a command first locks it and reads
    what is new; when a commit fails, memory is forgotten and read again.

    Args:
        stored: The study in the store.
        store: The store.
        batch_writer: Applies commands, several with one commit, of other studies among them.
        own_writer: Applies commands of this study alone: used once its decisions take long, so that no other study waits.
        on_change: Called when fits may have become due.

    Attributes:
        id: Number of the study in the store.
        tenant: Owner of the study.
        settings: What the study is.
        writing: Held by the writer that decides and appends.
        is_deleted: Whether the study was deleted in a database that others use too: it must not be used any more.
    """

    def __init__(
        self,
        stored: StoredStudy,
        store: CurveStore,
        *,
        batch_writer: BatchWriter[StudyCommand[Any]],
        own_writer: BatchWriter[StudyCommand[Any]],
        on_change: Callable[[DurableStudy], None],
    ) -> None:
        self.id, self.tenant, self.settings, self.is_deleted = stored.id, stored.tenant, stored.settings, False
        self._store = store
        self._batch_writer, self._own_writer = batch_writer, own_writer
        self._is_slow = self.settings.predictor in SLOW_PREDICTORS
        self.writing = threading.Lock()
        self._on_change = on_change
        self._lock = threading.Lock()  # guards the memory: the two that follow, and the study itself
        self._memory: Study | None = None
        self._last_entry = 0  # number of the last log entry that the memory has
        self._unavailable_because = ""  # why the log cannot be read into memory; empty if it can
        self._fits = DueFits(self._lock, self._study)

    def answer(self, report: Report) -> Decision:
        """Store a report and decide; see `StudyLike.answer`."""
        (answer,) = self.report_many([report])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """Answer reports in order, with one commit: each one's decision, or the error that it alone would raise.

        Args:
            reports: Of any trials, several of one trial among them.

        Returns:
            One item for each report, in order.

        Raises:
            StoreUnavailable: If the commit failed; then none of the reports is stored, or nobody knows.
        """
        return self._apply_and_wait(partial(_answer_all, reports))

    def begin_report(self, report: Report, then: Callable[[], None]) -> StudyCommand[list[Decision | Exception]]:
        """Begin `report_many` of one report; `then` is called in another thread when the result is there.

        Args:
            report: Values of one trial, and the question that comes with them.
            then: Called once, without arguments; it must not raise.

        Returns:
            The command, whose `result` is a list of the one answer.
        """
        command = StudyCommand(self, partial(_answer_all, [report]))
        self._writer.submit(command, then)
        return command

    def predict(
        self,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        target_epoch: int | None = None,
        expects: bool = True,
    ) -> Prediction | None:
        """Predict where a partial curve ends; see `StudyLike.predict`.

        Args:
            values: `(tau,)` metric after epochs 1..tau.
            configuration: Hyper-parameters and architecture numbers of the run.
            target_epoch: Epoch to predict; None for the last one.
            expects: Whether models for the target epoch become due if there are none.
        """
        curve = LearningCurve("", {} if configuration is None else configuration, tuple(as_sequence(values)))
        (prediction,) = self.predict_many([curve], target_epoch=target_epoch, expects=expects)
        return prediction

    def predict_at_once(
        self,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        target_epoch: int | None = None,
        expects: bool = True,
    ) -> Prediction | None:
        """Predict without waiting.

        Args:
            values: `(tau,)` metric after epochs 1..tau.
            configuration: Hyper-parameters and architecture numbers of the run.
            target_epoch: Epoch to predict; None for the last one.
            expects: Whether models for the target epoch become due if there are none.

        Returns:
            The prediction; None if there is no model for a curve of this length yet.

        Raises:
            Busy: If that would need to wait for the lock, to read the log, a slow predictor, or if models become due.
        """
        # Called in the event loop, in which every call of every tenant would wait too.
        if not self._store.exclusive or self.settings.predictor in SLOW_PREDICTORS or not self._lock.acquire(blocking=False):
            raise Busy
        try:
            if self._memory is None:
                raise Busy
            prediction = self._memory.predict(values, configuration=configuration, target_epoch=target_epoch)
            if prediction is None and expects and not self._memory.forecasts.expects(target_epoch or self.settings.max_epochs):
                raise Busy
        finally:
            self._lock.release()
        return prediction

    def predict_many(
        self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None, expects: bool = True
    ) -> list[Prediction | None]:
        """Predict where each partial curve ends; see `StudyOfMany.predict_many`.

        Args:
            curves: Partial curves.
            target_epoch: Epoch to predict; None for the last one.
            expects: Whether models for the target epoch become due if there are none.

        Raises:
            ValueError: If a curve breaks a rule, or models for one target epoch too many are asked for.
        """
        # The curves are predicted without the lock, for which the writer of all studies waits: some predictors take seconds.
        predict = self._read(lambda study: study.predictor_of(curves, target_epoch=target_epoch, expects=expects))
        predictions = predict()
        # The target epoch may be a new one, whose models are due now.
        if expects and None in predictions:
            self._on_change(self)
        return predictions

    def finish(self, trial: str | int, state: EndState = "finished") -> TrialState:
        """End a trial and return the state that it now has.

        Args:
            trial: Name of a trial that was reported.
            state: "finished", "stopped" or "failed".

        Returns:
            The state; the one it was first ended with stays.

        Raises:
            UnknownTrial: If the trial was never reported.
        """
        name = trial_name(trial)

        def act(study: Study) -> tuple[TrialState, list[Entry]]:
            before = study.book.state_of(name)
            after = study.finish(name, state)
            # A trial that had ended before leaves no second end in the log.
            return after, [Ended(name, state)] if before == "running" else []

        return self._apply_and_wait(act)

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with, the most promising first.

        Reports that come meanwhile are answered; a trial that they end or resume may be among the chances or not.

        Args:
            n: Most trials to return, >= 1.

        Raises:
            ValueError: If n < 1, or the study's policy states no chances.
        """
        policy = policy_of_chances(self.settings, n)

        def read(first: int, study: Study) -> list[SecondChance]:
            chances = (study.second_chance(trial, policy) for trial in study.book.names(first, MAX_CHANCES_PER_LOCK))
            return [chance for chance in chances if chance is not None]

        n_trials = self._read(lambda study: len(study.book))
        # The lock is given back now and then: the writer of all studies waits for it.
        parts = (self._read(partial(read, first)) for first in range(0, n_trials, MAX_CHANCES_PER_LOCK))
        return most_promising(chain.from_iterable(parts), n)

    def resume(self, trial: str, key: str | None = None) -> None:
        """Let a stopped trial continue: its next reports are decided anew.

        Args:
            trial: Name of a trial that the policy stopped, or that was ended as stopped.
            key: Of the call: repeated with the same key it changes nothing. Default: a key of its own.

        Raises:
            UnknownTrial: If the trial was never reported.
            ValueError: If it was not stopped, or the key is not 1-256 bytes without control characters.
        """
        key = uuid4().hex if key is None else key
        check_name("key", key)
        self._apply_and_wait(lambda study: (None, [Resumed(trial, key)] if study.book.resume(trial, key) else []))

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report."""
        trials = tuple(self.trials_from(0))
        self.await_written()
        return trials

    def trials_from(self, first: int) -> Iterator[Trial]:
        """Yield the trials in the order of their first report; call `await_written` before any of them is given away.

        Args:
            first: How many of them to skip.
        """
        # The lock is given back now and then: the writer of all studies waits for it.
        for start in count(first, MAX_TRIALS_PER_LOCK):
            trials = self._read(partial(_trials_of, start))
            if not trials:
                return
            yield from trials

    def await_written(self) -> None:
        """Return when all that was read from this study before is on disk."""
        if self._store.exclusive:  # else `_read` has waited
            self._apply_and_wait(lambda study: (None, []))

    def status(self) -> StudyStatus:
        """Return how many trials there are in each state, and how current the models are."""

        def read(study: Study) -> StudyStatus:
            forecasts = study.forecasts
            models = tuple(ModelStatus(t, forecasts.n_fitted(t), forecasts.n_due(t)) for t in forecasts.targets())
            return StudyStatus(self.settings, models, study.book.n_by_state())

        return self._read(read)

    def log_page(self, after: int, n: int) -> AbstractContextManager[tuple[int, Iterator[Entry]]]:
        """Give the number of the last entry, and up to n entries after number `after`; see `CurveStore.log_page`.

        Args:
            after: The number of the entry before the page; 0 for the first page.
            n: Maximum number of entries, >= 1.
        """
        return self._store.log_page(self.id, after=after, n=n)

    # For the owner.

    @property
    def n_configuration_bytes(self) -> int:
        """Bytes of the configurations of all trials; 0 while the log is not in memory."""
        memory = self._memory  # without the lock: one number, which only grows
        return 0 if memory is None else memory.book.n_configuration_bytes

    def load(self) -> None:
        """Read the log into memory unless it is there."""
        with self._lock:
            self._study()

    def forget(self, *, is_deleted: bool = False) -> None:
        """Drop the memory, which may be ahead of the log; it is read again when needed.

        Args:
            is_deleted: Whether the log is gone, as it was deleted in a database that others use too.
        """
        with self._lock:
            self._memory, self.is_deleted = None, is_deleted

    def catch_up(self, transaction: Transaction) -> None:
        """Lock the log, and bring the memory up to what other servers appended.

        Args:
            transaction: Until its end nobody else appends, so nothing comes between what is read here and what is appended.
        """
        newer = self._newer_entries(transaction)
        with self._lock:
            replay(self._study(), newer)

    def decide(self, commands: Sequence[StudyCommand[Any]]) -> list[Entry]:
        """Apply commands to the memory, in order, and return what the log must get.

        Args:
            commands: Those of one batch for this study, in order.
        """
        began = time.thread_time()
        with self._lock:
            study = self._study()
            entries = [entry for command in commands for entry in command.apply(study)]
            if any(command.left_memory_unsure for command in commands):
                self._memory = None
        if time.thread_time() - began > SLOW_CPU_S * len(commands):
            self._is_slow = True
        return entries

    def append(self, entries: Sequence[Entry], transaction: Transaction) -> None:
        """Append what was decided to the log.

        Args:
            entries: What `decide` returned.
            transaction: The caller commits it.
        """
        if entries:
            # If the commit fails, `forget` drops the memory, and reading it again sets this number anew.
            self._last_entry = transaction.append(self.id, entries, after=self._last_entry)

    def changed(self) -> None:
        """Announce that fits may have become due."""
        self._on_change(self)

    def prepare_fit(self) -> None:
        """Load what the predictor computes with if a fit is due."""
        self._fits.prepare_next()

    def fit_next(self) -> bool:
        """Run one fit that is due; return whether there was one."""
        return self._fits.run_next()

    def _apply_and_wait(self, act: Callable[[Study], tuple[T, list[Entry]]]) -> T:
        """Act on memory and log what was done; return when that, and all before it, is on disk."""
        command = StudyCommand(self, act)
        self._writer.submit_and_wait(command)
        return command.result()

    @property
    def _writer(self) -> BatchWriter[StudyCommand[Any]]:
        return self._own_writer if self._is_slow else self._batch_writer

    def _read(self, read: Callable[[Study], T]) -> T:
        """Read from a memory that has all that any server acknowledged."""
        if not self._store.exclusive:
            return self._apply_and_wait(lambda study: (read(study), []))
        with self._lock:
            return read(self._study())

    def _newer_entries(self, transaction: Transaction) -> Sequence[Entry]:
        """Return what others appended since; nobody appends more until the transaction ends."""
        last = transaction.lock_for_append(self.id)
        if last == self._last_entry:
            return ()
        newer = [entry for _, entry in transaction.log(self.id, after=self._last_entry)]
        self._last_entry = last
        return newer

    def _study(self) -> Study:
        """Return the memory, read from the log where it is missing. The lock is held."""
        if self._memory is None:
            if self._unavailable_because:  # trying again would take as long, for every call
                raise StudyUnavailable(self._unavailable_because)
            try:
                self._memory, self._last_entry = self._read_log()
            except (StoreUnavailable, UnknownStudy):
                raise
            except Exception as error:  # whatever is in the log, or MemoryError: of no concern to other studies
                self._unavailable_because = f"study {self.settings.name!r} cannot be loaded: {type(error).__name__}: {error}"
                _log.exception("of tenant %r, study %r cannot be loaded", self.tenant, self.settings.name)
                raise StudyUnavailable(self._unavailable_because) from error
        return self._memory

    def _read_log(self) -> tuple[Study, int]:
        """Return the study as its log says that it is, and the number of the last entry."""
        study = Study(self.settings, fit="deferred")
        with self._store.state(self.id) as (last, entries, observed):
            rebuild(study, entries, observed)
        return study, last


def _trials_of(first: int, study: Study) -> tuple[Trial, ...]:
    return study.book.trials(first, MAX_TRIALS_PER_LOCK)


def _answer_all(reports: Sequence[Report], study: Study) -> tuple[list[Decision | Exception], list[Entry]]:
    entries: list[Entry] = []
    study.forecasts.prefetch(reports)
    return [_answer(study, report, entries) for report in reports], entries


def _answer(study: Study, report: Report, entries: list[Entry]) -> Decision | Exception:
    """Record and decide in memory, as `Study.answer`; what the log must get is appended to `entries`."""
    # Before recording: it tells later whether this report made the trial, or ended it.
    before, ended_as = study.book.state_of(report.trial), study.book.ended_as(report.trial)
    try:
        recorded = study.record(report)
    except ValueError as error:
        return error
    entries.extend(_recorded_entries(study, report, before, recorded))
    try:
        if recorded.lacks_values:
            decision = LOST
        else:
            decision = _decide(study, report, entries) if report.ask else Decision.carry_on("not asked")
    except Exception as error:  # a predictor's: what was recorded stays
        return error
    return with_what_was_known(decision, recorded, ended_as, study.forecasts.failure())


def _decide(study: Study, report: Report, entries: list[Entry]) -> Decision:
    question = study.question(report.trial, report.target_epoch, report.value_to_beat)
    decision = study.remembered(report.trial, question)
    if decision is None:  # only what was decided now is new to the log
        decision = study.judge(report.trial, question)
        entries.append(Decided(report.trial, question, decision))
    return decision


def _recorded_entries(study: Study, report: Report, before: TrialState | None, recorded: Recorded) -> Iterator[Entry]:
    if before is None:
        # In the order of a replay: the trial, its values, its end. The configuration as the study keeps it: flat.
        yield TrialAdded(report.trial, study.book[report.trial].configuration, report.bracket)
    for epoch, value in recorded.new:
        yield Observed(report.trial, epoch, value)
    if recorded.diverged_at is not None and before in (None, "running"):
        yield Ended(report.trial, "failed", recorded.diverged_at)
