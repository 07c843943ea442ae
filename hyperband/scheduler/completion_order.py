"""Whose turn it is: an order of completions that does not depend on how fast anything is, so that a run can be repeated exactly.

Every epoch is taken to last equally long. What happens is told to the scheduler in that order, whatever the order it arrives
in, so a fast worker may wait for a slow one. A job that fails does so when its epoch would have been over.
"""

from __future__ import annotations


class CompletionOrder:
    """Told every job that starts, every epoch and every end, in the order in which they count; a journal told again will do."""

    def __init__(self) -> None:
        self._next: dict[str, tuple[int, int]] = {}  # trial -> when its next epoch is over, and the number of its job
        self._n_jobs = 0
        self._now = 0

    def started(self, trial: str) -> None:
        self._next[trial] = (self._now + 1, self._n_jobs)
        self._n_jobs += 1

    def measured(self, trial: str, *, stop: bool) -> None:
        self._now, job = self._next[trial]
        self._next[trial] = (self._now + (not stop), job)  # after a stop its end is all that is left, at once

    def over(self, trial: str) -> None:
        del self._next[trial]

    @property
    def next_trial(self) -> str | None:
        """The trial whose next news counts first; None when nothing trains."""
        return min(self._next, key=lambda trial: self._next[trial], default=None)
