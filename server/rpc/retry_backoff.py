"""Retry backoff: how long a caller that was rejected for overload should wait; longer, the more callers there are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

MIN_MS, MAX_MS = 200.0, 2000.0
TARGET_REFUSALS_PER_S = 100.0
"""Answering this many refusals a second costs a server next to nothing."""

WINDOW_S = 0.25


class RetryBackoff:
    """Chooses retry delays so that rejected callers come back at about `TARGET_REFUSALS_PER_S`, spread over time.

    It counts refusals in windows and scales the typical delay by observed rate / target rate after each. Not for several
    threads at once.

    Args:
        clock: Returns the time in seconds; it must not go backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jitter = random.Random(0)
        self._typical_ms = MIN_MS
        self._window_start_s, self._n_refused = clock(), 0

    def next_ms(self) -> int:
        """Count one more refusal and return its retry delay in milliseconds: 0.5 to 1.5 times the typical one."""
        elapsed_s = self._clock() - self._window_start_s
        # A window lasts at least one typical delay: before that, callers that were sent away have not come back yet.
        if elapsed_s >= max(WINDOW_S, self._typical_ms / 1000):
            overshoot = self._n_refused / elapsed_s / TARGET_REFUSALS_PER_S
            # Bounded both ways, so that one odd window does not throw the delay to an extreme.
            self._typical_ms = min(max(self._typical_ms * min(max(overshoot, 0.5), 4.0), MIN_MS), MAX_MS)
            self._window_start_s, self._n_refused = self._window_start_s + elapsed_s, 0
        self._n_refused += 1
        return round(self._typical_ms * (0.5 + self._jitter.random()))
