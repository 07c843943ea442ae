"""Stopping under a stated risk.

Conformal reasoning (Vovk et al. 2005): of n + 1 exchangeable trials, the next one's worst excess over all its decision points
is larger than that of the n others with probability 1 / (n + 1) at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curvestop.srm.curve import Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.best_trial_ranks import best_trial_ranks
from curvestop.srm.policies.evidence import Evidence, due, not_judged, rank_in_words
from curvestop.srm.policies.predictive_rank import FOR_BUDGETS, PredictiveRank
from curvestop.srm.policies.rank_history import RankHistory


@dataclass(frozen=True)
class RiskBudget:
    """Stop so that a trial as good as the best ones so far is lost, at any decision point, with probability `risk` at most.

    The n = 1/risk - 1 complete trials with the best final values say how far a good trial's rank may be behind the usual one
    of good trials, at its worst decision point. Until n trials are complete nothing is stopped. The bound holds for a trial
    exchangeable with those; it is not known to hold for one from elsewhere in the search space.

    Attributes:
        risk: Stated probability, in (0, 1).
        ranking: What a rank is, and the decision points.
        slack: Added to the share kept.
        least: Least share kept at a decision point.

    Examples:
        >>> RiskBudget(risk=0.05).n_needed
        19
    """

    risk: float = 0.05
    ranking: PredictiveRank = FOR_BUDGETS
    slack: float = 0.05
    least: float = 0.1

    reads_neighbors = False

    def __post_init__(self) -> None:
        if not 0 < self.risk < 1:
            raise ValueError(f"risk must be in (0, 1), but got {self.risk!r}")

    @property
    def n_needed(self) -> int:
        """Number of complete trials before anything is stopped."""
        return math.ceil(1 / self.risk - 1e-9) - 1

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs at which the ranking decides."""
        return self.ranking.decision_points(max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return all decision points when one is due: the excess is the worst over all of them."""
        points = self.decision_points(max_epochs)
        return () if due(points, tau, previous) is None or self.ranking.combine == "raw" else points

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the rank share exceeds what the best complete trials once needed."""
        epoch = evidence.due(self.decision_points(evidence.max_epochs))
        if epoch is None or not evidence.can_rank(epoch, self.ranking.min_arrivals):
            return not_judged(evidence, epoch, self.ranking.min_arrivals)
        # With fewer than 1/risk - 1 trials no rank is extreme enough to claim the risk.
        if (missing := self.n_needed - evidence.history.n_completed) > 0:
            return evidence.answer(
                False, f"stops nothing yet: a risk of {self.risk:g} needs {plural(missing, 'more complete trial')}"
            )
        share = self.ranking.rank_share(evidence.history, evidence.trial, epoch, reliable=evidence.is_reliable)
        keep = self.kept_shares(evidence.history, evidence.max_epochs, reliable=evidence.is_reliable)[epoch]
        reason = f"{rank_in_words(share, keep, evidence.n_others(epoch), evidence.at(epoch))} at a risk of {self.risk:g}"
        return evidence.answer(share > keep, reason)

    def kept_shares(self, history: RankHistory, max_epochs: int, *, reliable: bool = True) -> Mapping[int, float]:
        """Return the worst rank share that continues, by decision point.

        Args:
            history: Ranks, with one complete trial at least; the stated risk holds from `n_needed` on.
            max_epochs: Epoch whose value counts.
            reliable: Whether the model's ranks may be used.

        Returns:
            For each decision point a share in [0, 1] of the other trials that may be better; values above 1 keep all.
        """
        points = self.decision_points(max_epochs)
        # The n complete trials that are to be exchangeable with the next good one.
        ranks = [best_trial_ranks(self.ranking, history, self.n_needed, epoch, reliable=reliable) for epoch in points]
        # One excess for all points: the bound is on the worst of them, so looking often costs nothing extra.
        excess = max(at_point.worst - at_point.usual for at_point in ranks)
        return {e: max(at_point.usual + excess + self.slack, self.least) for e, at_point in zip(points, ranks, strict=True)}
