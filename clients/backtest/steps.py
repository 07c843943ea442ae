"""Steps become epochs: by their place on one even grid, by their order, or at common steps with straight lines between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median, median_high
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from curvestop.srm.interpolation import linear_fill
from curvestop.srm.validation import LARGEST_VALUE

if TYPE_CHECKING:
    from curvestop.clients.backtest.runs import Run

MOST_EPOCHS = 10_000
"""Steps that would make more epochs than this are not epochs."""
MIN_REPORTED = 0.5
"""Share of the epochs up to a run's last that must have been reported for its steps to count as epochs."""
ALIKE = 1.25
"""Runs whose distances between reports differ by less than this factor report equally often."""
MOST_ALIKE = 0.9
"""Share of the runs that must report equally often for their k-th values to belong together, whatever their numbers."""


class EpochValues(NamedTuple):
    """The values of runs by epoch.

    Attributes:
        values: The values of each run after epochs 1, 2, ...
        steps: What an epoch is, for people.
        note: What was done about steps that differ from run to run; None where they do not.
    """

    values: list[list[float]]
    steps: str
    note: str | None = None


def values_by_epoch(runs: Sequence[Run]) -> EpochValues:
    """Turn the steps of runs into epochs.

    Steps that are integers on one even grid are epochs by their place on it. Otherwise, the k-th values of all runs belong
    together where the runs report equally often, or where more of them agree in their number of reports than in their last step
    (equally many epochs of different lengths). Where neither holds, values are taken at common steps.

    Args:
        runs: Runs with at least one value each.

    Examples:
        >>> from curvestop.clients.backtest.runs import Run
        >>> coarse = Run("a", {}, (8, 16), (0.5, 0.7))
        >>> fine = Run("b", {}, (3, 6, 9, 12, 15), (0.1, 0.2, 0.3, 0.4, 0.5))
        >>> [[round(value, 2) for value in its] for its in values_by_epoch([coarse, fine]).values]
        [[0.5, 0.7], [0.27, 0.5]]
    """
    by_grid = _on_one_grid(runs)
    if by_grid is not None:
        return by_grid
    spacings = [_distance(run) for run in runs if len(run.steps) > 1]
    middle = median_high(spacings) if spacings else 0.0
    n_alike = sum(middle / ALIKE <= spacing <= middle * ALIKE for spacing in spacings)
    in_order = [list(run.values) for run in runs], "a run's values in their order, as steps are not on one even grid"
    if n_alike >= MOST_ALIKE * len(spacings):
        return EpochValues(*in_order)
    differ = _how_they_differ(runs)
    if _agree_in_number(runs, middle):
        return EpochValues(*in_order, f"{differ}: the k-th values of all runs are compared, as most have equally many")
    return _at_common_steps(runs, middle, differ)


def _on_one_grid(runs: Sequence[Run]) -> EpochValues | None:
    first, spacing = min(run.steps[0] for run in runs), _common_divisor(runs)
    if not spacing:
        return None
    epochs = [[round((step - first) / spacing) + 1 for step in run.steps] for run in runs]
    # A grid so fine that most epochs were not reported is not what anyone means by epochs.
    is_dense = sum(map(len, epochs)) >= MIN_REPORTED * sum(its[-1] for its in epochs)
    if not is_dense or max(its[-1] for its in epochs) > MOST_EPOCHS:
        return None
    every = "every step" if spacing == 1 else f"every {spacing} steps"
    return EpochValues([_filled(its, run.values) for its, run in zip(epochs, runs, strict=True)], f"{every} from step {first:g}")


def _common_divisor(runs: Sequence[Run]) -> int:
    """Return the greatest common divisor of all distances between steps; 0 if steps are not integers."""
    distinct = sorted({step for run in runs for step in run.steps})
    if not all(float(step).is_integer() for step in distinct):
        return 0
    return math.gcd(*(int(step - distinct[0]) for step in distinct)) or 1


def _distance(run: Run) -> float:
    """Return the usual distance between two reports of a run that has several."""
    return float(median(later - earlier for earlier, later in pairwise(run.steps)))


def _agree_in_number(runs: Sequence[Run], spacing: float) -> bool:
    """Return whether more runs have the most reports than end at the last step, give or take one report."""
    most, last = max(len(run.steps) for run in runs), max(run.steps[-1] for run in runs)
    n_of_number = sum(len(run.steps) == most for run in runs)
    return n_of_number == len(runs) or n_of_number > sum(run.steps[-1] > last - spacing for run in runs)


def _how_they_differ(runs: Sequence[Run]) -> str:
    """Return the reports of the runs that report most and least often, for people."""
    several = [run for run in runs if len(run.steps) > 1]
    extremes = min(several, key=_distance), max(several, key=_distance)
    often, rarely = (
        f"{run.trial!r} every {_distance(run):g} steps from {run.steps[0]:g} to {run.steps[-1]:g}" for run in extremes
    )
    return f"runs report at different steps ({often}, {rarely})"


def _at_common_steps(runs: Sequence[Run], spacing: float, differ: str) -> EpochValues:
    """Return values at the steps of the runs that report usually often; between two reports lie straight lines."""
    first = next(run.steps[0] for run in runs if len(run.steps) > 1 and _distance(run) == spacing)
    spacing = max(spacing, (max(run.steps[-1] for run in runs) - first) / MOST_EPOCHS)
    steps = f"every {spacing:g} steps from step {first:g}"
    note = f"{differ}: they are compared {steps}, with straight lines between two reports"
    return EpochValues([_resampled(run, first, spacing) for run in runs], steps, note)


def _resampled(run: Run, first: float, spacing: float) -> list[float]:
    """Return a run's values at `first`, `first + spacing`, ... up to its last report, or NaN where it diverged."""
    n_finite = next((i for i, value in enumerate(run.values) if not abs(value) <= LARGEST_VALUE), len(run.values))

    def epoch(step: float) -> int:
        return max(round((step - first) / spacing) + 1, 1)

    if n_finite == 0:
        return [math.nan]
    grid = first + spacing * np.arange(epoch(run.steps[n_finite - 1]))
    values: list[float] = np.interp(grid, run.steps[:n_finite], run.values[:n_finite]).tolist()
    if n_finite < len(run.values):
        values = values[: epoch(run.steps[n_finite]) - 1]
        values += [*values[-1:] * (epoch(run.steps[n_finite]) - 1 - len(values)), math.nan]
    return values


def _filled(epochs: Sequence[int], values: Sequence[float]) -> list[float]:
    """Return values after every epoch: missing ones lie on a straight line, those before the first are equal to it."""
    curve: list[float] = []
    for epoch, value in zip(epochs, values, strict=True):
        if math.isfinite(value):
            curve += linear_fill(curve, epoch, value)
        elif epoch > len(curve):
            # No line leads to a value that is not finite: the curve stays level until the epoch at which it diverged.
            curve += [*linear_fill(curve, epoch - 1, curve[-1] if curve else value), value]
    return curve
