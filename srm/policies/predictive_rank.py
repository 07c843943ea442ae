"""The rank policy: a trial's rank among all others, raw and predicted, against the ranks its best predecessors once had.

At a decision point the trial's rank is the share of the other trials that are better: by best value so far, and by predicted
final value once there is a model. A late starter may be bad by one and good by the other, so the better of the two counts.

How good a rank must be is learnt: the complete trials with the best final values would all have been kept, with a margin.
Where early values tell little (a learning-rate drop reorders the runs) those once had bad ranks, and the policy keeps more. The
margin is wider at the earliest decision points, and towards the end of a curve, where stopping saves little and may lose all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from curvestop.srm.curve import Decision
from curvestop.srm.policies.evidence import (
    DECISION_SHARES,
    Evidence,
    check_shares,
    due,
    epochs_at,
    not_judged,
    rank_in_words,
)
from curvestop.srm.policies.rank_history import RankHistory

EARLIEST_SHARES = (0.02, 0.035)
"""Shares of max_epochs of the earliest decision points, with the wider margin of `PredictiveRank.hasty`."""


@dataclass(frozen=True)
class PredictiveRank:
    """Stop when the rank share is worse than `margin` x the worst one of the best complete trials + `slack`.

    A rank share is the share of the other trials that are better, in [0, 1]; lower is better.

    Attributes:
        margin: How many times as bad as the best complete trials' a rank share may be.
        slack: Added to it.
        n_leaders: Number of best complete trials that count, >= 1.
        keep: Least and greatest share of the trials that is kept at a decision point.
        start: Share kept before `min_completed` trials are complete.
        min_completed: Number of complete trials from which on the kept share is learnt, >= 1.
        min_arrivals: Number of other trials at the decision point before anything is stopped.
        protected: Trials with fewer better ones than this are never stopped (the top k).
        combine: "best" of raw and predicted rank share, their "mean", or "raw" (no model).
        shares: Decision points as shares of max_epochs.
        hasty: Factor of the margin at decision points up to the last of `EARLIEST_SHARES`.
        late: After a share x of max_epochs the margin is (1 - x) ** -late times as wide, >= 0.

    Examples:
        >>> PredictiveRank().decision_points(10)
        (1, 2, 3, 4, 5, 6, 7, 8, 9)
    """

    margin: float = 2.5
    slack: float = 0.05
    n_leaders: int = 5
    keep: tuple[float, float] = (0.1, 0.9)
    start: float = 0.9
    min_completed: int = 5
    min_arrivals: int = 5
    protected: int = 3
    combine: Literal["best", "mean", "raw"] = "best"
    shares: tuple[float, ...] = (*EARLIEST_SHARES, *DECISION_SHARES)
    hasty: float = 1.5
    late: float = 0.5

    # Without an annotation it is a constant of the class and no field: no setting switches it.
    reads_neighbors = False

    def __post_init__(self) -> None:
        # Wrong settings are an error when the study is created, not at its first decision.
        check_shares(keep=self.keep, start=(self.start,), shares=self.shares)
        if self.n_leaders < 1:
            raise ValueError(f"n_leaders must be >= 1, but got {self.n_leaders!r}")
        if self.min_completed < 1:
            raise ValueError(f"min_completed must be >= 1, but got {self.min_completed!r}")
        if not self.late >= 0:
            raise ValueError(f"late must be >= 0, but got {self.late!r}")

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs at `shares`."""
        return epochs_at(self.shares, max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return the decision point that the trial passed, if any."""
        epoch = due(self.decision_points(max_epochs), tau, previous)
        return () if epoch is None or self.combine == "raw" else (epoch,)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the rank share is too bad and the trial is not protected."""
        epoch = evidence.due(self.decision_points(evidence.max_epochs))
        if epoch is None or not evidence.can_rank(epoch, self.min_arrivals):
            return not_judged(evidence, epoch, self.min_arrivals)
        n_others = evidence.n_others(epoch)
        share = self.rank_share(evidence.history, evidence.trial, epoch)
        keep = self.kept_share(evidence.history, epoch, evidence.max_epochs)
        # A share of the others is a whole number of better trials, but for rounding.
        is_protected = round(share * n_others) < self.protected
        reason = rank_in_words(share, keep, n_others, evidence.at(epoch), protected=self.protected)
        # The ranks of a weak model count all the same; a reader of the reason should know.
        if evidence.why_unreliable:
            what = "no forecast yet" if evidence.prediction is None else "the model is unreliable"
            reason += f" ({what}: {evidence.why_unreliable})"
        return evidence.answer(share > keep and not is_protected, reason)

    def rank_share(self, history: RankHistory, trial: str, epoch: int, *, reliable: bool = True) -> float:
        """Return the share of the other trials that are better, in [0, 1]; lower is better.

        Args:
            history: Ranks, raw and by prediction.
            trial: Name of the trial.
            epoch: The decision point.
            reliable: Whether the model's ranks may be used.
        """
        raw = history.share_better(trial, epoch)
        predicted = history.predicted_share_better(trial, epoch) if reliable and self.combine != "raw" else None
        if predicted is None:
            return raw
        # A late starter is bad by its values so far and good by its prediction: "best" lets either save it.
        return min(raw, predicted) if self.combine == "best" else (raw + predicted) / 2

    def kept_share(self, history: RankHistory, epoch: int, max_epochs: int) -> float:
        """Return the worst rank share that continues at this decision point, in [0, 1].

        Args:
            history: Ranks, raw and by prediction.
            epoch: The decision point.
            max_epochs: Epoch whose value counts; the margin depends on the share of it that is over.
        """
        if history.n_completed < self.min_completed:
            return self.start
        # The rank that would have kept every one of the best complete trials.
        needed = max(self.rank_share(history, trial, epoch) for trial in history.best_complete(self.n_leaders))
        least, most = self.keep
        return min(max(self.margin_at(epoch / max_epochs) * needed + self.slack, least), most)

    def margin_at(self, share: float) -> float:
        """Return the margin after this share of max_epochs, in (0, 1).

        Args:
            share: Share of max_epochs that is over, in (0, 1). The margin grows with it, and is wider at the earliest points.
        """
        # Late in a curve a stop saves few epochs and may still lose the best trial.
        wider: float = (1 - share) ** -self.late
        return self.margin * wider * (self.hasty if share <= EARLIEST_SHARES[-1] else 1)


FOR_BUDGETS = PredictiveRank(shares=DECISION_SHARES, min_completed=8, protected=1)
"""Ranks and decision points of the policies that set their own standard, `RiskBudget` and `SavingBudget`."""
