"""What a trial reported, and the curve through it: reports may be sparse, and come in any order.

Between two reported epochs the values lie on a straight line; before the first they equal the first value.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from curvestop.srm.curve import LearningCurve
from curvestop.srm.grid import Grid


@dataclass
class Reported:
    """The values that a trial reported.

    Attributes:
        values: Value by epoch, >= 1, in the order in which they came.
        epochs: The same epochs, ascending.

    Examples:
        >>> reported = Reported.of([(1000, 0.5), (3000, 0.75)])
        >>> reported.at(2000), reported.at(10), reported.last_epoch
        (0.625, 0.5, 3000)
    """

    values: dict[int, float] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)

    @staticmethod
    def of(values: Iterable[tuple[int, float]]) -> Reported:
        """Return the given values.

        Args:
            values: `(epoch, value)` pairs of different epochs, in any order.
        """
        by_epoch = dict(values)
        return Reported(by_epoch, sorted(by_epoch))

    @property
    def last_epoch(self) -> int:
        """The latest epoch reported; 0 before the first report."""
        return self.epochs[-1] if self.epochs else 0

    @property
    def in_order(self) -> tuple[float, ...]:
        """The values in the order of the epochs."""
        return tuple(map(self.values.__getitem__, self.epochs))

    @property
    def gapped_epochs(self) -> tuple[int, ...] | None:
        """The epochs, ascending; None if they are 1, 2, ... without a gap."""
        return None if self.last_epoch == len(self.epochs) else tuple(self.epochs)

    def add(self, epoch: int, value: float) -> None:
        """Add the value of an epoch that was not reported before."""
        self.values[epoch] = value
        # Nearly all reports come in order.
        if not self.epochs or epoch > self.epochs[-1]:
            self.epochs.append(epoch)
        else:
            self.epochs.insert(bisect_left(self.epochs, epoch), epoch)

    def at(self, epoch: int) -> float:
        """Return the value of the curve at an epoch.

        Args:
            epoch: In 1..last_epoch.
        """
        value = self.values.get(epoch)
        if value is not None:
            return value
        i = bisect_left(self.epochs, epoch)
        after, value = self.epochs[i], self.values[self.epochs[i]]
        if i == 0:
            return value  # before the first report nothing is known, so the line is flat
        before = self.epochs[i - 1]
        start = self.values[before]
        return start + (value - start) * (epoch - before) / (after - before)

    def around(self, epoch: int) -> tuple[int, int]:
        """Return the reported epochs before and after a reported one that is not the last; 0 if there is none before."""
        i = bisect_left(self.epochs, epoch)
        return (self.epochs[i - 1] if i else 0), self.epochs[i + 1]


def curve_on(grid: Grid, curve: LearningCurve) -> LearningCurve:
    """Return a curve at the points of a grid that it reached, without epochs of its own: as a predictor takes it.

    Args:
        grid: Points up to the epoch that is to be predicted.
        curve: Curve after epochs 1..tau, or after epochs of its own.

    Examples:
        >>> curve_on(Grid(4), LearningCurve("a", {}, (0.5, 0.75), epochs=(1, 3))).values
        (0.5, 0.625, 0.75)
    """
    if curve.epochs is None and grid.is_every_epoch:
        return curve
    reported = Reported.of(zip(curve.epochs or range(1, len(curve.values) + 1), curve.values, strict=True))
    values = (reported.at(grid.epoch(point)) for point in range(1, grid.n_points(reported.last_epoch) + 1))
    return LearningCurve(curve.trial, curve.configuration, tuple(values))
