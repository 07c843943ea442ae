"""Runs as a reader found them, and the curves made of them: steps become epochs, broken-off and diverged runs are marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.steps import values_by_epoch
from curvestop.srm.curve import Configuration
from curvestop.srm.metric_names import guess_direction
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.validation import LARGEST_VALUE, is_name

MIN_COMPLETE_RUNS = 5
"""Unless max_epochs is given, it is the largest number of epochs that this many runs reached (or all, if there are fewer)."""
MOST_NAMED = 3
"""Number of runs that a note names."""

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
        restarted_at: The step at which it began again last; what it had recorded there and later is left out. None: it did not.
    """

    trial: str
    configuration: Configuration
    steps: tuple[float, ...]
    values: tuple[float, ...]
    ended: RunEnd = "unknown"
    restarted_at: float | None = None


def run_of(trial: str, configuration: Configuration, points: Iterable[tuple[float, float]], ended: RunEnd = "unknown") -> Run:
    """Return a run made of its points.

    A step that goes back begins the run again, as after a crash or in a folder that is used twice: what was recorded before at
    that step or later does not count. Steps that are all 0 were never given: then the order of the points counts.

    Args:
        trial: Name of the run.
        configuration: Its hyper-parameters by name.
        points: (step, value) in the order in which they were recorded; of several at one step the last one counts.
        ended: How it ended.

    Examples:
        >>> run_of("a", {}, [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.6)])
        Run(trial='a', configuration={}, steps=(1, 2), values=(0.1, 0.6), ended='unknown', restarted_at=2)
        >>> run_of("b", {}, [(0, 0.1), (0, 0.2)]).steps
        (0, 1)
    """
    recorded = list(points)
    if all(step == 0 for step, _ in recorded):
        recorded = [(position, value) for position, (_, value) in enumerate(recorded)]
    elif recorded[-1][0] == 0 and recorded[-2][0] > 0:
        recorded.pop()  # a summary after the last step, of which the step was not given
    kept: list[tuple[float, float]] = []
    restarted_at = None
    for step, value in recorded:
        if kept and step < kept[-1][0]:
            restarted_at = step
        while kept and kept[-1][0] >= step:
            kept.pop()
        kept.append((step, value))
    return Run(trial, configuration, tuple(s for s, _ in kept), tuple(v for _, v in kept), ended, restarted_at)


def no_curves(source: str, how: str = "export the history: a row for every epoch of every run") -> ValueError:
    """Return the error of a source that has final values only.

    Args:
        source: Name of the source.
        how: How to get the curves.
    """
    return ValueError(f"{source} has one value for each run: no learning curves; {how}")


@dataclass(frozen=True)
class Runs:
    """The runs that a reader found in a source.

    Attributes:
        source: Name of the source, for people.
        runs: The runs in the order in which they began.
        metric: Name of the metric.
        direction: Direction of the metric; None if the source does not say.
        left_out: What was not read and why, for people.
        notes: What else the reader found out about the runs, for people.
    """

    source: str
    runs: tuple[Run, ...]
    metric: str
    direction: Direction | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
        notes: How the runs were read where that is not plain, for people.
    """

    source: str = ""
    metric: str = "value"
    recorded: tuple[RecordedRun, ...] = ()
    steps: str = ""
    n_empty: int = 0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    if all(len(run.values) == 1 for run in with_values):
        raise no_curves(found.source)
    values, steps, note = values_by_epoch(with_values)
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
        notes=(*found.notes, *_restarts(with_values), *([note] if note else [])),
    )


def _restarts(runs: Sequence[Run]) -> list[str]:
    """Return a sentence about the runs that began again; none if no run did."""
    again = [f"{run.trial} at step {run.restarted_at:g}" for run in runs if run.restarted_at is not None]
    if not again:
        return []
    some = ", ".join(again[:MOST_NAMED]) + (", ..." if len(again) > MOST_NAMED else "")
    return [f"{plural(len(again), 'run')} began again ({some}): what was recorded before at that step or later does not count"]


def _direction(metric: str, runs: Sequence[Run]) -> Direction:
    """Return the direction that a metric's name implies, or that it implies for these values."""
    direction = guess_direction(metric, (run.values for run in runs))
    if direction is None and guess_direction(metric) is not None:
        raise ValueError(
            f"values of {metric!r} are never above 0 and fall, so nobody can tell whether it is a negated loss: add --direction "
            "maximize or minimize"
        )
    if direction is None:
        raise ValueError(f"the name {metric!r} does not tell whether higher is better: add --direction maximize or minimize")
    return direction


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
