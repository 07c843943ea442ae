"""Asynchronous f-Hyperband and ASHA: a trial is promoted as soon as it is among the best so far, so that no worker waits.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), Algorithm 2, over the brackets of Hyperband, with
the stopping inside rungs of Baker 2017 (thesis), Algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, total_epochs
from curvestop.hyperband.scheduler.open_rung import OpenRung, Score
from curvestop.hyperband.scheduler.second_chances import SecondChances
from curvestop.hyperband.scheduler.trials import RungOpened, TrialPromoted, TrialRecord


@dataclass(eq=False)
class OpenBracket:
    """A bracket that is not over.

    Attributes:
        iteration: Iteration of Hyperband, from 0.
        bracket: Its plan.
        rungs: All its rungs, shortest first.
        n_drawn: Number of configurations drawn so far.
        is_drawn: Whether all configurations have been drawn.
        n_closed: The first n_closed rungs are over.
    """

    iteration: int
    bracket: Bracket
    rungs: tuple[OpenRung, ...]
    n_drawn: int = 0
    is_drawn: bool = False
    n_closed: int = 0

    def may_grow(self, rung: OpenRung) -> bool:
        """Return whether another trial may still enter the rung."""
        return self.n_closed < rung.opened.index if rung.opened.index else not self.is_drawn


class AsynchronousHyperband(BracketScheduler):
    """f-Hyperband in which no worker waits for a rung to end.

    `ask` promotes the first trial that may be promoted, from the oldest bracket's longest rung on; if there is none, it draws
    a configuration.

    Of a rung that c trials came through, the best floor(c / eta) may be promoted, but at most n_next, the size that the plan
    gives the next rung. When no trial can enter the rung any more, the best n_next may be. So all that synchronous Hyperband
    would promote are promoted, and also some that were good early on: a rung may take more trials than planned, never fewer.

    A trial that is not promoted is paused until n_next others of its rung are better: then it never can be, and it ends.
    The next bracket begins when all configurations of the one before have been drawn.

    See `BracketScheduler` for the arguments and the other methods.

    Examples:
        >>> rates = iter([0.3, 0.1, 0.2, 0.4, 0.5])
        >>> scheduler = AsynchronousHyperband(lambda: {"lr": next(rates)}, max_epochs=3)
        >>> for _ in range(3):
        ...     job = scheduler.ask()
        ...     _ = scheduler.report(job.trial, job.configuration["lr"])
        ...     scheduler.job_over(job.trial)
        >>> scheduler.ask()  # one in three is promoted at once
        Job(trial='i0-s1-000', configuration={'lr': 0.3}, first_epoch=2, target_epoch=3)
    """

    ranks_by_best = False
    """Whether the best value up to a rung's end ranks its members, in place of the last one."""

    _open: tuple[OpenBracket, ...] = ()  # oldest first

    def _next_bracket_job(self) -> Job | None:
        while (next_up := self._next_promotion() or self._next_drawn()) is not None:
            job = self._start_job(*next_up)
            if job is not None:
                return job
        return None

    @property
    def _brackets_over(self) -> bool:
        return not self._brackets_ahead and not self._open

    @property
    def _has_bracket_job(self) -> bool:
        may_draw = bool(self._brackets_ahead) or not all(bracket.is_drawn for bracket in self._open)
        return may_draw or any(self._promotable(bracket, rung) for bracket in self._open for rung in bracket.rungs)

    def _next_promotion(self) -> tuple[TrialRecord, OpenRung] | None:
        for bracket in self._open:
            # The longest rung first, as in ASHA, Algorithm 2, `get_job`.
            for rung, following in reversed(list(pairwise(bracket.rungs))):
                promotable = self._promotable(bracket, rung)
                if promotable:
                    record = promotable[0]
                    self._add_to(following, record)
                    self._events.append(TrialPromoted(record, following.opened))
                    self._close_rungs(bracket)
                    return record, following
        return None

    def _next_drawn(self) -> tuple[TrialRecord, OpenRung] | None:
        # At most one open bracket has configurations left to draw: the newest.
        bracket = next((b for b in self._open if not b.is_drawn), None)
        if bracket is None:
            if not self._brackets_ahead:
                return None
            bracket = self._open_bracket(*self._brackets_ahead.popleft())
        record = self._draw(bracket.iteration, bracket.bracket, bracket.n_drawn)
        bracket.n_drawn += 1
        bracket.is_drawn = self._is_last_draw(bracket)
        self._add_to(bracket.rungs[0], record)
        return record, bracket.rungs[0]

    def _is_last_draw(self, bracket: OpenBracket) -> bool:
        """Return whether a bracket has drawn all its configurations."""
        return bracket.n_drawn == bracket.bracket.n_configurations

    def _n_next(self, bracket: OpenBracket, rung: OpenRung) -> int:
        """Return how many trials of a rung, not the last, its bracket will promote."""
        return rung.opened.n_next

    def _open_bracket(self, iteration: int, bracket: Bracket) -> OpenBracket:
        # Without names: trials enter one by one, and a large budget plans more of them than are ever drawn.
        rungs = [RungOpened(iteration, bracket, index, ()) for index in range(len(bracket.rungs))]
        self._events.append(rungs[0])
        opened = OpenBracket(iteration, bracket, tuple(map(OpenRung, rungs)))
        self._open += (opened,)
        return opened

    def _add_to(self, rung: OpenRung, record: TrialRecord) -> None:
        rung.members.append(record)
        self._enter(record, rung)  # from now on the trial counts for this rung only, see `_is_paused_in`

    def _is_paused_in(self, record: TrialRecord, rung: OpenRung) -> bool:
        """Return whether a trial is paused in this rung and its worker is free."""
        # Its worker must be free because a promoted trial starts at once, from the checkpoint that the job leaves.
        return self._rungs.get(record.trial) is rung and record.state == "paused" and record.trial not in self._has_job

    def _promotable(self, bracket: OpenBracket, rung: OpenRung) -> list[TrialRecord]:
        """Return the trials of a rung that may be promoted now, best first."""
        if rung.is_last:
            return []
        through = rung.ranked(self.direction, by_best=self.ranks_by_best)
        n_next = self._n_next(bracket, rung)
        n = n_next if self._is_complete(bracket, rung) else min(n_next, len(through) // self.eta)
        # Those of the best n that were promoted before are no longer in this rung.
        return [record for record in self._not_dropped(through, rung)[:n] if self._is_paused_in(record, rung)]

    def _not_dropped(self, ranked: Sequence[TrialRecord], rung: OpenRung) -> list[TrialRecord]:
        """Return the trials of a rung that were promoted or still may be, in the same order."""
        # Forecasts move places: one that was dropped may be among the best later, and must not take the place of another.
        return [r for r in ranked if r.rung > rung.opened.index or r.trial in self._rungs]

    def _is_complete(self, bracket: OpenBracket, rung: OpenRung) -> bool:
        """Return whether no trial can enter the rung any more and none trains in it."""
        here = (r for r in rung.members if self._rungs.get(r.trial) is rung)
        return not bracket.may_grow(rung) and all(self._is_paused_in(record, rung) for record in here)

    def _after_job(self, rung: OpenRung) -> None:
        # A trial outside the best n_next so far can never be among them at the end: it ends now.
        bracket = next(b for b in self._open if rung in b.rungs)
        n_kept = 0 if rung.is_last else self._n_next(bracket, rung)
        ranked = rung.ranked(self.direction, by_best=self.ranks_by_best)
        kept = {record.trial for record in self._not_dropped(ranked, rung)[:n_kept]}
        for record in rung.members:
            if self._is_paused_in(record, rung):
                record.settled_epochs = rung.epochs
                if record.trial not in kept:
                    self._drop(record, rung)
        self._close_rungs(bracket)

    def _close_rungs(self, bracket: OpenBracket) -> None:
        """Close rungs, shortest first, that are complete and have promoted all they may; then the bracket."""
        for rung in bracket.rungs[bracket.n_closed :]:
            if self._promotable(bracket, rung) or not self._is_complete(bracket, rung):
                return
            for record in rung.members:
                if self._is_paused_in(record, rung):  # it was kept, but nothing is left to promote it with
                    self._drop(record, rung)
            self._remember(rung)
            bracket.n_closed += 1
        # The loop closed all rungs, so the bracket is over.
        self._open = tuple(b for b in self._open if b is not bracket)


class Asha(AsynchronousHyperband):
    """ASHA with the stopping of f-Hyperband: asynchronous Hyperband for one bracket (`brackets.single_bracket`).

    Four things differ. Rungs are ranked by the best value so far, which ranks early rungs better than the last one: noise and
    warm restarts move that (`python -m benchmarks.hyperband.anytime` prints both). Once `forecasts_from` trials came
    through the next rung, the study's forecast for its end ranks as much as that value. As a rung of a large bracket fills
    slowly, the value to beat inside it is the (kappa x promotable)-th best, where one in eta of those that came through so far is
    promotable. And it spends the epochs of its plan, those of second chances included, and no more. It draws as long as epochs
    are left: more configurations than planned where stops saved some, fewer where promotions that came before all were drawn cost
    some. The last max_epochs epochs of the plan are for promotions only, and for second chances once all rungs are over.

    See `BracketScheduler` for the arguments and the other methods.

    Examples:
        >>> from curvestop.hyperband.scheduler.brackets import single_bracket
        >>> plan = [single_bracket(3, budget=4)]
        >>> scheduler = Asha(lambda: {"lr": 0.1}, max_epochs=3, plan=plan)
        >>> scheduler.ask()
        Job(trial='i0-s1-000', configuration={'lr': 0.1}, first_epoch=1, target_epoch=1)
    """

    ranks_by_best = True
    spends_its_epochs = True
    forecasts_from = 40
    """So many trials must have come through the next rung before forecasts of it rank: from fewer they are no better."""

    def _next_bracket_job(self) -> Job | None:
        if self._epochs_left() < self.max_epochs:
            self._end_draws()
        return super()._next_bracket_job()

    def _epochs_left(self) -> int:
        """Return the epochs of the plan that no job has trained or is to train."""
        running = (self._running(trial) for trial in self._has_job if self._records[trial].state == "running")
        promised = sum(rung.epochs - record.epochs for record, rung in running)
        planned = self.n_iterations * total_epochs(self.plan)
        for_chances = 0 if self._chances is None else self._chances.epochs_set_aside(planned)
        # A failed trial counts as one that came through the first rung: where all fail at once, the draws must end too.
        first = self.plan[0].rungs[0].epochs
        failed = sum(max(first - record.epochs, 0) for record in self.records if record.state == "failed")
        return planned - for_chances - self.epochs_trained - promised - failed

    def _epochs_for_chances(self, chances: SecondChances) -> int:
        epochs = super()._epochs_for_chances(chances)
        if chances.is_reserved:
            return epochs
        # Only what new configurations and promotions leave: in replays of real curves these find more.
        return min(epochs, self._epochs_left() - (0 if self._brackets_over else self.max_epochs))

    def _end_draws(self) -> None:
        self._brackets_ahead.clear()
        for bracket in self._open:
            bracket.is_drawn = True
            self._close_rungs(bracket)

    def _is_last_draw(self, bracket: OpenBracket) -> bool:
        return not self._draws_on(bracket) and super()._is_last_draw(bracket)

    def _draws_on(self, bracket: OpenBracket) -> bool:
        """Return whether a bracket draws until `_end_draws`: the last one does."""
        return not self._brackets_ahead and bracket is self._open[-1]

    def _n_next(self, bracket: OpenBracket, rung: OpenRung) -> int:
        n_next, plan = super()._n_next(bracket, rung), bracket.bracket
        if not self._draws_on(bracket):
            return n_next
        # So many configurations will be drawn if those to come cost as many epochs as the plan has for each.
        n_drawn = bracket.n_drawn + max(self._epochs_left(), 0) * plan.n_configurations // plan.n_epochs
        share: int = self.eta ** (rung.opened.index + 1)
        return max(n_next, n_drawn // share)

    def _promotable(self, bracket: OpenBracket, rung: OpenRung) -> list[TrialRecord]:
        # Whoever is promoted must be able to reach the end.
        if self._epochs_left() < self.max_epochs - rung.epochs:
            return []
        return super()._promotable(bracket, rung)

    def _score(self, record: TrialRecord, rung: OpenRung, value: float | None, *, predicted: bool) -> Score:
        score = super()._score(record, rung, value, predicted=predicted)
        if self._study is None or rung.is_last:
            return score
        following = next(b for b in self._open if rung in b.rungs).rungs[rung.opened.index + 1]
        if len(following.scores) < self.forecasts_from:
            return score
        forecast = self._study.predict(record.values, configuration=record.configuration, target_epoch=following.epochs)
        return score if forecast is None else replace(score, forecast=forecast.mean)

    def _rank_to_beat(self, rung: OpenRung) -> int:
        if rung.is_last:
            return super()._rank_to_beat(rung)
        # At least one, also before eta trials came through: whoever is as good as the best so far will be promoted.
        n_promotable = len(rung.scores) / self.eta
        return max(1, math.ceil(self.kappa * n_promotable - 1e-9))
