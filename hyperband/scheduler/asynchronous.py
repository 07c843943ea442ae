"""Asynchronous f-Hyperband: a trial is promoted as soon as it is among the best so far, so that no worker waits for a rung.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), Algorithm 2, over the brackets of Hyperband, with
the stopping inside rungs of Baker 2017 (thesis), Algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler, OpenRung, trial_name
from curvestop.hyperband.scheduler.brackets import Bracket
from curvestop.hyperband.scheduler.trials import RungOpened, TrialPromoted, TrialRecord


@dataclass(eq=False)
class _OpenBracket:
    """n_over: the first so many rungs are over."""

    iteration: int
    bracket: Bracket
    rungs: tuple[OpenRung, ...]
    n_drawn: int = 0
    n_over: int = 0

    @property
    def is_drawn(self) -> bool:
        return self.n_drawn == self.bracket.n_configurations

    def takes_more(self, rung: OpenRung) -> bool:
        """Whether another trial may still come into the rung."""
        return self.n_over < rung.opened.index if rung.opened.index else not self.is_drawn


class AsynchronousHyperband(BracketScheduler):
    """`ask` promotes the first trial that may be, from the oldest bracket's longest rung on; else it draws a configuration.

    Of a rung with c trials through, the best floor(c / eta) may be promoted, at most n_next, the size that the plan gives the
    next rung; when nothing more can come into the rung, the best n_next. So those that synchronous Hyperband would promote are
    promoted, and besides them some that were good early on: a rung may take more trials than planned, never fewer.
    A trial that is not promoted is paused, not ended, until n_next others of its rung are better: then it never can be.
    The next bracket begins when all configurations of the one before were drawn.
    """

    _open: tuple[_OpenBracket, ...] = ()

    def ask(self) -> Job | None:
        while (next_up := self._promotion() or self._fresh()) is not None:
            job = self._begin(*next_up)
            if job is not None:
                return job
        return None

    @property
    def finished(self) -> bool:
        return not self._ahead and not self._open

    def _promotion(self) -> tuple[TrialRecord, OpenRung] | None:
        for bracket in self._open:
            for rung, following in reversed(list(pairwise(bracket.rungs))):
                promotable = self._promotable(bracket, rung)
                if promotable:
                    record = promotable[0]
                    self._move(record, following)
                    self._events.append(TrialPromoted(record, following.opened))
                    self._close(bracket)
                    return record, following
        return None

    def _fresh(self) -> tuple[TrialRecord, OpenRung] | None:
        bracket = next((b for b in self._open if not b.is_drawn), None)
        if bracket is None:
            if not self._ahead:
                return None
            bracket = self._open_bracket(*self._ahead.popleft())
        record = self._draw(bracket.iteration, bracket.bracket, bracket.n_drawn)
        bracket.n_drawn += 1
        self._move(record, bracket.rungs[0])
        return record, bracket.rungs[0]

    def _open_bracket(self, iteration: int, bracket: Bracket) -> _OpenBracket:
        names = tuple(trial_name(iteration, bracket, index) for index in range(bracket.n_configurations))
        rungs = [RungOpened(iteration, bracket, index, () if index else names) for index in range(len(bracket.rungs))]
        self._events.append(rungs[0])
        opened = _OpenBracket(iteration, bracket, tuple(map(OpenRung, rungs)))
        self._open += (opened,)
        return opened

    def _move(self, record: TrialRecord, rung: OpenRung) -> None:
        rung.members.append(record)
        self._enter(record, rung)

    def _waits(self, record: TrialRecord, rung: OpenRung) -> bool:
        """It is paused in this rung, and its worker is free."""
        return self._rungs.get(record.trial) is rung and record.state == "paused" and record.trial not in self._busy

    def _promotable(self, bracket: _OpenBracket, rung: OpenRung) -> list[TrialRecord]:
        """Best first."""
        if rung.is_last:
            return []
        ranked = rung.ranked(self.direction)
        n = rung.opened.n_next if self._is_complete(bracket, rung) else min(rung.opened.n_next, len(ranked) // self.eta)
        return [record for record in ranked[:n] if self._waits(record, rung)]

    def _is_complete(self, bracket: _OpenBracket, rung: OpenRung) -> bool:
        """Nothing more comes into the rung, and nothing in it trains."""
        here = (r for r in rung.members if self._rungs.get(r.trial) is rung)
        return not bracket.takes_more(rung) and all(self._waits(record, rung) for record in here)

    def _job_is_over(self, rung: OpenRung) -> None:
        n_kept = 0 if rung.is_last else rung.opened.n_next
        kept = rung.ranked(self.direction)[:n_kept]
        for record in rung.members:
            if self._waits(record, rung):
                record.settled_epochs = rung.epochs
                if record not in kept:
                    self._drop(record, rung)
        self._close(next(b for b in self._open if rung in b.rungs))

    def _close(self, bracket: _OpenBracket) -> None:
        """Rungs are over, shortest first, when they are complete and all that may be promoted is."""
        for rung in bracket.rungs[bracket.n_over :]:
            if self._promotable(bracket, rung) or not self._is_complete(bracket, rung):
                return
            self._remember(rung)
            bracket.n_over += 1
        self._open = tuple(b for b in self._open if b is not bracket)
