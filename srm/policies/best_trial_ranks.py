"""Where the best complete trials once stood at a look: what the policies learn from that promise a risk or a saving."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.rank_history import History


@dataclass(frozen=True)
class BestTrialRanks:
    """Of some leaders at one look; shares of the other trials that were better, in [0, 1]."""

    usual: float
    worst: float


def best_trial_ranks(rule: PredictiveRank, history: History, n: int, epoch: int, *, trusted: bool) -> BestTrialRanks:
    """Of the n best complete trials, one or more. Computed once for all that can change it, and so a function of the history."""
    question = (rule, n, epoch, trusted)
    state = (history.n_completed, len(history.bests[epoch]), history.n_models)
    known: tuple[tuple[int, int, int], BestTrialRanks] | None = history.memo.get(question)
    if known is None or known[0] != state:
        places = [rule.place(history, leader, epoch, trusted=trusted) for leader in history.leaders(n)]
        known = history.memo[question] = state, BestTrialRanks(sum(places) / len(places), max(places))
    return known[1]
