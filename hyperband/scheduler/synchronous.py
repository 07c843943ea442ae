"""f-Hyperband: Hyperband that also stops hopeless configurations inside each rung.

Baker 2017 (thesis), section 4.1.3 "Fast Hyperband", Algorithms 1 and 2.
"""

from __future__ import annotations

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket
from curvestop.hyperband.scheduler.open_rung import OpenRung
from curvestop.hyperband.scheduler.trials import RungOpened, TrialRecord


class FHyperband(BracketScheduler):
    """f-Hyperband in the paper's order: a rung begins when the one before it is over.

    See `BracketScheduler` for the arguments and the methods.

    Examples:
        >>> rates = iter([0.1, 0.3, 0.2, 0.4, 0.5])
        >>> scheduler = FHyperband(lambda: {"lr": next(rates)}, max_epochs=3)  # plain Hyperband: no study
        >>> while (job := scheduler.ask()) is not None:
        ...     for epoch in range(job.first_epoch, job.target_epoch + 1):
        ...         if scheduler.report(job.trial, job.configuration["lr"] * epoch).stop:
        ...             break
        ...     scheduler.job_over(job.trial)
        >>> [(record.trial, record.state) for record in scheduler.records if record.epochs == 1]
        [('i0-s1-000', 'dropped'), ('i0-s1-002', 'dropped')]
        >>> scheduler.best().configuration
        {'lr': 0.5}
    """

    _rung: OpenRung | None = None  # None before the first and after the last bracket, and between two
    _queue: tuple[TrialRecord, ...] = ()  # members of the rung that have not started

    def _next_bracket_job(self) -> Job | None:
        while not self._brackets_over:
            if self._rung is None:
                self._open_bracket(*self._brackets_ahead.popleft())
            elif not self._queue:
                return None
            elif job := self._next_job(self._rung):
                return job
        return None

    @property
    def _brackets_over(self) -> bool:
        return self._rung is None and not self._brackets_ahead

    @property
    def _has_bracket_job(self) -> bool:
        return bool(self._queue or (self._rung is None and self._brackets_ahead))

    def _next_job(self, rung: OpenRung) -> Job | None:
        record, *rest = self._queue
        self._queue = tuple(rest)  # before the job starts: a stop at once may end the rung
        return self._start_job(record, rung)

    # Algorithm 1: brackets and promotion.

    def _open_bracket(self, iteration: int, bracket: Bracket) -> None:
        # Line 3: T = get_hyperparameter_configuration(n).
        self._open_rung(iteration, bracket, 0, [self._draw(iteration, bracket, i) for i in range(bracket.n_configurations)])

    def _open_rung(self, iteration: int, bracket: Bracket, index: int, members: list[TrialRecord]) -> None:
        # Lines 4-7: the members run_then_return_validation_loss (Algorithm 2) as workers become free.
        opened = RungOpened(iteration, bracket, index, tuple(record.trial for record in members))
        self._rung, self._queue = OpenRung(opened, members), tuple(members)
        for record in members:
            self._enter(record, self._rung)
        self._events.append(opened)

    def _after_job(self, rung: OpenRung) -> None:
        if self._queue or self._has_job:
            return
        self._rung = None
        self._remember(rung)
        candidates = [record for record in rung.members if record.state == "paused"]  # not failed
        opened = rung.opened
        # Line 8: T = top_k(T, L, n_next). In the last rung nothing is promoted.
        promoted = [] if rung.is_last else [r for r in rung.ranked(self.direction) if r in candidates][: opened.n_next]
        for record in candidates:
            record.settled_epochs = rung.epochs
            if record not in promoted:
                self._drop(record, rung)
        if promoted:
            self._open_rung(opened.iteration, opened.bracket, opened.index + 1, promoted)
