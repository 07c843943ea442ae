"""Runs as a reader found them, and the curves made of them: steps become epochs, broken-off and diverged runs are marked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.srm.curve import Configuration
from curvestop.srm.interpolation import linear_fill
from curvestop.srm.metric_names import guess_direction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.validation import LARGEST_VALUE, is_name

MIN_COMPLETE_RUNS = 5
"""Unless max_epochs is given, it is the largest number of epochs that this many runs reached (or all, if there are fewer)."""
MOST_EPOCHS = 10_000
"""Steps that would make more epochs than this are not epochs."""
MIN_REPORTED = 0.5
"""Share of the epochs up to a run's last that must have been reported for its steps to count as epochs."""

RunEnd = Literal["finished", "unfinished", "unknown"]
"""What a source says about the end of a run: it ended by itself, or it broke off (pruned, failed, still running)."""
ShortRuns = Literal["finished", "unfinished"]
RunOutcome = Literal["complete", "finished early", "unfinished", "diverged"]
"""What became of a run. Only complete runs and those that finished early have a final value."""


@dataclass(frozen=True)
class Run:
    """One run as it was recorded.

    Attributes:
        trial: Name of the run.
        configuration: Its hyper-parameters by name.
        steps: `(k,)` steps, ascending, in any unit.
        values: `(k,)` metric at each step; not finite where the run diverged.
        ended: How it ended; "unknown" if the source does not say.
    """

    trial: str
    configuration: Configuration
    steps: tuple[float, ...]
    values: tuple[float, ...]
    ended: RunEnd = "unknown"


def run_of(trial: str, configuration: Configuration, points: Iterable[tuple[float, float]], ended: RunEnd = "unknown") -> Run:
    """Return a run made of its points.

    Args:
        trial: Name of the run.
        configuration: Its hyper-parameters by name.
        points: (step, value) in the order in which they were recorded; of several at one step the last one counts.
        ended: How it ended.
    """
    known = dict(points)  # a later value of the same step replaces the earlier one
    steps = tuple(sorted(known))
    return Run(trial, configuration, steps, tuple(known[step] for step in steps), ended)


@dataclass(frozen=True)
class Runs:
    """The runs that a reader found in a source.

    Attributes:
        source: Name of the source, for people.
        runs: The runs in the order in which they began.
        metric: Name of the metric.
        direction: Direction of the metric; None if the source does not say.
        left_out: What was not read and why, for people.
    """

    source: str
    runs: tuple[Run, ...]
    metric: str
    direction: Direction | None = None
    left_out: tuple[str, ...] = ()


class RecordedRun(NamedTuple):
    """Name, configuration and outcome of a run.

    Attributes:
        trial: Name of the run.
        configuration: Its hyper-parameters by name.
        outcome: What became of it.
    """

    trial: str
    configuration: Configuration
    outcome: RunOutcome


@dataclass(frozen=True)
class Curves(CurveSet):
    """The curves of recorded runs, with the runs' names and configurations.

    Attributes:
        source: Name of the source, for people.
        metric: Name of the metric.
        recorded: `(n,)` name, configuration and outcome of each run.
        steps: What steps the epochs were made of, for people.
        n_empty: Number of further runs without any value.
        left_out: What was not read and why, for people.
    """

    source: str = ""
    metric: str = "value"
    recorded: tuple[RecordedRun, ...] = ()
    steps: str = ""
    n_empty: int = 0
    left_out: tuple[str, ...] = ()

    def configuration(self, row: int) -> Configuration:
        """Return the configuration of a run by its row."""
        return self.recorded[row].configuration

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of runs by outcome, those without any value included."""
        found = Counter(run.outcome for run in self.recorded)
        return {**{outcome: found[outcome] for outcome in get_args(RunOutcome)}, "without values": self.n_empty}

    def in_order(self, order: npt.NDArray[np.intp], seed: int) -> Curves:
        """Return the same runs in another order.

        Args:
            order: `(n,)` rows in their new order.
            seed: Seed that the order was drawn with.
        """
        return replace(
            self,
            seed=seed,
            curves=self.curves[order],
            configurations=self.configurations[order],
            lengths=self.epochs[order],  # not `lengths`, which may be None
            complete=self.is_complete[order],
            recorded=tuple(self.recorded[row] for row in order.tolist()),
        )


def curves_of(
    found: Runs, *, direction: Direction | None = None, max_epochs: int | None = None, short_runs: ShortRuns = "unfinished"
) -> Curves:
    """Return the curves of recorded runs.

    Values between two reported epochs lie on a straight line. A run counts up to the epoch of its first value that is not finite.

    Args:
        found: The runs.
        direction: Direction of the metric. Default: what the source says, else what the metric's name implies.
        max_epochs: Number of epochs of a complete run, >= 2. Default: the largest that 5 runs reached (or all, if fewer).
        short_runs: What a shorter run is if its source does not say: "unfinished", so that nobody knows how it would have
            ended, or "finished", so that its last value is its final one.

    Raises:
        ValueError: If no run has a value, curves are shorter than 2 epochs, no run has a final value, or the metric's direction
            is not known.
    """
    with_values = [run for run in found.runs if run.values]
    if not with_values:
        raise ValueError(f"{found.source}: none of {len(found.runs)} runs has a value of {found.metric!r}")
    direction = direction or found.direction or _direction(found.metric, with_values)  # the user knows best, then the source
    values, steps = values_by_epoch(with_values)
    max_epochs = max_epochs or sorted(map(len, values))[-min(MIN_COMPLETE_RUNS, len(values))]
    if max_epochs < 2:
        raise ValueError(f"{found.source}: a learning curve must have at least 2 epochs, but these have {max_epochs}")
    curves = np.full((len(values), max_epochs), np.nan)  # `(n, T)`
    outcomes: list[RunOutcome] = []
    for row, (run, curve) in enumerate(zip(with_values, values, strict=True)):
        curve = _up_to_divergence(curve[:max_epochs])  # a longer run is cut: its value at T counts as final
        curves[row, : len(curve)] = curve
        outcomes.append(_outcome(run, curve, max_epochs, short_runs))
    # A diverged run also trained the epoch at which it diverged, whose value stays NaN.
    lengths = (~np.isnan(curves)).sum(axis=1) + np.array([outcome == "diverged" for outcome in outcomes])
    has_final = np.array([outcome in ("complete", "finished early") for outcome in outcomes])
    if not has_final.any():
        raise ValueError(f"{found.source}: a backtest needs runs that reached epoch {max_epochs} or finished early, but has none")
    recorded = [
        RecordedRun(run.trial, _accepted(run.configuration), outcome) for run, outcome in zip(with_values, outcomes, strict=True)
    ]
    return Curves(
        name="backtest",  # not the source's: Optuna's Hyperband draws brackets by the name
        seed=0,
        curves=curves,
        configurations=np.zeros((len(with_values), 0)),  # the real ones, which may have text, are in `recorded`
        direction=direction,
        lengths=lengths,
        complete=has_final,
        source=found.source,
        metric=found.metric,
        recorded=tuple(recorded),
        steps=steps,
        n_empty=len(found.runs) - len(with_values),
        left_out=found.left_out,
    )


def values_by_epoch(runs: Sequence[Run]) -> tuple[list[list[float]], str]:
    """Turn the steps of runs into epochs.

    Steps that are integers on one even grid are epochs by their position on it. Otherwise, the k-th value of a run is that of
    its epoch k.

    Args:
        runs: Runs with at least one value each.

    Returns:
        The values of each run after epochs 1, 2, ..., and what an epoch is, for people.
    """
    first, spacing = min(run.steps[0] for run in runs), _spacing(runs)
    if spacing:
        epochs = [[round((step - first) / spacing) + 1 for step in run.steps] for run in runs]
        # A grid so fine that most epochs were not reported is not what anyone means by epochs.
        is_dense = sum(map(len, epochs)) >= MIN_REPORTED * sum(its[-1] for its in epochs)
        if is_dense and max(its[-1] for its in epochs) <= MOST_EPOCHS:
            every = "every step" if spacing == 1 else f"every {spacing} steps"
            return [_filled(its, run.values) for its, run in zip(epochs, runs, strict=True)], f"{every} from step {first:g}"
    return [list(run.values) for run in runs], "a run's values in their order, as steps are not on one even grid"


def _direction(metric: str, runs: Sequence[Run]) -> Direction:
    """Return the direction that a metric's name implies, or that it implies for these values."""
    direction = guess_direction(metric, (run.values for run in runs))
    if direction is None:
        raise ValueError(
            f"the name {metric!r} does not tell whether higher or lower values are better: add --direction maximize or minimize"
        )
    return direction


def _spacing(runs: Sequence[Run]) -> int:
    """Return the greatest common divisor of all distances between steps; 0 if steps are not integers."""
    distinct = sorted({step for run in runs for step in run.steps})
    if not all(float(step).is_integer() for step in distinct):
        return 0
    return math.gcd(*(int(step - distinct[0]) for step in distinct)) or 1


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


def _up_to_divergence(curve: Sequence[float]) -> list[float]:
    """Return the values before the first one that is not finite or too large."""
    first = next((i for i, value in enumerate(curve) if not abs(value) <= LARGEST_VALUE), len(curve))
    return list(curve[:first])


def _outcome(run: Run, curve: Sequence[float], max_epochs: int, short_runs: ShortRuns) -> RunOutcome:
    # Reaching the last epoch counts first: a divergence after it does not matter.
    if len(curve) == max_epochs:
        return "complete"
    if not all(abs(value) <= LARGEST_VALUE for value in run.values):
        return "diverged"
    ended = short_runs if run.ended == "unknown" else run.ended
    return "finished early" if ended == "finished" else "unfinished"


def _accepted(configuration: Configuration) -> Configuration:
    """Return the entries that a study accepts: valid names, and numbers that are finite and not too large."""
    return {
        name: value
        for name, value in configuration.items()
        if is_name(name) and (isinstance(value, str) or abs(value) <= LARGEST_VALUE)
    }
