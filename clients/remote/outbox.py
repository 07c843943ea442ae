"""The outbox: what a server has not acknowledged yet, in the order in which it was meant to arrive."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from curvestop.proto.endpoint import MAX_VALUES
from curvestop.srm.curve import Configuration
from curvestop.srm.study import EndState


@dataclass(frozen=True)
class PendingReport:
    """Values of epochs first_epoch, first_epoch + 1, ...; all finite. diverged: the one after them was not."""

    trial: str
    first_epoch: int
    values: tuple[float, ...]
    configuration: Configuration | None = None
    diverged: bool = False

    @property
    def next_epoch(self) -> int:
        return self.first_epoch + len(self.values)

    def continued_by(self, other: PendingReport) -> PendingReport | None:
        """Both as one, the values that came first kept; None when they do not fit together."""
        adjoining = self.first_epoch <= other.first_epoch <= self.next_epoch <= other.next_epoch
        same = None in (self.configuration, other.configuration) or self.configuration == other.configuration
        if self.diverged or not adjoining or not same:
            return None
        values = self.values + other.values[self.next_epoch - other.first_epoch :]
        if len(values) > MAX_VALUES:
            return None
        configuration = other.configuration if self.configuration is None else self.configuration
        return replace(self, values=values, configuration=configuration, diverged=other.diverged)

    def chunks(self) -> list[PendingReport]:
        """The same in reports of at most `MAX_VALUES` values; at least one."""
        starts = range(0, max(len(self.values), 1), MAX_VALUES)
        parts = [
            replace(self, first_epoch=self.first_epoch + start, values=self.values[start : start + MAX_VALUES], diverged=False)
            for start in starts
        ]
        parts[-1] = replace(parts[-1], diverged=self.diverged)
        return parts


@dataclass(frozen=True)
class PendingFinish:
    trial: str
    state: EndState


Pending = PendingReport | PendingFinish


class Outbox:
    """A queue for several threads, in order within a trial. An item that was taken counts until it is `done` or `put_back`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Pending]] = {}  # by trial; none is empty
        self._taken = 0

    def add(self, item: Pending) -> None:
        """Add an item, joined with the trial's last one where they are one curve."""
        with self._lock:
            items = self._waiting.setdefault(item.trial, deque())
            last = items[-1] if items else None
            if isinstance(item, PendingReport) and isinstance(last, PendingReport):
                joined = last.continued_by(item)
                if joined is not None:
                    items[-1] = joined
                    return
            items.append(item)

    def take(self) -> Pending | None:
        with self._lock:
            if not self._waiting:
                return None
            trial, items = next(iter(self._waiting.items()))
            item = items.popleft()
            if not items:
                del self._waiting[trial]
            self._taken += 1
            return item

    def done(self) -> None:
        """The item taken needs no sending any more."""
        with self._lock:
            self._taken -= 1

    def put_back(self, item: Pending) -> None:
        """The item taken was not acknowledged."""
        with self._lock:
            self._taken -= 1
            self._waiting.setdefault(item.trial, deque()).appendleft(item)

    def is_empty(self) -> bool:
        with self._lock:
            return not self._waiting and not self._taken

    def n_values(self) -> int:
        """How many values wait."""
        with self._lock:
            reports = (item for items in self._waiting.values() for item in items if isinstance(item, PendingReport))
            return sum(len(report.values) for report in reports)
