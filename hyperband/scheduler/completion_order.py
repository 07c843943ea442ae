"""Virtual time: an order of completions that does not depend on how fast anything is, so that a run can be repeated exactly.

Every epoch is taken to last equally long. The scheduler receives what happens in the order of virtual time, whatever the order
it arrives in, so that a fast worker may wait for a slow one. A job that fails does so when its epoch would have ended.
"""

from __future__ import annotations


class CompletionOrder:
    """Says which trial's completion counts next.

    It is a function of the calls `started`, `measured` and `over` in their order; replaying a journal restores it.

    Examples:
        >>> order = CompletionOrder()
        >>> order.started("a")
        >>> order.started("b")
        >>> order.next_trial
        'a'
        >>> order.measured("a", stop=False)
        >>> order.next_trial
        'b'
    """

    def __init__(self) -> None:
        # Trial -> (virtual time when its next epoch ends, number of its job). Equal times: the earlier job first.
        self._next_end: dict[str, tuple[int, int]] = {}
        self._n_jobs = 0
        self._now = 0

    def started(self, trial: str) -> None:
        """Record that a job has started.

        Args:
            trial: Name of a trial without a job; its first epoch ends one unit of virtual time from now.
        """
        # Every epoch lasts one unit of virtual time.
        self._next_end[trial] = (self._now + 1, self._n_jobs)
        self._n_jobs += 1

    def measured(self, trial: str, *, stop: bool) -> None:
        """Record that a trial has finished an epoch.

        Args:
            trial: Name of the trial.
            stop: The scheduler stopped the job: only its end is left, and it comes at once.
        """
        # Time moves to the end of this epoch. After a stop, nothing is left to wait for: the end has the same time.
        self._now, job = self._next_end[trial]
        self._next_end[trial] = (self._now + (not stop), job)

    def over(self, trial: str) -> None:
        """Record that a job is over.

        Args:
            trial: Name of a trial whose job was started.
        """
        del self._next_end[trial]

    @property
    def next_trial(self) -> str | None:
        """The trial whose next event counts first; None when nothing trains."""
        return min(self._next_end, key=lambda trial: self._next_end[trial], default=None)
