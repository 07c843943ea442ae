"""Ranks that the best complete trials had at an earlier epoch: what the policies with a budget learn from."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.rank_history import RankHistory


@dataclass(frozen=True)
class BestTrialRanks:
    """Rank shares of the best complete trials at one decision point: shares of the other trials that were better, in [0, 1].

    Attributes:
        usual: Their mean.
        worst: Their maximum.
    """

    usual: float
    worst: float


def best_trial_ranks(rule: PredictiveRank, history: RankHistory, n: int, epoch: int, *, reliable: bool) -> BestTrialRanks:
    """Return the rank shares that the n best complete trials (one or more) had at an epoch.

    They are computed once for all that can change them, so they are a function of the history.

    Args:
        rule: What a rank share is.
        history: Ranks, raw and by prediction.
        n: Number of best complete trials.
        epoch: The decision point.
        reliable: Whether the model's ranks may be used.
    """
    # The memo belongs to the history, so a new study starts with an empty one.
    question = (rule, n, epoch, reliable)
    # All that moves a rank share here: another complete trial, another trial at the epoch, another model.
    state = (history.n_completed, len(history.bests[epoch]), history.n_models)
    known: tuple[tuple[int, int, int], BestTrialRanks] | None = history.memo.get(question)
    if known is None or known[0] != state:
        shares = [rule.rank_share(history, trial, epoch, reliable=reliable) for trial in history.best_complete(n)]
        known = history.memo[question] = state, BestTrialRanks(sum(shares) / len(shares), max(shares))
    return known[1]
