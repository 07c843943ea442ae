"""Steps that do not fit a pruner's settings: one warning says what to set."""

from __future__ import annotations

import logging

from optuna.trial import FrozenTrial

from curvestop.clients.optuna.trial_curves import StepGrid
from curvestop.srm.grid import Grid

_log = logging.getLogger(__name__)


class StepCheck:
    """Warns once if the steps that trials report do not fit `max_epochs` and `first_step`.

    Args:
        grid: The map from steps to epochs.
    """

    def __init__(self, grid: StepGrid) -> None:
        self._grid = grid
        self._has_warned = False
        self._latest: dict[int, tuple[int, int]] = {}  # trial number -> number of reports and latest step when it was seen last

    def see(self, trial: FrozenTrial) -> None:
        """Look at a running trial after a report.

        Args:
            trial: The trial, as the storage has it.
        """
        if self._has_warned or trial.last_step is None:
            return
        n_reports, step = len(trial.intermediate_values), trial.last_step
        n_before, step_before = self._latest.get(trial.number, (0, -1))
        self._latest[trial.number] = n_reports, step
        advice = self._advice(trial, step, n_reports > n_before and step == step_before)
        if advice:
            self._has_warned = True
            _log.warning("trial %d: %s", trial.number, advice)

    def _advice(self, trial: FrozenTrial, step: int, is_before_latest: bool) -> str:
        first, last = self._grid.first_step, self._grid.last_step
        if is_before_latest:
            return f"a step before step {step} was reported after it; steps must rise, so such a value decides nothing"
        if step == last + 1 and min(trial.intermediate_values) > first:
            # Of a long training one step makes no difference, and its last step is a natural max_epochs.
            if not Grid(self._grid.max_epochs).is_every_epoch:
                return ""
            return (
                f"step {step} is beyond step {last}, the last one of max_epochs={self._grid.max_epochs} with first_step={first}: "
                f"set first_step={first + 1}"
            )
        if step > last:
            return (
                f"step {step} is beyond step {last}, the last one of max_epochs={self._grid.max_epochs}, and counts as that one, "
                "after which nothing is pruned: set max_epochs to the last step of a complete trial, or report epochs"
            )
        if first > 0 and min(trial.intermediate_values) < first:
            return f"step {min(trial.intermediate_values)} is before first_step={first}: set first_step to the first step"
        return ""
