"""Runs as a reader found them, and how they become curves of equal epochs: steps to epochs, broken-off and diverged runs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.srm.curve import Configuration
from curvestop.srm.interpolation import linear_fill
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.validation import LARGEST_VALUE, is_name

MIN_COMPLETE_RUNS = 5
"""As many runs (or all, if there are fewer) reached the last epoch, unless it is given."""
MOST_EPOCHS = 10_000
DENSE = 0.5
"""Share of the epochs up to a run's last that must have been reported for its steps to count as epochs."""

End = Literal["finished", "unfinished", "unknown"]
ShortRuns = Literal["finished", "unfinished"]
RunOutcome = Literal["whole", "finished early", "unfinished", "diverged"]

_LOWER_IS_BETTER = re.compile(r"loss|error|err\b|perplexity|ppl|rmse|mse|mae|nll|wer\b|cer\b|bits|divergence|fid\b|regret", re.I)
_HIGHER_IS_BETTER = re.compile(r"acc|auc|auroc|f1|precision|recall|score|reward|return|bleu|rouge|map\b|iou|dice|r2\b|psnr", re.I)


@dataclass(frozen=True)
class Run:
    """One run as it was recorded.

    steps: `(k,)` ascending, in any unit; values: `(k,)` of the metric, not finite where it diverged. ended: "unknown" where the
    source does not say whether it ended by itself.
    """

    trial: str
    configuration: Configuration
    steps: tuple[float, ...]
    values: tuple[float, ...]
    ended: End = "unknown"


def run_of(trial: str, configuration: Configuration, points: Iterable[tuple[float, float]], ended: End = "unknown") -> Run:
    """A run from `(step, value)` points in the order of their recording; of several at one step the last one counts."""
    known = dict(points)
    steps = tuple(sorted(known))
    return Run(trial, configuration, steps, tuple(known[step] for step in steps), ended)


@dataclass(frozen=True)
class Runs:
    """What a reader found, in the order in which the runs began.

    metric: its name. direction: None where the source does not say. left_out: what was not read and why, for people.
    """

    source: str
    runs: tuple[Run, ...]
    metric: str
    direction: Direction | None = None
    left_out: tuple[str, ...] = ()


class Recorded(NamedTuple):
    """What is known of a run beside its curve."""

    trial: str
    configuration: Configuration
    fate: RunOutcome


@dataclass(frozen=True)
class Curves(CurveSet):
    """Curves with the runs' own names and configurations.

    recorded: `(n,)`. steps: what the epochs were made of, for people. n_silent: runs without any value.
    """

    source: str = ""
    metric: str = "value"
    recorded: tuple[Recorded, ...] = ()
    steps: str = ""
    n_silent: int = 0
    left_out: tuple[str, ...] = ()

    def configuration(self, row: int) -> Configuration:
        return self.recorded[row].configuration

    @property
    def counts(self) -> Mapping[str, int]:
        """How many runs had which fate, those without any value too."""
        found = Counter(run.fate for run in self.recorded)
        return {**{fate: found[fate] for fate in get_args(RunOutcome)}, "without values": self.n_silent}

    def in_order(self, order: npt.NDArray[np.intp], seed: int) -> Curves:
        """The same runs in another order."""
        return replace(
            self,
            seed=seed,
            curves=self.curves[order],
            configurations=self.configurations[order],
            lengths=self.epochs[order],
            whole=self.is_whole[order],
            recorded=tuple(self.recorded[row] for row in order.tolist()),
        )


def curves_of(
    found: Runs, *, direction: Direction | None = None, max_epochs: int | None = None, short_runs: ShortRuns = "unfinished"
) -> Curves:
    """Curves of `max_epochs` epochs, by default as many as 5 runs reached (or all, when there are fewer).

    short_runs: what a shorter run is whose source does not say: "unfinished", so that nobody knows how it would have ended, or
    "finished", so that its last value is its final one. Values between two reported epochs lie on a straight line. A run counts
    up to the epoch of its first value that is not finite. Raises ValueError when there is nothing to replay.
    """
    direction = direction or found.direction or guessed_direction(found.metric)
    told = [run for run in found.runs if run.values]
    if not told:
        raise ValueError(f"{found.source} has no run with a value of {found.metric!r}, but {len(found.runs)} runs without one")
    values, steps = on_epochs(told)
    horizon = max_epochs or sorted(map(len, values))[-min(MIN_COMPLETE_RUNS, len(values))]
    if horizon < 2:
        raise ValueError(f"a learning curve needs 2 epochs or more, but those of {found.source} have {horizon}")
    curves = np.full((len(values), horizon), np.nan)
    fates: list[RunOutcome] = []
    for row, (run, curve) in enumerate(zip(told, values, strict=True)):
        curve = _up_to_divergence(curve[:horizon])
        curves[row, : len(curve)] = curve
        fates.append(_fate(run, curve, horizon, short_runs))
    lengths = (~np.isnan(curves)).sum(axis=1) + np.array([fate == "diverged" for fate in fates])
    if not {"whole", "finished early"} & set(fates):
        raise ValueError(f"a backtest needs runs that reached epoch {horizon} or finished before, but {found.source} has none")
    return Curves(
        name="backtest",  # not the source's: Optuna's Hyperband draws brackets by the name
        seed=0,
        curves=curves,
        configurations=np.zeros((len(told), 0)),
        direction=direction,
        lengths=lengths,
        whole=np.array([fate in ("whole", "finished early") for fate in fates]),
        source=found.source,
        metric=found.metric,
        recorded=tuple(Recorded(run.trial, _plain(run.configuration), fate) for run, fate in zip(told, fates, strict=True)),
        steps=steps,
        n_silent=len(found.runs) - len(told),
        left_out=found.left_out,
    )


def on_epochs(runs: Sequence[Run]) -> tuple[list[list[float]], str]:
    """`(epochs,)` values of each run, and what an epoch is, for people.

    Whole steps on one even grid are epochs by their place on it. Where they are not, the k-th value of a run is that of epoch k.
    """
    first, spacing = min(run.steps[0] for run in runs), _spacing(runs)
    if spacing:
        places = [[round((step - first) / spacing) + 1 for step in run.steps] for run in runs]
        if sum(map(len, places)) >= DENSE * sum(p[-1] for p in places) and max(p[-1] for p in places) <= MOST_EPOCHS:
            every = "every step" if spacing == 1 else f"every {spacing} steps"
            return [_filled(p, run.values) for p, run in zip(places, runs, strict=True)], f"{every} from step {first:g}"
    return [list(run.values) for run in runs], "the values of a run in their order, as their steps are not on one even grid"


def guessed_direction(metric: str) -> Direction:
    """Raises ValueError where the name of a metric tells nothing."""
    lower, higher = (bool(words.search(metric)) for words in (_LOWER_IS_BETTER, _HIGHER_IS_BETTER))
    if lower == higher:
        raise ValueError(f"is a higher {metric!r} better? Its name does not say: --direction maximize or --direction minimize")
    return "minimize" if lower else "maximize"


def _spacing(runs: Sequence[Run]) -> int:
    """The greatest common divisor of all distances between steps; 0 where steps are not whole numbers."""
    distinct = sorted({step for run in runs for step in run.steps})
    if not all(float(step).is_integer() for step in distinct):
        return 0
    return math.gcd(*(int(step - distinct[0]) for step in distinct)) or 1


def _filled(epochs: Sequence[int], values: Sequence[float]) -> list[float]:
    """Values after every epoch; before the first reported one all are equal to it, and between two they lie on a line."""
    curve: list[float] = []
    for epoch, value in zip(epochs, values, strict=True):
        if math.isfinite(value):
            curve += linear_fill(curve, epoch, value)
        elif epoch > len(curve):
            curve += [*linear_fill(curve, epoch - 1, curve[-1] if curve else value), value]
    return curve


def _up_to_divergence(curve: Sequence[float]) -> list[float]:
    """The values before the first one that is no usable number (it is left out itself)."""
    first = next((i for i, value in enumerate(curve) if not abs(value) <= LARGEST_VALUE), len(curve))
    return list(curve[:first])


def _fate(run: Run, curve: Sequence[float], horizon: int, short_runs: ShortRuns) -> RunOutcome:
    if len(curve) == horizon:
        return "whole"
    if not all(abs(value) <= LARGEST_VALUE for value in run.values):
        return "diverged"
    ended = short_runs if run.ended == "unknown" else run.ended
    return "finished early" if ended == "finished" else "unfinished"


def _plain(configuration: Configuration) -> Configuration:
    """Without values that a study does not take: not finite, or too large."""
    return {
        name: value
        for name, value in configuration.items()
        if is_name(name) and (isinstance(value, str) or abs(value) <= LARGEST_VALUE)
    }
