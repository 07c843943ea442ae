"""How long a caller who is refused for fullness is told to stay away: longer, the more of them there are."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_MS, MOST_MS = 200.0, 2000.0
WANTED_PER_S = 100.0
"""So many refusals a second cost a server next to nothing."""
WINDOW_S = 0.25
GOLDEN = 0.6180339887  # its multiples are spread evenly


class RetryBackoff:
    """Follows how many are refused, so that those who wait come back at `WANTED_PER_S`, spread over the time. Of one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._typical_ms, self._since_s, self._n, self._place = LEAST_MS, clock(), 0, 0.0

    def next_ms(self) -> int:
        """For one more refused caller: 0.5 to 1.5 times what is typical now."""
        passed_s = self._clock() - self._since_s
        if passed_s >= max(WINDOW_S, self._typical_ms / 1000):  # those who were told to stay away have come again
            change = self._n / passed_s / WANTED_PER_S
            self._typical_ms = min(max(self._typical_ms * min(max(change, 0.5), 4.0), LEAST_MS), MOST_MS)
            self._since_s, self._n = self._since_s + passed_s, 0
        self._n += 1
        self._place = (self._place + GOLDEN) % 1
        return round(self._typical_ms * (0.5 + self._place))
