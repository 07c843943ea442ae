"""Optuna's trials as learning curves: values reported at any steps become values of epochs 1..max_epochs.

Only what was reported is sent to a study, which draws the curve through it; see `curvestop.srm.reported`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from curvestop.srm.curve import Configuration
from curvestop.srm.trial import EndState
from curvestop.srm.validation import LARGEST_VALUE, is_name

STOPPED_AT, PREDICTED, REASON = "curvestop:stopped_at_step", "curvestop:predicted", "curvestop:reason"
"""User attributes of a trial that returned a predicted value instead of being pruned (`SRMPruner.value_or_prune`)."""


@dataclass(frozen=True)
class StepGrid:
    """Map Optuna's steps to epochs.

    Attributes:
        max_epochs: Number of epochs of a complete trial.
        first_step: The step that a trial reports after its first epoch: 0 for `for step in range(max_epochs)`, else 1.

    Examples:
        >>> [StepGrid(max_epochs=10, first_step=0).epoch(step) for step in (0, 4, 99)]
        [1, 5, 10]
    """

    max_epochs: int
    first_step: int = 0

    def epoch(self, step: int) -> int:
        """Return the epoch of a step; steps outside of the grid count as the nearest epoch in 1..max_epochs.

        Args:
            step: A step, as given to `trial.report`.
        """
        return min(max(step - self.first_step + 1, 1), self.max_epochs)

    @property
    def last_step(self) -> int:
        """The step of the last epoch."""
        return self.step_of(self.max_epochs)

    def step_of(self, epoch: int) -> int:
        """Return the step that a trial reports after this epoch.

        Args:
            epoch: An epoch in 1..max_epochs.
        """
        return epoch + self.first_step - 1  # the inverse of `epoch` within the grid

    def reports(self, trial: FrozenTrial) -> Reports:
        """Return the values that a trial reported, by epoch.

        Args:
            trial: The trial, running or ended, as the storage has it.
        """
        # Of several steps of one epoch, the last one counts.
        return Reports(self, {self.epoch(step): trial.intermediate_values[step] for step in sorted(trial.intermediate_values)})


@dataclass(frozen=True)
class Reports:
    """The values that one trial reported.

    Attributes:
        grid: The map from steps to epochs.
        values: Value by epoch, ascending; may be not finite.
    """

    grid: StepGrid
    values: dict[int, float]

    @property
    def last_epoch(self) -> int:
        """The epoch reported last; 0 without a report."""
        return next(reversed(self.values), 0)

    @property
    def diverged(self) -> bool:
        """Return whether the value reported last is not finite."""
        return bool(self.values) and not _is_finite(self.values[self.last_epoch])

    def finite(self) -> dict[int, float]:
        """Return the values by epoch, ascending; those that are not finite count as not reported."""
        return {epoch: value for epoch, value in self.values.items() if _is_finite(value)}

    def complete(self, final: float) -> dict[int, float]:
        """Return the values of a trial whose objective returned `final`; none for a trial that reported nothing.

        The trial reached the last epoch, unless its next report would have come before that. In that case it ended early: `final`
        is the value one epoch after the last report, or that of the last report if they are equal.

        Args:
            final: What the objective returned, finite.

        Returns:
            Values by epoch, ascending; up to max_epochs unless the trial ended early.
        """
        known = self.finite()
        if not known:
            return {}
        last, max_epochs = max(known), self.grid.max_epochs
        # A trial that reports every 5 epochs is at epoch 95 of 100 when it reports last and returns.
        spacing = max(later - earlier for earlier, later in pairwise([0, *known]))
        if last + spacing >= max_epochs:
            known[max_epochs] = final  # it replaces a value reported there: the objective's result is the final value
        elif known[last] != final:
            known[last + 1] = final
        return known


def end_state(trial: FrozenTrial) -> EndState:
    """Return how an ended trial ended, in a study's terms.

    Args:
        trial: A trial that ended; for Optuna, one that returned a prediction is complete, here it was stopped.
    """
    if final_value(trial) is not None:
        return "finished"
    return "stopped" if trial.state == TrialState.PRUNED or STOPPED_AT in trial.user_attrs else "failed"


def final_value(trial: FrozenTrial) -> float | None:
    """Return the value of a trial that trained to its end; None for any other trial, also one that returned a prediction."""
    # A trial with STOPPED_AT is COMPLETE to Optuna, but its value is a prediction.
    if trial.state != TrialState.COMPLETE or STOPPED_AT in trial.user_attrs or trial.value is None:
        return None
    return trial.value if _is_finite(trial.value) else None


def configuration_of(trial: FrozenTrial) -> Configuration:
    """Return a trial's parameters; a choice that is neither number nor string (None, a class) becomes its text.

    Args:
        trial: The trial; parameters whose names a study refuses are left out.
    """
    return {name: _plain_value(value) for name, value in trial.params.items() if is_name(name)}


def _is_finite(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= LARGEST_VALUE


def _plain_value(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | str):  # bool before int: True is an int too
        return value
    return value if isinstance(value, int | float) and _is_finite(value) else str(value)
