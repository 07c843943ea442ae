"""A circuit breaker: after a failure, how long to leave a server alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0


class CircuitBreaker:
    """Lets everything pass until a failure, then one call a pause; the pause doubles with every failed one."""

    def __init__(
        self,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_pause_s, self._longest_pause_s, self._clock = first_pause_s, longest_pause_s, clock
        self._lock = threading.Lock()
        self._pause_s = 0.0  # 0: the last call got through
        self._shut_until_s = 0.0

    def lets_pass(self) -> bool:
        """Whether to try now. After a failure one caller in each pause is told yes."""
        with self._lock:
            if self._pause_s == 0.0:
                return True
            if self._clock() < self._shut_until_s:
                return False
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
            self._shut()  # whoever comes while this one tries is told no
            return True

    def failed(self) -> None:
        """A try failed: the pause begins now."""
        with self._lock:
            self._pause_s = self._pause_s or self._first_pause_s
            self._shut()

    def succeeded(self) -> None:
        with self._lock:
            self._pause_s = 0.0

    def _shut(self) -> None:
        self._shut_until_s = self._clock() + self._pause_s
