"""What the trainings of a study count in: epochs, steps, tokens, seconds, or any unit.

Inside, every axis is a whole number of *ticks*, 1..max_epochs, which the rest of the code calls epochs. A step is a tick;
seconds, fractions and counts beyond 10^9 are scaled once, here, where they come in and where people read them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from curvestop.srm.validation import EpochOutOfRange

MOST_TICKS = 10**9
"""Largest number of ticks of a complete training."""
TIME_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
"""Seconds of each unit that is measured and not counted: it has fractions."""
_SINGULAR = {f"{unit}s": unit for unit in (*TIME_UNITS, "epoch", "step", "token", "sample", "iteration")}


@dataclass(frozen=True)
class Axis:
    """The axis of a study's curves.

    Attributes:
        unit: What is counted, singular.
        ticks: Number of ticks of a complete training.
        scaled_to: The same in the unit, if a tick is not 1 of the unit; None if it is.

    Examples:
        >>> steps, seconds = Axis("step", 50_000), axis_of("second", 600)
        >>> steps.tick(5000), steps.at(5000), seconds.at(seconds.tick(95.2))
        (5000, 'step 5,000', 'second 95.2')
    """

    unit: str = "epoch"
    ticks: int = MOST_TICKS
    scaled_to: float | None = None

    @property
    def max_resource(self) -> float:
        """Length of a complete training, in the unit."""
        return self.ticks if self.scaled_to is None else self.scaled_to

    @property
    def is_epochs(self) -> bool:
        """Whether it counts epochs: then a report is an epoch, unless it says otherwise."""
        return self.unit == "epoch" and self.scaled_to is None

    def tick(self, at: float) -> int:
        """Return the tick of a place on the axis.

        Args:
            at: In the unit, > 0. Beyond the end of an axis with fractions it counts as the end: no clock stops on time.

        Returns:
            The tick, in 1..ticks.

        Raises:
            ValueError: If it is no such number, or has a fraction where the unit is counted.
            EpochOutOfRange: If the unit is counted, and it is beyond the end.
        """
        if not is_number(at) or not (at > 0 and math.isfinite(at)):
            raise ValueError(f"at must be a number of {self.unit}s > 0, but got {at!r}")
        if self.scaled_to is not None:
            return min(max(round(float(at) * self.ticks / self.scaled_to), 1), self.ticks)
        if at != int(at):
            raise ValueError(
                f"at must be a whole number of {self.unit}s, but got {at!r}: "
                f"create the study with max_resource={float(self.ticks)!r} to report fractions"
            )
        if at > self.ticks:
            raise EpochOutOfRange(f"at must be at most max_resource = {self.span(self.ticks)}, but got {at!r}")
        return int(at)

    def amount(self, tick: int) -> float:
        """Return a tick in the unit: an int where it is whole."""
        if self.scaled_to is None:
            return tick
        amount = float(f"{tick * self.scaled_to / self.ticks:.9g}")
        return int(amount) if amount.is_integer() else amount

    def number(self, tick: int) -> str:
        """Return a tick in the unit, as people read it.

        Examples:
            >>> Axis("step", 50_000).number(5000), axis_of("second", 7200).number(12_345_678)
            ('5,000', '123.5')
        """
        amount = self.amount(tick)
        if isinstance(amount, int):
            return f"{amount:,}"
        return f"{amount:,.1f}" if amount >= 1000 else f"{amount:.4g}"

    def at(self, tick: int) -> str:
        """Return a place in words, like "step 5,000"."""
        return f"{self.unit} {self.number(tick)}"

    def span(self, ticks: int) -> str:
        """Return a length in words, like "5,000 steps"."""
        number = self.number(ticks)
        return f"{number} {self.unit}" if number == "1" else f"{number} {self.unit}s"


EPOCHS = Axis()
"""The axis of a study that says nothing of its resource, whatever its length."""


def axis_of(resource: str, max_resource: float) -> Axis:
    """Return the axis of a study.

    Args:
        resource: The unit, singular.
        max_resource: Length of a complete training in the unit. A whole number, except of a unit of time, is counted: then every
            place is whole. A float has fractions.

    Raises:
        ValueError: If it is no finite number > 0.
    """
    if not is_number(max_resource) or not (max_resource > 0 and math.isfinite(max_resource)):
        raise ValueError(f"max_resource must be a finite number of {resource}s > 0, but got {max_resource!r}")
    if isinstance(max_resource, Integral) and resource not in TIME_UNITS and max_resource <= MOST_TICKS:
        return Axis(resource, int(max_resource))
    # A power of ten, so that a place with few digits is a whole number of ticks.
    digits = math.floor(math.log10(MOST_TICKS / max_resource))
    return Axis(resource, max(round(max_resource * 10.0**digits), 1), float(max_resource))


def place(axis: Axis, values: Sequence[float], first_epoch: int, at: float | None) -> tuple[int, Sequence[float]]:
    """Return the tick of the first value of a report, and the values to store.

    Args:
        axis: Of the study.
        values: What is reported.
        first_epoch: Epoch of the first value; 1 where none was given.
        at: Where the only value stands, in the study's unit; None if `first_epoch` says so.

    Returns:
        The tick, and the values; none at 0, where nothing was trained yet.

    Raises:
        ValueError: If both were given, `at` comes with several values, or is missing on an axis that is not counted.
    """
    if at is None:
        if axis.scaled_to is not None and len(values):
            raise ValueError(f"at must be given, as the study counts {axis.unit}s: report(trial, value, at=...)")
        return first_epoch, values
    if first_epoch != 1 or len(values) > 1:
        raise ValueError(
            f"at says where one value stands, but got {at=!r}, {len(values)} values and {first_epoch=}: report them one by one"
        )
    if is_number(at) and at == 0:
        return 1, ()
    return axis.tick(at), values


def singular(resource: str) -> str:
    """Return the name of a unit as messages use it: "step" for "steps", any other as it is."""
    return _SINGULAR.get(resource, resource)


def is_number(value: object) -> bool:
    """Return whether a value is a real number, NumPy's among them, and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)
