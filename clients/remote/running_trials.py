"""The values of the trials that run: a server whose store came back without them gets them again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from curvestop.clients.remote.outbox import PendingReport
from curvestop.srm.curve import Configuration
from curvestop.srm.report import BracketPosition, reports_of


@dataclass(slots=True)
class _Trial:
    """What one trial reported; the first value of an epoch stays, as in a study."""

    configuration: Configuration | None = None
    bracket: BracketPosition | None = None
    values: dict[int, float] = field(default_factory=dict)
    n_acknowledged: int = 0

    def add(self, report: PendingReport) -> None:
        if not self.values:
            self.configuration, self.bracket = report.configuration, report.bracket
        elif self.configuration is None:
            self.configuration = report.configuration
        for epoch, value in enumerate(report.values, report.first_epoch):
            self.values.setdefault(epoch, value)

    def reports(self, name: str) -> Iterator[PendingReport]:
        for report in reports_of(name, sorted(self.values.items()), self.configuration):
            yield PendingReport(name, report.first_epoch, tuple(report.values), report.configuration, bracket=self.bracket)


class RunningTrials:
    """Keep what the running trials reported. Safe for several threads.

    Args:
        max_epochs: A trial that reported this epoch runs no more.

    Examples:
        >>> running = RunningTrials(max_epochs=10)
        >>> running.acknowledge(PendingReport("a", 1, (0.1, 0.2)), is_last=False)
        >>> running.add(PendingReport("a", 3, (0.3,)))
        >>> running.n_acknowledged("a")
        2
        >>> [report.values for report in running.unacknowledged()], running.n_acknowledged("a")
        ([(0.1, 0.2, 0.3)], 0)
    """

    def __init__(self, max_epochs: int) -> None:
        self._max_epochs = max_epochs
        self._lock = threading.Lock()
        self._trials: dict[str, _Trial] = {}

    def add(self, report: PendingReport) -> None:
        """Keep a report that no server has acknowledged.

        Args:
            report: What was reported.
        """
        with self._lock:
            self._trial_of(report).add(report)

    def acknowledge(self, report: PendingReport, *, is_last: bool) -> None:
        """Keep a report that a server has stored, as it has all that the trial reported before.

        Args:
            report: What was reported.
            is_last: Whether the trial was stopped by the answer.
        """
        with self._lock:
            if is_last or report.diverged or report.next_epoch > self._max_epochs:
                self._trials.pop(report.trial, None)
                return
            trial = self._trial_of(report)
            trial.add(report)
            trial.n_acknowledged = len(trial.values)

    def _trial_of(self, report: PendingReport) -> _Trial:
        trial = self._trials.get(report.trial)
        if trial is None:
            trial = self._trials[report.trial] = _Trial()
        return trial

    def forget(self, trial: str) -> None:
        """Forget a trial: it has ended, and a server knows it."""
        with self._lock:
            self._trials.pop(trial, None)

    def n_acknowledged(self, trial: str) -> int:
        """Return how many epochs of a trial a server has, as far as this client knows."""
        known = self._trials.get(trial)
        return 0 if known is None else known.n_acknowledged

    def unacknowledged(self) -> list[PendingReport]:
        """Take back that anything was acknowledged, and return all that the trials reported, in order."""
        with self._lock:
            for trial in self._trials.values():
                trial.n_acknowledged = 0
            return [report for name, trial in self._trials.items() for report in trial.reports(name)]
