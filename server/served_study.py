"""A study of the server: the in-process one with a lock, a log and its fits left to another thread."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from curvestop.proto.status import ModelStatus, StudyStatus
from curvestop.server.log import Decided, Ended, Entry, Observed, TrialAdded, replay
from curvestop.server.store import CurveStore
from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.study import EndState, FitJob, Recorded, Study, StudySettings, Trial, TrialState

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The arguments of `StudyLike.report`."""

    trial: str
    values: Sequence[float]
    configuration: Configuration | None = None
    first_epoch: int = 1
    target_epoch: int | None = None
    value_to_beat: float | None = None
    ask: bool = True


class ServedStudy:
    """A `StudyLike` for many threads. A call returns once all it rests on is on disk.

    durable: done when the study itself is. on_change: called, outside the lock, when fits may have become due.
    The lock is held for work in memory only: entries are queued under it, so the log has the order in which they took
    effect, and the commit is waited for outside.
    """

    def __init__(
        self,
        settings: StudySettings,
        store: CurveStore,
        *,
        durable: Future[None],
        on_change: Callable[[ServedStudy], None],
    ) -> None:
        self._study = Study(settings, fit="deferred")
        self._store = store
        self._durable = durable  # of the newest entry; commits are in order, so all before it are on disk too
        self._on_change = on_change
        self._lock = threading.Lock()
        self._failed_fits: set[tuple[int, int]] = set()  # (target epoch, number of curves)

    @property
    def settings(self) -> StudySettings:
        return self._study.settings

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
        (answer,) = self.report_many(
            [Report(trial, values, configuration, first_epoch, target_epoch, value_to_beat, ask)]
        )
        if isinstance(answer, Exception):
            raise answer
        return answer

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """Each report's answer, or the mistake it alone would raise; all of them in one commit."""
        entries: list[Entry] = []
        with self._lock:
            answers = [self._answer(report, entries) for report in reports]
            durable = self._append(entries)
        self._on_change(self)
        durable.result()
        return answers

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        with self._lock:
            prediction = self._study.predict(values, configuration=configuration, target_epoch=target_epoch)
        if prediction is None:
            self._on_change(self)  # the target epoch may be a new one
        return prediction

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        with self._lock:
            before = self._study.state_of(trial)
            after = self._study.finish(trial, state)
            durable = self._append([Ended(trial, state)] if before == "running" else [])
        self._on_change(self)
        durable.result()
        return after

    def trials(self) -> tuple[Trial, ...]:
        with self._lock:
            trials, durable = self._study.trials(), self._durable
        durable.result()
        return trials

    def status(self) -> StudyStatus:
        with self._lock:
            due = {job.target_epoch: len(job.curves) for job in self._study.due()}
            fitted = {target: self._study.n_fitted(target) for target in self._study.targets()}
            n_trials = Counter(trial.state for trial in self._study.trials())
        models = tuple(ModelStatus(target, n, due.get(target, n)) for target, n in fitted.items())
        return StudyStatus(self.settings, models, dict(n_trials))

    # For the owner.

    def wait_durable(self) -> None:
        """Wait until everything so far is on disk."""
        self._durable.result()

    def replay(self, entries: Iterator[Entry]) -> None:
        """Rebuild from the log; before any other call."""
        replay(self._study, entries)

    def fit_next(self) -> bool:
        """Run one fit that is due, if any; returns whether there was one. A failed one is logged and not tried again."""
        job = self._next_fit()
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
            self._study.install(models)
        return True

    def _next_fit(self) -> FitJob | None:
        with self._lock:
            jobs = self._study.due()
            return next((job for job in jobs if (job.target_epoch, len(job.curves)) not in self._failed_fits), None)

    def _answer(self, report: Report, entries: list[Entry]) -> Decision | Exception:
        """Record and decide in memory; what the log is to have of it is added to `entries`."""
        study, trial = self._study, report.trial
        try:
            study.check_question(report.target_epoch, report.value_to_beat)
            state = study.state_of(trial)
            recorded = study.record(trial, report.values, configuration=report.configuration, first_epoch=report.first_epoch)
        except ValueError as mistake:
            return mistake
        study.expect(report.target_epoch)
        entries.extend(_recorded_entries(trial, report.configuration, state, recorded))
        decision = Decision.carry_on("not asked")
        if report.ask:
            decision = self._decide(trial, report.target_epoch, report.value_to_beat, entries)
        return replace(decision, conflicts=recorded.conflicts) if recorded.conflicts else decision

    def _decide(
        self, trial: str, target_epoch: int | None, value_to_beat: float | None, entries: list[Entry]
    ) -> Decision:
        question = self._study.question(trial, target_epoch, value_to_beat)
        remembered = self._study.remembered(trial, question)
        if remembered is not None:
            return remembered
        decision = self._study.decide(trial, target_epoch=target_epoch, value_to_beat=value_to_beat)
        entries.append(Decided(trial, question, decision))
        return decision

    def _append(self, entries: Sequence[Entry]) -> Future[None]:
        """Also without entries there may be something to wait for: what a repeated call rests on may not be on disk yet."""
        if entries:
            self._durable = self._store.append(self.settings.name, entries)
        return self._durable


def _recorded_entries(
    trial: str, configuration: Configuration | None, before: TrialState | None, recorded: Recorded
) -> Iterator[Entry]:
    if before is None:
        yield TrialAdded(trial, dict(configuration or {}))
    for epoch, value in recorded.new:
        yield Observed(trial, epoch, value)
    if recorded.diverged_at is not None and before in (None, "running"):
        yield Ended(trial, "failed", recorded.diverged_at)
