"""The epochs at which the curves of a study are read: every one of a short training, a few hundred of a long one.

All that a study computes goes by the *points* of such a grid, 1..n: its memory and time do not grow with `max_epochs`.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_POINTS = 400
"""A grid has so many points at most; up to so many epochs, each epoch is a point."""


@dataclass(frozen=True)
class Grid:
    """Evenly spaced epochs up to a last one, at which curves are compared and predicted.

    Attributes:
        last: The last epoch, >= 1, which is the last point too.

    Examples:
        >>> short, long = Grid(10), Grid(20_000)
        >>> len(short), short.epoch(3), short.n_points(7)
        (10, 3, 7)
        >>> len(long), long.epoch(3), long.n_points(199)
        (400, 150, 3)
    """

    last: int

    def __len__(self) -> int:
        return min(self.last, MOST_POINTS)

    @property
    def is_every_epoch(self) -> bool:
        """Whether each epoch is a point."""
        return self.last <= MOST_POINTS

    def epoch(self, point: int) -> int:
        """Return the epoch of a point.

        Args:
            point: In 1..len(self).
        """
        return point if self.last <= MOST_POINTS else -(-point * self.last // MOST_POINTS)  # rounded up

    def n_points(self, epoch: int) -> int:
        """Return the number of points up to an epoch.

        Args:
            epoch: >= 0; beyond the last epoch all points are passed.
        """
        if self.last <= MOST_POINTS:
            return min(epoch, self.last)
        return min(epoch, self.last) * MOST_POINTS // self.last

    def is_point(self, epoch: int) -> bool:
        """Return whether an epoch in 1..last is a point."""
        return self.epoch(self.n_points(epoch)) == epoch
