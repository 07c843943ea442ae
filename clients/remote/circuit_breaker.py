"""A circuit breaker: after a failed call it lets only one trial call through per pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0


class CircuitBreaker:
    """Decide whether a caller may try a server that failed lately.

    While calls succeed, every caller may try. After a failure one caller in each pause may, and the pause doubles with every
    further failure. A single success ends the pauses. Safe for several threads.

    Args:
        first_pause_s: Length of the pause after the first failure, in seconds.
        longest_pause_s: Upper bound of the doubled pauses, in seconds.
        clock: Returns the present time in seconds; must never run backwards.

    Examples:
        >>> now_s = 0.0
        >>> breaker = CircuitBreaker(first_pause_s=1.0, clock=lambda: now_s)
        >>> breaker.failed()
        >>> breaker.lets_pass()
        False
        >>> now_s = 1.0
        >>> breaker.lets_pass(), breaker.lets_pass()
        (True, False)
    """

    def __init__(
        self,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_pause_s, self._longest_pause_s, self._clock = first_pause_s, longest_pause_s, clock
        self._lock = threading.Lock()
        self._pause_s = 0.0  # 0: the last call succeeded, the breaker is closed
        self._open_until_s = 0.0  # in the clock's seconds; only read while there is a pause

    def lets_pass(self) -> bool:
        """Return whether the caller may try now; who gets True must report `failed` or `succeeded` afterwards."""
        if self._pause_s == 0.0:  # as nearly always; who comes while a call fails may try as well
            return True
        with self._lock:
            if self._clock() < self._open_until_s:
                return False
            # The next pause starts with this trial call already, so that callers who come while it runs are refused.
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
            self._open()
            return True

    def failed(self) -> None:
        """Record a failed call and start the pause.

        Calls that fail while a pause runs only restart it; they do not double it, as they may have begun together.
        """
        with self._lock:
            # A trial call doubled the pause already, in `lets_pass`; here it only begins anew.
            self._pause_s = self._pause_s or self._first_pause_s
            self._open()

    def succeeded(self) -> None:
        """Record a successful call, which ends the pauses."""
        self._pause_s = 0.0

    def _open(self) -> None:
        self._open_until_s = self._clock() + self._pause_s
