"""f-Hyperband: Hyperband that stops hopeless configurations inside each rung.

Baker 2017 (thesis), section "Fast Hyperband", Algorithms 1 and 2. Delta, delta and d are the study's stopping rule.
"""

from __future__ import annotations

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler, OpenRung
from curvestop.hyperband.scheduler.brackets import Bracket
from curvestop.hyperband.scheduler.trials import RungOpened, TrialRecord


class FHyperband(BracketScheduler):
    """The paper's order (see `BracketScheduler` for the arguments): a rung begins when the one before is over."""

    _rung: OpenRung | None = None
    _queue: tuple[TrialRecord, ...] = ()

    def ask(self) -> Job | None:
        """None while the rung waits for running jobs, and at the end."""
        while not self.finished:
            if self._rung is None:
                self._open_bracket(*self._ahead.popleft())
            elif not self._queue:
                return None
            elif job := self._next_job(self._rung):
                return job
        return None

    @property
    def finished(self) -> bool:
        return self._rung is None and not self._ahead

    def _next_job(self, rung: OpenRung) -> Job | None:
        record, *rest = self._queue
        self._queue = tuple(rest)
        return self._begin(record, rung)

    # Algorithm 1: brackets and promotion.

    def _open_bracket(self, iteration: int, bracket: Bracket) -> None:
        self._open_rung(iteration, bracket, 0, [self._draw(iteration, bracket, i) for i in range(bracket.n_configurations)])

    def _open_rung(self, iteration: int, bracket: Bracket, index: int, members: list[TrialRecord]) -> None:
        opened = RungOpened(iteration, bracket, index, tuple(record.trial for record in members))
        self._rung, self._queue = OpenRung(opened, members), tuple(members)
        for record in members:
            self._enter(record, self._rung)
        self._events.append(opened)

    def _job_is_over(self, rung: OpenRung) -> None:
        if self._queue or self._busy:
            return
        self._rung = None
        self._remember(rung)
        through = [record for record in rung.members if record.state == "paused"]
        opened = rung.opened
        promoted = [] if rung.is_last else [r for r in rung.ranked(self.direction) if r in through][: opened.n_next]
        for record in through:
            record.settled_epochs = rung.epochs
            if record not in promoted:
                self._drop(record, rung)
        if promoted:
            self._open_rung(opened.iteration, opened.bracket, opened.index + 1, promoted)
