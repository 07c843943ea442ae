"""What a stopping policy is, and what it may look at.

A policy is a pure function of its `Evidence`: everything that it reads was made before it is asked. What it calls epochs are the
points of the study's `Grid`: of a short training the epochs themselves, of a long one a few hundred of them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.grid import Grid
from curvestop.srm.plural import plural
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.resource import EPOCHS, Axis

DECISION_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of max_epochs after which the rank policies decide."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A trial after `tau` of `max_epochs` epochs, and everything observed so far.

    Attributes:
        history: All curves with their ranks, the trial's own values included.
        trial: Name of the trial.
        tau: Number of epochs seen.
        max_epochs: Epoch whose value counts.
        previous: Epochs seen at the policy's last decision on the trial; 0 before the first.
        prediction: Predicted value at max_epochs, in the metric; None without a model.
        n_curves: Number of complete curves behind the prediction; 0 without one.
        why_unreliable: Why there is no prediction to rely on yet, for people; empty if there is one.
        value_to_beat: Value in the metric; None for the study's own best.
        beat: What "no better" means in the stated probability, and the thesis's rule.
        neighbors: Mean log odds of the final ranks of the nearest configurations, higher is better; 0 if unknown, or if the
            policy does not read it.
        grid: Which epochs the points are, for reasons; None if they are the epochs.
        axis: What the study counts in, for reasons.
        all_equal: Whether all trials that reached tau epochs, two or more, have the same value there.
    """

    history: RankHistory
    trial: str
    tau: int
    max_epochs: int
    previous: int = 0
    prediction: Prediction | None = None
    n_curves: int = 0
    why_unreliable: str = ""
    value_to_beat: float | None = None
    beat: StoppingRule = StoppingRule()  # noqa: RUF009 - frozen
    neighbors: float = 0.0
    grid: Grid | None = None
    axis: Axis = EPOCHS
    all_equal: bool = False

    def epoch(self, point: int) -> int:
        """Return the epoch of a point, which is also the number of epochs of so many points."""
        return point if self.grid is None else self.grid.epoch(point)

    def at(self, point: int) -> str:
        """Return where a point is, like "epoch 3" or "step 5,000"."""
        return self.axis.at(self.epoch(point))

    def span(self, points: int) -> str:
        """Return how long so many points are, like "3 epochs" or "5,000 steps"."""
        return self.axis.span(self.epoch(points))

    @property
    def end(self) -> str:
        """The last epoch, as a number in the study's unit."""
        return self.axis.number(self.epoch(self.max_epochs))

    @property
    def is_reliable(self) -> bool:
        """Whether there is a prediction that can be relied on."""
        return not self.why_unreliable

    @property
    def direction(self) -> Direction:
        """Direction of the metric."""
        return "maximize" if self.history.sign > 0 else "minimize"

    def to_beat(self, rank: int | None = None) -> float | None:
        """Return the value to beat: the one given, or the rank-th best final value (default: beat.rank); None if too few.

        Args:
            rank: n >= 1 for the n-th best; None for that of `beat`. Without effect if a value was given.
        """
        if self.value_to_beat is not None:
            return self.value_to_beat
        # Scores are higher for better; times the sign again they are the metric.
        score = self.history.finals.nth_best(rank or self.beat.rank)
        return None if score is None else self.history.sign * score

    def answer(self, stop: bool, reason: str, *, beat: StoppingRule | None = None, chance: float | None = None) -> Decision:
        """Return a decision, with P(final value no better than the one to beat) where there is a model.

        Args:
            stop: Whether the trial should end now.
            reason: Why, in a sentence for people.
            beat: What "no better" means in the stated probability; None for the study's own.
            chance: In (0, 1], that the trial ends as the best; None from a policy that does not state it.
        """
        beat = beat or self.beat
        value = self.to_beat(beat.rank)
        probability = None
        if self.prediction is not None and value is not None:
            probability = beat.probability(self.prediction, value, self.direction)
        # The length that was asked about; the model may be one of a shorter length.
        model_epoch = self.epoch(self.tau) if self.n_curves else 0
        return Decision(stop, reason, probability, self.prediction, self.n_curves, model_epoch, chance=chance)

    def due(self, decision_points: Sequence[int]) -> int | None:
        """Return the latest decision point that the trial passed since its last decision; None if it passed none.

        Args:
            decision_points: Epochs of the policy, ascending.
        """
        return due(decision_points, self.tau, self.previous)

    def n_others(self, epoch: int) -> int:
        """Return how many other trials reached this epoch.

        Args:
            epoch: An epoch that this trial reached and the history ranks.
        """
        # All trials that reached the epoch, stopped ones included, but this one.
        return len(self.history.bests[epoch]) - 1

    def can_rank(self, epoch: int, min_others: int) -> bool:
        """Return whether a rank at this epoch tells anything: enough others reached it, and not all trials are equal there.

        Args:
            epoch: An epoch that this trial reached and the history ranks.
            min_others: Number of other trials at it that the policy needs.
        """
        n_others = self.n_others(epoch)
        return n_others >= min_others and not (n_others and self.history.all_equal(epoch))


class Rule(Protocol):
    """A stopping policy: decides whether a trial should end now. A pure function of the evidence.

    Attributes:
        reads_neighbors: Whether it reads `Evidence.neighbors`.
    """

    @property
    def reads_neighbors(self) -> bool:
        """Whether the decision reads `Evidence.neighbors`."""
        ...

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs (1..max_epochs - 1, ascending) after which the policy may stop a trial.

        Args:
            max_epochs: T >= 1; with 1 there is nothing to stop.
        """
        ...

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return the epochs whose ranks by prediction the decision reads, for a trial at tau, last decided on at `previous`.

        Args:
            tau: Number of epochs seen, >= 1.
            previous: Epochs seen at the last decision on the trial; 0 before the first.
            max_epochs: Epoch whose value counts.

        Returns:
            Decision points, ascending, later ones than tau too where the policy weighs all of them; empty if it reads none.
        """
        ...

    def decide(self, evidence: Evidence) -> Decision:
        """Decide whether the trial should end now.

        Args:
            evidence: The trial and everything observed so far; it is not changed.

        Returns:
            The decision; between two decision points, to continue.
        """
        ...


@runtime_checkable
class StatesChances(Rule, Protocol):
    """A policy that states the chance of a trial to end as the best."""

    def chance(self, evidence: Evidence, epoch: int) -> float:
        """Return the chance in (0, 1] of a trial as it was at a decision point.

        Args:
            evidence: The trial and everything observed so far.
            epoch: A decision point that the trial passed.
        """
        ...


class IgnoresPredictedRanks:
    """Mixin of the policies that read neither ranks by prediction nor neighbors."""

    reads_neighbors = False

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return no epochs."""
        return ()


def due(decision_points: Sequence[int], tau: int, previous: int) -> int | None:
    """Return the latest decision point in previous + 1..tau; None if there is none.

    Args:
        decision_points: Epochs, ascending.
        tau: Number of epochs seen now.
        previous: Number seen at the last decision; 0 before the first.
    """
    # A report of many epochs passes several points at once: only the latest is decided.
    n_passed = bisect_right(decision_points, tau)
    return decision_points[n_passed - 1] if n_passed and decision_points[n_passed - 1] > previous else None


# Every report asks, always with the same few arguments.
@lru_cache(maxsize=1024)
def epochs_at(shares: tuple[float, ...], max_epochs: int) -> tuple[int, ...]:
    """Return shares of max_epochs as distinct epochs in 1..max_epochs - 1, ascending.

    Args:
        shares: Shares of max_epochs, in (0, 1], in any order.
        max_epochs: T; with 1 there are no epochs before the last.
    """
    if max_epochs <= 1:
        return ()
    return tuple(sorted({min(max(round(share * max_epochs), 1), max_epochs - 1) for share in shares}))


def check_shares(**shares: Iterable[float]) -> None:
    """Check that all shares, given by the name of their setting, are in (0, 1].

    Raises:
        ValueError: If one is not.
    """
    for name, values in shares.items():
        for value in values:
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], but got {value!r}")


def not_judged(evidence: Evidence, epoch: int | None, min_others: int) -> Decision:
    """Continue: between two decision points (epoch None), or where a rank tells nothing (see `Evidence.can_rank`).

    Args:
        evidence: Of the trial.
        epoch: The decision point that is due; None if there is none.
        min_others: Number of other trials at it that the policy needs.
    """
    if epoch is None:
        return evidence.answer(False, "between two decision points of the policy")
    n_others = evidence.n_others(epoch)
    if n_others >= min_others:
        return evidence.answer(False, all_equal_in_words(evidence.at(epoch)))
    reached = f"only {plural(n_others, 'other trial')} reached {evidence.at(epoch)}"
    return evidence.answer(False, f"{reached}, fewer than {min_others}")


def all_equal_in_words(at: str) -> str:
    """Return why nothing is stopped where all trials are equal, which is a place like "epoch 3"."""
    return f"all trials are equal at {at}: nothing is stopped where nothing differs"


def rank_in_words(rank_share: float, keep: float, n_others: int, at: str, *, protected: int = 0) -> str:
    """Return a rank and the ranks that continue, like "rank 12 of 20 at epoch 3, the best 10 continue".

    Args:
        rank_share: Share of the other trials that are better, in [0, 1].
        keep: Largest such share that continues.
        n_others: Number of other trials at the decision point.
        at: The decision point, like "epoch 3".
        protected: Number of best trials that continue in any case.
    """
    n_better = round(rank_share * n_others)
    # The margin keeps 0.29 * 100, which is 28.999..., from losing a trial.
    n_kept = min(max(math.floor(keep * n_others + 1e-9) + 1, protected), n_others + 1)
    return f"rank {n_better + 1} of {n_others + 1} at {at}, the best {n_kept} continue"
