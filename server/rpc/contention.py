"""ContentionDetector: whether more than one party has come lately, told by the last change from one to another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable

LATELY_S = 1.0


class ContentionDetector:
    """Of whoever is `seen`; costs the same for two and for a thousand. A party alone for `LATELY_S` is alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: Hashable = None
        self._changed_s = -math.inf

    def seen(self, party: Hashable) -> None:
        if party != self._latest:
            if self._latest is not None:
                self._changed_s = self._clock()
            self._latest = party

    @property
    def is_contended(self) -> bool:
        return self._clock() - self._changed_s < LATELY_S
