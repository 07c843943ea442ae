"""Stopping for a stated saving: the policy keeps as much as leaves the study at the share of its epochs that was asked for.

At each decision point the best of the trials that came so far continue. If nothing else were known, the share that continues
would multiply from point to point to what is spent in all. The one margin that gives the stated saving is found from that, and
what was spent too much or too little so far is made up for over the next trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curvestop.srm.curve import Decision
from curvestop.srm.policies.best_trial_ranks import best_trial_ranks
from curvestop.srm.policies.evidence import Evidence, check_shares, due, not_judged, rank_in_words
from curvestop.srm.policies.predictive_rank import FOR_BUDGETS, PredictiveRank
from curvestop.srm.policies.rank_history import RankHistory

N_BISECTIONS = 24
"""Steps of the bisection that finds the margin."""
LEAST_MARGIN, MOST_MARGIN = 1e-3, 1e3
"""Interval in which the margin is searched."""
UNKNOWN_SHARE = 0.5
"""Share of the trials that is taken to be needed at every decision point before enough trials are complete."""


@dataclass(frozen=True)
class SavingBudget:
    """Keep `margin` x the rank share that the best complete trials once needed, at the margin that saves as stated.

    Attributes:
        saving: Share in (0, 1) of max_epochs x trials that is not to be trained.
        ranking: What a rank is, the decision points, the best complete trials and the protected trials, which continue
            whatever the saving.
        slack: Added to the rank shares needed.
        n_repaying: Number of trials over which what was spent too much or too little so far is made up for.

    Examples:
        >>> SavingBudget(saving=0.5).decision_points(4)
        (1, 2, 3)
    """

    saving: float = 0.75
    ranking: PredictiveRank = FOR_BUDGETS
    slack: float = 0.05
    n_repaying: int = 10

    reads_neighbors = False

    def __post_init__(self) -> None:
        if not 0 < self.saving < 1:
            raise ValueError(f"saving must be in (0, 1), but got {self.saving!r}")
        check_shares(slack=(self.slack,))
        if self.n_repaying < 1:
            raise ValueError(f"n_repaying must be >= 1, but got {self.n_repaying!r}")

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs at which the ranking decides."""
        return self.ranking.decision_points(max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return all decision points when one is due: the margin is found over all of them."""
        points = self.decision_points(max_epochs)
        return () if due(points, tau, previous) is None or self.ranking.combine == "raw" else points

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the rank share is beyond the margin that saves as stated, and the trial is not protected."""
        history, max_epochs = evidence.history, evidence.max_epochs
        points = self.decision_points(max_epochs)
        epoch, reliable = evidence.due(points), evidence.is_reliable
        if epoch is None or not evidence.can_rank(epoch, self.ranking.min_arrivals):
            return not_judged(evidence, epoch, self.ranking.min_arrivals)
        n_others = evidence.n_others(epoch)
        share = self.ranking.rank_share(history, evidence.trial, epoch, reliable=reliable)
        # (n,), at all decision points: what a margin spends depends on every one of them.
        needed = [self._needed(history, point, reliable=reliable) for point in points]
        margin = margin_for(self._to_spend(history, max_epochs), needed, points, max_epochs)
        keep = min(margin * needed[points.index(epoch)], 1.0)
        # Trials that still run count as if they ended now, so this falls while they train.
        saved = 1 - history.n_observed / (max_epochs * history.n_trials)
        in_words = rank_in_words(share, keep, n_others, evidence.at(epoch), protected=self.ranking.protected)
        reason = f"{in_words} to save {self.saving:.0%} ({saved:.0%} saved so far)"
        return evidence.answer(share > keep and round(share * n_others) >= self.ranking.protected, reason)

    def _to_spend(self, history: RankHistory, max_epochs: int) -> float:
        """Share of its epochs that the next trial may train: the stated one, and its part of what is to be made up for."""
        share = 1 - self.saving
        return share + (share * history.n_trials - history.n_observed / max_epochs) / self.n_repaying

    def _needed(self, history: RankHistory, epoch: int, *, reliable: bool) -> float:
        if history.n_completed < self.ranking.min_completed:
            return UNKNOWN_SHARE
        return best_trial_ranks(self.ranking, history, self.ranking.n_leaders, epoch, reliable=reliable).worst + self.slack


def margin_for(to_spend: float, needed: Sequence[float], decision_points: Sequence[int], max_epochs: int) -> float:
    """Return the margin at which a trial is expected to train the share `to_spend` of max_epochs.

    At decision point i, min(margin x needed[i], 1) of the trials continue.

    Args:
        to_spend: Share of max_epochs that a trial should train on average; beyond what margins can give, the nearest end.
        needed: `(n,)` rank shares that good trials need at the decision points, > 0.
        decision_points: `(n,)` epochs, ascending, n >= 1.
        max_epochs: Epoch whose value counts.

    Returns:
        The margin, within LEAST_MARGIN and MOST_MARGIN; larger keeps more.
    """
    low, high = LEAST_MARGIN, MOST_MARGIN
    # (n,) epochs from each decision point to the next, the last one to the end.
    lengths = [following - point for point, following in zip(decision_points, [*decision_points[1:], max_epochs], strict=True)]
    for _ in range(N_BISECTIONS):
        middle = (low * high) ** 0.5  # on a logarithmic scale
        spent, alive = float(decision_points[0]), 1.0
        for share, length in zip(needed, lengths, strict=True):
            # As if the points were independent; what that gets wrong is made up for over the next trials.
            alive *= min(middle * share, 1.0)
            spent += alive * length
        # Spending rises with the margin, so halving the interval finds it.
        low, high = (middle, high) if spent < to_spend * max_epochs else (low, middle)
    return low
