"""`CurveSet`: the learning curves of one search in the order of arrival; `Outcome`: what a replay of them saved and lost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import Configuration, LearningCurve
from curvestop.srm.policies.stopping_rule import Direction

Array = npt.NDArray[np.float64]

NO_STATEMENTS: Array = np.empty(0)
"""The probabilities of a rule that states none."""
RECOVERED_WITHIN = 1e-3
"""The search recovered its best run if its final pick is within this of the best final value, in the metric's unit."""
N_GOOD = 7
"""Number of the best runs, but at most a tenth of all, whose loss counts as risk. Three orders of seven can tell 5 %."""


@dataclass(frozen=True)
class CurveSet:
    """Learning curves in the order of their arrival.

    Attributes:
        name: Name of the search.
        seed: Seed of the order; with the name it seeds whatever is drawn in a replay.
        curves: `(n, T)` metric of run i after epoch j + 1; entries after a run's last epoch are not used.
        configurations: `(n, f)` hyper-parameters as numbers.
        direction: "maximize" if higher is better, or "minimize".
        lengths: `(n,)` epochs 1..T that each run trained; None if all trained T. The value there is not finite if the run
            diverged.
        complete: `(n,)` whether the last value is the run's final one; None if all are.

    Examples:
        >>> curves = CurveSet("demo", 0, np.array([[0.5, 0.6], [0.3, 0.4]]), np.array([[1.0], [2.0]]), "maximize")
        >>> curves.max_epochs, curves.finals.tolist(), curves.configuration(1)
        (2, [0.6, 0.4], {'x0': 2.0})
    """

    name: str
    seed: int
    curves: Array
    configurations: Array
    direction: Direction
    lengths: npt.NDArray[np.intp] | None = None
    complete: npt.NDArray[np.bool_] | None = None

    @property
    def sign(self) -> float:
        """1 if higher values are better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def max_epochs(self) -> int:
        """T, the number of epochs of a complete run."""
        return int(self.curves.shape[1])

    @cached_property
    def epochs(self) -> npt.NDArray[np.intp]:
        """`(n,)` epochs that each run trained."""
        return np.full(len(self.curves), self.max_epochs) if self.lengths is None else self.lengths

    @cached_property
    def is_complete(self) -> npt.NDArray[np.bool_]:
        """`(n,)` whether each run has a final value."""
        return np.ones(len(self.curves), dtype=bool) if self.complete is None else self.complete

    @cached_property
    def finals(self) -> Array:
        """`(n,)` final values as scores: higher is better, -inf for a run without one."""
        last = np.take_along_axis(self.curves, self.epochs[:, None] - 1, axis=1)[:, 0]  # `(n,)`
        scores: Array = np.where(self.is_complete, self.sign * last, -np.inf)
        return scores

    def configuration(self, row: int) -> Configuration:
        """Return the configuration of a run by its row."""
        # `(f,)` numbers without names of their own, but a study needs names.
        return {f"x{j}": value for j, value in enumerate(self.configurations[row].tolist())}

    def curve(self, row: int) -> LearningCurve:
        """Return the learning curve of a run by its row, all epochs that it trained."""
        return LearningCurve(str(row), self.configuration(row), tuple(self.curves[row, : self.epochs[row]].tolist()))


@dataclass(frozen=True)
class Outcome:
    """Figures of one replay: what a rule saved and lost.

    Only runs with a final value count as good, and only they may be the search's final pick.

    Attributes:
        speedup: All epochs over the epochs trained, the warm-up included; >= 1.
        time_speedup: The same for the simulated time on the workers.
        recovered: Whether the best run that was not stopped is within `RECOVERED_WITHIN` of the best of all.
        shortfall: By how much it is worse, in the metric, >= 0; inf if all were stopped.
        regret: The shortfall in standard deviations of the better half of the final values.
        top_stopped: Share of the best tenth that was stopped, in [0, 1].
        best_stopped: Whether the very best run was stopped.
        good_stopped: Whether each of the `N_GOOD` best runs (at most a tenth of all) was stopped, best first.
        stated: `(k,)` stated P(no better than the best so far), at each decision with a model.
        happened: `(k,)` 1 if that came true, else 0.
    """

    speedup: float
    time_speedup: float
    recovered: bool
    shortfall: float
    regret: float
    top_stopped: float
    best_stopped: bool
    good_stopped: tuple[bool, ...]
    stated: Array
    happened: Array

    @property
    def saved(self) -> float:
        """Share of the epochs that was not trained, in [0, 1)."""
        return 1 - 1 / self.speedup

    @staticmethod
    def of(
        curves: CurveSet,
        ended_at: Array,
        time_speedup: float | None = None,
        stated: Array = NO_STATEMENTS,
        happened: Array = NO_STATEMENTS,
    ) -> Outcome:
        """Compute the outcome of a replay.

        Args:
            curves: The curves that were replayed.
            ended_at: `(n,)` epochs that each run trained in the replay.
            time_speedup: Speed-up of the simulated time. Default: that of the epochs.
            stated: `(k,)` stated probabilities.
            happened: `(k,)` whether they came true.

        Raises:
            ValueError: If no run has a final value.
        """
        finals, stopped = curves.finals, ended_at < curves.epochs
        known = finals[curves.is_complete]  # `(k,)` scores
        if not len(known):
            raise ValueError(f"a replay needs a run that was trained to its end, but none of {len(finals)} runs was")
        left = finals[curves.is_complete & ~stopped]
        shortfall = float(known.max() - left.max()) if len(left) else np.inf
        top = finals >= np.quantile(known, 0.9)  # `(n,)` the best tenth, of which there is at least one run
        speedup = float(curves.epochs.sum()) / float(ended_at.sum())
        # A stable sort: of equal runs, the first counts as better, in every order the same way.
        good = np.argsort(-finals, kind="stable")[: min(N_GOOD, max(1, len(known) // 10))]
        return Outcome(
            speedup=speedup,
            time_speedup=speedup if time_speedup is None else time_speedup,
            recovered=shortfall <= RECOVERED_WITHIN,
            shortfall=shortfall,
            # The better half only: one diverged run would make any regret look small.
            regret=shortfall / (float(np.std(known[known >= np.median(known)])) or 1.0),
            top_stopped=float(stopped[top].mean()),
            best_stopped=bool(stopped[finals.argmax()]),
            good_stopped=tuple(stopped[good].tolist()),
            stated=stated,
            happened=happened,
        )
