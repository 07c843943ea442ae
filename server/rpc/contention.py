"""Contention detector: has more than one tenant called in the last second?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable

RECENT_S = 1.0


class ContentionDetector:
    """Knows whether several callers have called within the last `RECENT_S`.

    It keeps the latest caller and the time of the last change from one caller to another, so it costs the same for two
    callers as for a thousand. A caller that nobody interrupts for `RECENT_S` counts as alone.

    Args:
        clock: Returns the time in seconds; it must not go backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest_key: Hashable = None
        self._last_change_s = -math.inf

    def record_call(self, key: Hashable) -> None:
        """Record a call.

        Args:
            key: Identifies the caller, for example the tenant's name. None is taken for nobody.
        """
        # A caller alone takes this path never again, and needs no clock.
        if key != self._latest_key:
            if self._latest_key is not None:  # the very first caller contends with nobody
                self._last_change_s = self._clock()
            self._latest_key = key

    @property
    def is_contended(self) -> bool:
        """Whether more than one caller has called within the last `RECENT_S`."""
        return self._clock() - self._last_change_s < RECENT_S
