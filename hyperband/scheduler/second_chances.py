"""Second chances in a run: trials that were stopped or not promoted train on while a worker would be idle, and at the end.

The most promising one by the study's chance goes first, from decision point to decision point of the study's policy: there it is
stopped for good if the policy says so, and gives way to one that is more promising by now.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from curvestop.hyperband.scheduler.trials import TrialRecord
from curvestop.srm.policies.learned import percent
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.study_like import ResumableStudy

KEPT = 20
"""How many trials keep their checkpoints for a second chance: a run lets go of the least promising when it has twice as many."""


class SecondChances:
    """The trials of a run that may train on, and the epochs that they may cost.

    Args:
        study: The run's study; its policy states chances.
        share: Most of the run's epochs that second chances may cost, in [0, 1).
        is_reserved: Whether a scheduler with a budget sets this share aside. Default: they get what it leaves, at most the share.

    Attributes:
        study: As given.
        is_reserved: As given.
        running: Names of the resumed trials whose job is not over.
        epochs_trained: Epochs that second chances have cost so far.

    Raises:
        ValueError: If the share is out of range.
    """

    def __init__(self, study: ResumableStudy, share: float, *, is_reserved: bool = False) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"second chances must be a share of the epochs in [0, 1), but got {share!r}")
        self.study, self.is_reserved = study, is_reserved
        self._share = share
        self.running: set[str] = set()
        self.epochs_trained = 0
        max_epochs = study.settings.max_epochs
        self._points = (*study.settings.stopping.decision_points(max_epochs), max_epochs)
        self._held: dict[str, TrialRecord] = {}  # all that may be resumed, running ones included
        self._n_stopped = 0  # in the study, those that were let go included

    @property
    def is_over(self) -> bool:
        """Whether no trial may be resumed any more and none is running."""
        return not self._held

    def hold(self, record: TrialRecord) -> list[TrialRecord]:
        """Keep a trial that was stopped; return those that are let go because they are the least promising of too many.

        Args:
            record: A trial that the study knows as stopped.
        """
        self._held[record.trial] = record
        self._n_stopped += 1
        record.may_resume = True
        if len(self._waiting()) < 2 * KEPT:
            return []
        kept = {chance.trial for chance in self._ranked()[:KEPT]}
        return self._let_go(trial for trial in self._waiting() if trial not in kept)

    def epochs_left(self, epochs_trained: int) -> int:
        """Return the epochs that second chances may still cost, beyond those that they have trained or are promised.

        Args:
            epochs_trained: Epochs that the run trained so far, those of second chances included.
        """
        # Such that they are this share of all epochs, their own included. 1e-9: 0.05 / 0.95 * 19 must be 1.
        allowed = int(self._share / (1 - self._share) * (epochs_trained - self.epochs_trained) + 1e-9)
        return allowed - self.epochs_trained - self.epochs_promised

    def epochs_set_aside(self, budget: int) -> int:
        """Return the epochs of a budget that nothing else may train, beyond those that second chances have trained.

        Args:
            budget: Epochs that the run may train in all.
        """
        reserved = math.ceil(self._share * budget - 1e-9) if self.is_reserved else 0
        return max(reserved - self.epochs_trained, self.epochs_promised)

    @property
    def epochs_promised(self) -> int:
        """Epochs that the resumed trials are to train until their next decision points."""
        running = (self._held[trial] for trial in self.running)
        return sum(self._next_step(record) for record in running if record.state == "running")

    def start(self, epochs_left: int) -> SecondChance | None:
        """Resume the most promising trial; return None if there is none or its next decision point is too far.

        Args:
            epochs_left: Epochs that may be trained now.
        """
        # Asking for the chances costs more than all else here.
        if not self._waiting() or epochs_left < 1:
            return None
        best = next(iter(self._ranked()), None)
        if best is None or epochs_left < self._next_step(self._held[best.trial]):
            return None
        self.study.resume(best.trial)
        self.running.add(best.trial)
        return best

    def why_pause(self, record: TrialRecord, chance: float | None, epochs_left: int, *, is_wanted: bool) -> str | None:
        """Return why a resumed trial ends its job for now; None if it trains on.

        Args:
            record: The trial, which is not complete.
            chance: Its chance now; None if none was stated.
            epochs_left: Epochs that may be trained now, without those until its next decision point.
            is_wanted: Whether the trial's worker has other work.
        """
        if record.epochs not in self._points:
            return None
        if is_wanted:
            return "its worker has a trial of a rung to train"
        if epochs_left < 0:
            return "the epochs for second chances are spent"
        best = next(iter(self._ranked()), None)
        if best is not None and chance is not None and best.chance > chance:
            return f"{best.trial} is more promising: {percent(best.chance)} against {percent(chance)} chance to end as the best"
        return None

    def job_over(self, trial: str, *, is_final: bool) -> None:
        """Record that a resumed trial's job is over.

        Args:
            trial: Name of the trial.
            is_final: Whether it gets no further chance.
        """
        self.running.remove(trial)
        if is_final:
            self._let_go([trial])

    def release(self) -> list[TrialRecord]:
        """Give up all trials, as nothing is left to spend; none is running."""
        return self._let_go(list(self._held))

    def _let_go(self, trials: Iterable[str]) -> list[TrialRecord]:
        gone = [self._held.pop(trial) for trial in trials]
        for record in gone:
            record.may_resume = False
        return gone

    def _waiting(self) -> list[str]:
        return [trial for trial in self._held if trial not in self.running]

    def _ranked(self) -> list[SecondChance]:
        """Return the chances of the trials that wait for one, the most promising first."""
        waiting = set(self._waiting())
        # The study ranks those that were let go too.
        return [chance for chance in self.study.second_chances(self._n_stopped) if chance.trial in waiting] if waiting else []

    def _next_step(self, record: TrialRecord) -> int:
        """Return the epochs until a trial's next decision point."""
        return next((point for point in self._points if point > record.epochs), record.epochs) - record.epochs
