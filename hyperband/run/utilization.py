"""How much of their time the workers of a run train, from its journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class UtilizationTracker:
    """Adds up the entries of a journal, session by session; a run that was resumed has several.

    A worker is busy while it trains, not while it waits for a decision, for a job or for its program to load.

    Attributes:
        trained_s: Seconds of training, over all workers.

    Examples:
        >>> tracker = UtilizationTracker()
        >>> tracker.add({"kind": "session", "workers": 2})
        >>> tracker.add({"kind": "report", "seconds": 6.0, "at": 8.0})
        >>> tracker.share, tracker.elapsed_s  # 6 of 2 x 8 seconds
        (0.375, 8.0)
    """

    def __init__(self) -> None:
        self.trained_s = 0.0
        self._available_s = 0.0  # of earlier sessions, over all workers
        self._earlier_s = 0.0  # of earlier sessions
        self._n_workers, self._session_s = 0, 0.0

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add one entry of the journal.

        Args:
            entry: An entry with "kind", and perhaps "workers" (their number, in a "session"), "at" (seconds since the session
                began) and "seconds" (time that an epoch took).
        """
        if entry["kind"] == "session":
            # A new session: the time between two sessions, when nothing ran, counts for neither.
            self._available_s += self._n_workers * self._session_s
            self._earlier_s += self._session_s
            self._n_workers, self._session_s = entry["workers"], 0.0
        self._session_s = entry.get("at", self._session_s)
        self.trained_s += entry.get("seconds", 0.0)

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run took, over all sessions."""
        return self._earlier_s + self._session_s

    @property
    def share(self) -> float | None:
        """Share of the workers' time that they trained, in [0, 1]; None before anything was trained."""
        available_s = self._available_s + self._n_workers * self._session_s
        return self.trained_s / available_s if available_s else None
