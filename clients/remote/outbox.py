"""The outbox: reports and finishes that a server has not acknowledged yet, in the order in which they were made."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from curvestop.proto.endpoint import MAX_VALUES
from curvestop.srm.curve import Configuration
from curvestop.srm.plural import plural
from curvestop.srm.report import BracketPosition
from curvestop.srm.trial import EndState


@dataclass(frozen=True)
class PendingReport:
    """Values of consecutive epochs of one trial that wait to be sent.

    Attributes:
        trial: Name of the trial.
        first_epoch: Epoch of the first value, 1-based.
        values: The metric after epochs first_epoch, first_epoch + 1, ..., shape `(n,)`; all finite.
        configuration: The trial's configuration, by name; None if the report had none.
        diverged: Whether the value after the last one was not finite.
        bracket: Bracket of Hyperband that the trial belongs to; None if the report had none.
    """

    trial: str
    first_epoch: int
    values: tuple[float, ...]
    configuration: Configuration | None = None
    diverged: bool = False
    bracket: BracketPosition | None = None

    @property
    def next_epoch(self) -> int:
        """The epoch after the last value."""
        return self.first_epoch + len(self.values)

    def continued_by(self, other: PendingReport) -> PendingReport | None:
        """Join this report with a later one of the same trial.

        Where both have a value for an epoch, the earlier report's stays: a server keeps the first value as well.

        Args:
            other: The later report.

        Returns:
            One report with the values of both; None if they leave a gap, differ in configuration, or are too long for one.
        """
        # The other one begins within this one or right after it, and ends no earlier.
        adjoining = self.first_epoch <= other.first_epoch <= self.next_epoch <= other.next_epoch
        # A report without a configuration fits any.
        same = None in (self.configuration, other.configuration) or self.configuration == other.configuration
        if self.diverged or not adjoining or not same:
            return None
        values = self.values + other.values[self.next_epoch - other.first_epoch :]
        if len(values) > MAX_VALUES:
            return None
        configuration = other.configuration if self.configuration is None else self.configuration
        bracket = self.bracket or other.bracket
        return replace(self, values=values, configuration=configuration, diverged=other.diverged, bracket=bracket)

    def chunks(self) -> list[PendingReport]:
        """Split the report into reports of at most `MAX_VALUES` values each; at least one, also without values."""
        if len(self.values) <= MAX_VALUES:  # as nearly always
            return [self]
        starts = range(0, len(self.values), MAX_VALUES)
        parts = [
            replace(self, first_epoch=self.first_epoch + start, values=self.values[start : start + MAX_VALUES], diverged=False)
            for start in starts
        ]
        # The trial diverged after its last value, so only the last chunk may say so.
        parts[-1] = replace(parts[-1], diverged=self.diverged)
        return parts


@dataclass(frozen=True)
class PendingFinish:
    """The end of a trial that waits to be sent.

    Attributes:
        trial: Name of the trial.
        state: How it ended.
    """

    trial: str
    state: EndState


Pending = PendingReport | PendingFinish
"""An item of the outbox."""


class Outbox:
    """A queue of unacknowledged items that keeps the order within each trial; for several threads.

    An item that was taken still counts as waiting until `done` or `put_back` is called.

    Examples:
        >>> outbox = Outbox()
        >>> outbox.add(PendingReport("a", 1, (0.1,)))
        >>> outbox.add(PendingReport("a", 2, (0.2,)))
        >>> outbox.take().values
        (0.1, 0.2)
        >>> outbox.done(PendingReport("a", 1, (0.1, 0.2)))
        >>> outbox.is_empty()
        True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Pending]] = {}  # by trial; no deque is empty
        self._taken: list[Pending] = []  # neither done nor put back: they still count as waiting

    def add(self, item: Pending) -> None:
        """Append an item, joined with the trial's last report if the two are one curve.

        Args:
            item: What could not be sent; it comes after all that waits of its trial.
        """
        with self._lock:
            items = self._waiting.setdefault(item.trial, deque())
            last = items[-1] if items else None
            if isinstance(item, PendingReport) and isinstance(last, PendingReport):
                joined = last.continued_by(item)
                # Joining keeps the outbox small during a long outage: one item per trial, not one per epoch.
                if joined is not None:
                    items[-1] = joined
                    return
            items.append(item)

    def take(self) -> Pending | None:
        """Remove and return the oldest item of the trial that waits longest; None if nothing waits."""
        with self._lock:
            if not self._waiting:
                return None
            # Dicts keep the order of insertion, so the first trial is the one that waits longest.
            trial, items = next(iter(self._waiting.items()))
            item = items.popleft()
            if not items:
                del self._waiting[trial]
            self._taken.append(item)
            return item

    def done(self, item: Pending) -> None:
        """Record that an item that was taken needs no sending any more.

        Args:
            item: An item from `take`.
        """
        with self._lock:
            self._taken.remove(item)

    def put_back(self, item: Pending) -> None:
        """Return an item that was taken but not acknowledged; it becomes the first of its trial again.

        Args:
            item: An item from `take`, whole, also if the server has some of it: values may be sent twice.
        """
        with self._lock:
            self._taken.remove(item)
            self._waiting.setdefault(item.trial, deque()).appendleft(item)

    def add_first(self, items: Sequence[PendingReport]) -> None:
        """Put items before all that waits of their trials.

        Args:
            items: In the order in which they are to be sent.
        """
        with self._lock:
            for item in items:  # trials are sent in this order, too
                self._waiting.setdefault(item.trial, deque())
            for item in reversed(items):
                self._waiting[item.trial].appendleft(item)

    def is_empty(self) -> bool:
        """Return whether nothing waits and no item is being sent."""
        with self._lock:
            return not self._waiting and not self._taken

    def __len__(self) -> int:
        """The number of items that wait and were not taken."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def __str__(self) -> str:
        """What waits, in words, such as "2 values and the end of 1 trial"."""
        n_values, n_ends = self.n_values(), sum(isinstance(item, PendingFinish) for item in self._all())
        values = plural(n_values, "value") if n_values or not n_ends else ""
        ends = f"the end of {plural(n_ends, 'trial')}" if n_ends else ""
        return " and ".join(filter(None, (values, ends)))

    def n_values(self) -> int:
        """Return the number of metric values that wait."""
        return sum(len(item.values) for item in self._all() if isinstance(item, PendingReport))

    def _all(self) -> list[Pending]:
        with self._lock:
            return [*self._taken, *chain.from_iterable(self._waiting.values())]
