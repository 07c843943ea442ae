"""The plan of Hyperband: how many configurations train for how many epochs. Integer arithmetic only.

Baker 2017 (thesis), Algorithm 1, after Li et al. 2017: s_max = floor(log_eta R), B = (s_max + 1) R, and for each bracket
s = s_max..0: n = ceil(B/R eta^s / (s + 1)), n_i = floor(n eta^-i), r_i = R eta^(i - s). In code, R is `max_epochs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

FIRST_RUNG_SHARE = 27
"""The first rung of a single bracket has at least one epoch in so many: `python -m benchmarks.hyperband.anytime` compares."""

LARGEST_BUDGET = 1e12
"""A budget beyond this is a mistake; up to it, the sizes of rungs are exact in floating point."""


@dataclass(frozen=True)
class Rung:
    """One step of successive halving.

    Attributes:
        n_configurations: Number of configurations that train here, the paper's n_i.
        epochs: Epochs that each has trained at the end of the rung, the paper's r_i.
    """

    n_configurations: int
    epochs: int


@dataclass(frozen=True)
class Bracket:
    """One run of successive halving.

    Attributes:
        rungs: The rungs in order; their epochs strictly increase up to max_epochs.

    Examples:
        >>> Bracket((Rung(9, epochs=1), Rung(3, epochs=3), Rung(1, epochs=9))).n_epochs  # 9 x 1 + 3 x 2 + 1 x 6
        21
    """

    rungs: tuple[Rung, ...]

    @property
    def s(self) -> int:
        """The paper's s: how many times the bracket's configurations are cut down."""
        return len(self.rungs) - 1

    @property
    def n_configurations(self) -> int:
        """Number of configurations that the bracket begins with."""
        return self.rungs[0].n_configurations

    @property
    def n_epochs(self) -> int:
        """Epochs the bracket trains when every promoted configuration continues from its checkpoint."""
        first = self.rungs[0]
        later = sum(rung.n_configurations * (rung.epochs - before.epochs) for before, rung in pairwise(self.rungs))
        return first.n_configurations * first.epochs + later


def brackets(max_epochs: int, *, eta: int = 3) -> tuple[Bracket, ...]:
    """Return the brackets s = s_max..0 of one iteration of Hyperband.

    If max_epochs is not a power of eta, r_i = max_epochs eta^(i - s) is rounded down. The last rung still has exactly
    max_epochs, and because max_epochs >= eta^s every rung has at least one epoch and is longer than the one before.

    Args:
        max_epochs: Most epochs that any configuration trains, >= 1; the paper's R.
        eta: One configuration in eta is promoted to the next rung, >= 2.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> for bracket in brackets(9, eta=3):
        ...     print(bracket.s, [(rung.n_configurations, rung.epochs) for rung in bracket.rungs])
        2 [(9, 1), (3, 3), (1, 9)]
        1 [(5, 3), (1, 9)]
        0 [(3, 9)]
    """
    _check(max_epochs, eta)
    # s_max = floor(log_eta R) by counting: a floating-point logarithm is one too small for R = 243, eta = 3.
    s_max = 0
    while eta ** (s_max + 1) <= max_epochs:
        s_max += 1
    return tuple(_bracket(max_epochs, eta, s, s_max) for s in range(s_max, -1, -1))


def _check(max_epochs: int, eta: int) -> None:
    """Check what every plan begins with.

    Raises:
        ValueError: If max_epochs < 1 or eta < 2.
    """
    if max_epochs < 1:
        raise ValueError(f"max_epochs must be >= 1, but got {max_epochs}")
    if eta < 2:
        raise ValueError(f"eta must be >= 2, but got {eta}")


def _bracket(max_epochs: int, eta: int, s: int, s_max: int) -> Bracket:
    # Algorithm 1, line 2: n = ceil((s_max + 1) eta^s / (s + 1)), where -(-a // b) is the ceiling of a / b.
    n = -(-(s_max + 1) * eta**s // (s + 1))
    # Line 5: n_i = floor(n eta^-i), r_i = R eta^(i - s).
    return Bracket(tuple(Rung(n // eta**i, max_epochs * eta**i // eta**s) for i in range(s + 1)))


def single_bracket(max_epochs: int, *, eta: int = 3, budget: float) -> Bracket:
    """Return one bracket of successive halving that spends a budget.

    Its first rung has about max_epochs / 27 epochs, each other one eta times as many, as in a bracket of Hyperband.

    Args:
        max_epochs: Most epochs that any configuration trains, >= 1.
        eta: One configuration in eta is promoted to the next rung, >= 2.
        budget: Epochs to spend, in full trainings (of max_epochs epochs each). The bracket has the most configurations that cost
            no more.

    Raises:
        ValueError: If an argument is out of range, or the budget is too small for one configuration in the last rung, or beyond
            `LARGEST_BUDGET`.

    Examples:
        >>> bracket = single_bracket(27, eta=3, budget=20)
        >>> [(rung.n_configurations, rung.epochs) for rung in bracket.rungs], bracket.n_epochs
        ([(188, 1), (62, 3), (20, 9), (6, 27)], 540)
    """
    _check(max_epochs, eta)
    # Rounded, not rounded down as in Hyperband: a first rung of two epochs ranks much better than one of a single epoch.
    shares = [eta**k for k in range(FIRST_RUNG_SHARE.bit_length()) if eta**k <= FIRST_RUNG_SHARE]
    lengths = sorted({max((2 * max_epochs + share) // (2 * share), 1) for share in shares})
    s = len(lengths) - 1

    def halving(n: int) -> Bracket:
        return Bracket(tuple(Rung(n // eta**i, epochs) for i, epochs in enumerate(lengths)))

    least, epochs = halving(eta**s), budget * max_epochs
    if math.isfinite(budget) and budget > LARGEST_BUDGET:
        raise ValueError(f"budget must be at most {LARGEST_BUDGET:g} full trainings, but got {budget!r}")
    if not (math.isfinite(budget) and epochs >= least.n_epochs):
        needed = math.ceil(100 * least.n_epochs / max_epochs) / 100
        raise ValueError(
            f"budget must be at least {needed:g} full trainings for one configuration to be complete, but got {budget!r}"
        )
    n = eta**s * int(epochs // least.n_epochs)  # costs so many times the least
    while halving(n + 1).n_epochs <= epochs:
        n += 1
    return halving(n)


def total_epochs(plan: Iterable[Bracket]) -> int:
    """Return the epochs that all brackets of a plan train.

    Args:
        plan: Brackets, of one iteration or several; a promoted configuration continues from its checkpoint.
    """
    return sum(bracket.n_epochs for bracket in plan)


def fewest_epochs(plan: Iterable[Bracket], *, kappa: float, min_curves: int = 0, n_iterations: int = 1) -> int:
    """Return the least number of epochs that Algorithm 2 trains, which perfect predictions would reach.

    Every configuration trains for one epoch, and max(1, ceil(kappa n_next)) of every rung train to its end; all of them do until
    `min_curves` curves have reached that epoch, as nothing is predicted before.

    Args:
        plan: The brackets of one iteration.
        kappa: See `BracketScheduler`.
        min_curves: The paper's d. Default: predictions begin at once.
        n_iterations: Consecutive runs of Hyperband, which share their curves.

    Examples:
        >>> plan = brackets(9)
        >>> total_epochs(plan), fewest_epochs(plan, kappa=0.5), fewest_epochs(plan, kappa=0.5, min_curves=20)
        (69, 41, 69)
    """
    brackets_in_order = tuple(plan) * n_iterations
    # Epochs of a rung -> curves that reached them, in the brackets before.
    n_reached = {rung.epochs: 0 for bracket in brackets_in_order for rung in bracket.rungs}
    return sum(_fewest_epochs_of(bracket, kappa, min_curves, n_reached) for bracket in brackets_in_order)


def _fewest_epochs_of(bracket: Bracket, kappa: float, min_curves: int, n_reached: dict[int, int]) -> int:
    n_next_of = [rung.n_configurations for rung in bracket.rungs[1:]] + [1]
    epochs = bracket.n_configurations  # the first epoch of each
    trained = 1
    for rung, n_next in zip(bracket.rungs, n_next_of, strict=True):
        # - 1e-9: 0.07 * 100 is a little more than 7 in floating point, and must not become 8.
        n_needed = max(1, math.ceil(kappa * n_next - 1e-9), min_curves - n_reached[rung.epochs])
        n_to_end = min(rung.n_configurations, n_needed)
        epochs += n_to_end * (rung.epochs - trained)
        # A rung of one epoch is over before anything could be stopped, so it needs no count.
        for length in n_reached:
            n_reached[length] += n_to_end if trained < length <= rung.epochs else 0
        trained = rung.epochs
    return epochs
