"""Optuna's trials as learning curves: what was reported at some steps, put on the grid of epochs 1..max_epochs.

One plain rule for all: the values between two reported steps lie on a straight line, before the first one they are the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from curvestop.srm.curve import Configuration
from curvestop.srm.interpolation import linear_fill
from curvestop.srm.study import EndState
from curvestop.srm.validation import LARGEST_VALUE, is_name

STOPPED_AT, PREDICTED, REASON = "curvestop:stopped_at_step", "curvestop:predicted", "curvestop:reason"
"""User attributes of a trial that returned a predicted value instead of being pruned."""


@dataclass(frozen=True)
class Grid:
    """first_step: the step of the first epoch; 0 for `for step in range(max_epochs)`. Other steps count as the nearest one."""

    max_epochs: int
    first_step: int = 0

    def epoch(self, step: int) -> int:
        return min(max(step - self.first_step + 1, 1), self.max_epochs)

    def reports(self, trial: FrozenTrial) -> Reports:
        return Reports(self, {self.epoch(step): trial.intermediate_values[step] for step in sorted(trial.intermediate_values)})


@dataclass(frozen=True)
class Reports:
    """What a trial reported: values by epoch, ascending."""

    grid: Grid
    values: dict[int, float]

    @property
    def last_epoch(self) -> int:
        """0 without a report."""
        return next(reversed(self.values), 0)

    @property
    def diverged(self) -> bool:
        """Whether the value reported last is not a finite number."""
        return bool(self.values) and not _is_finite(self.values[self.last_epoch])

    def curve(self) -> list[float]:
        """Values after epochs 1, 2, ... up to the last one with a finite value; those that are not count as missing."""
        known = [(epoch, value) for epoch, value in self.values.items() if _is_finite(value)]
        return _straight(known)

    def complete_curve(self, final: float) -> list[float]:
        """The curve of a trial that ended by itself with this value.

        It reached the last epoch, unless the next report on its own grid would have come before that: then it ended early, and
        its value (when it is not what it reported last) stands one epoch later. Empty for a trial that reported nothing.
        """
        known = {epoch: value for epoch, value in self.values.items() if _is_finite(value)}
        if not known:
            return []
        last, horizon = max(known), self.grid.max_epochs
        spacing = max(later - earlier for earlier, later in pairwise([0, *known]))
        if last + spacing >= horizon:
            known[horizon] = final
        elif known[last] != final:
            known[last + 1] = final
        return _straight(sorted(known.items()))


def end_state(trial: FrozenTrial) -> EndState:
    """How a trial that is over ended, for a study."""
    if final_value(trial) is not None:
        return "finished"
    return "stopped" if trial.state == TrialState.PRUNED or STOPPED_AT in trial.user_attrs else "failed"


def final_value(trial: FrozenTrial) -> float | None:
    """What its objective returned after training to the end; None for any other trial."""
    if trial.state != TrialState.COMPLETE or STOPPED_AT in trial.user_attrs or trial.value is None:
        return None
    return trial.value if _is_finite(trial.value) else None


def configuration_of(trial: FrozenTrial) -> Configuration:
    """Its parameters; a choice that is neither number nor text (None, a class) counts by its text."""
    return {name: _plain(value) for name, value in trial.params.items() if is_name(name)}


def _straight(known: Sequence[tuple[int, float]]) -> list[float]:
    """`(last epoch,)` values through `(epoch, value)` pairs, ascending."""
    curve: list[float] = []
    for epoch, value in known:
        curve += linear_fill(curve, epoch, value)
    return curve


def _is_finite(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= LARGEST_VALUE


def _plain(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | str):
        return value
    return value if isinstance(value, int | float) and _is_finite(value) else str(value)
