"""Stopping for a stated saving: as much is kept as leaves the study at the share of its epochs that was asked for.

At each look the best of those that came so far go on. Were nothing else known, the share that goes on would multiply from
look to look to what is spent in all; the one margin that gives the stated saving is found from that, and what was spent too
much or too little so far is paid back over the next trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curvestop.srm.curve import Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.best_trial_ranks import best_trial_ranks
from curvestop.srm.policies.predictive_rank import CALM, PredictiveRank
from curvestop.srm.policies.rank_history import History
from curvestop.srm.policies.rules import Evidence, check_shares, not_judged

HALVINGS = 24
"""Of the interval in which the margin is looked for."""
LEAST_MARGIN, MOST_MARGIN = 1e-3, 1e3


@dataclass(frozen=True)
class SavingBudget:
    """Keep `margin` x the place that the best complete trials once needed at a look, at the margin that saves as stated.

    saving: share in (0, 1) of max_epochs x trials that is not to be trained. place: what a place is, the decision points, the leaders
    and the protected trials, which go on whatever the saving. slack: added to the places needed.
    n_repaying: trials over which what was spent too much so far, or too little, is made up for.
    """

    saving: float = 0.75
    place: PredictiveRank = CALM
    slack: float = 0.05
    n_repaying: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.saving < 1:
            raise ValueError(f"saving must be in (0, 1), but got {self.saving!r}")
        check_shares(slack=(self.slack,))
        if self.n_repaying < 1:
            raise ValueError(f"n_repaying must be >= 1, but got {self.n_repaying!r}")

    def decision_points(self, horizon: int) -> Sequence[int]:
        return self.place.decision_points(horizon)

    def decide(self, evidence: Evidence) -> Decision:
        history, horizon, decision_points = evidence.history, evidence.horizon, self.decision_points(evidence.horizon)
        epoch = evidence.due(decision_points)
        if epoch is None or evidence.n_others(epoch) < self.place.min_arrivals:
            return not_judged(evidence, epoch, self.place.min_arrivals)
        place, n_others = self.place.place(history, evidence.trial, epoch, trusted=evidence.trusted), evidence.n_others(epoch)
        needed = [self._needed(history, look, trusted=evidence.trusted) for look in decision_points]
        margin = margin_for(self._to_spend(history, horizon), needed, decision_points, horizon)
        keep = min(margin * needed[decision_points.index(epoch)], 1.0)
        spent = history.n_observed / (horizon * history.n_trials)
        reason = (
            f"behind {place:.0%} of {n_others} others after {plural(epoch, 'epoch')}; to save {self.saving:.0%} "
            f"(so far {1 - spent:.0%}) the best {keep:.0%} go on"
        )
        return evidence.answer(place > keep and round(place * n_others) >= self.place.protected, reason)

    def _to_spend(self, history: History, horizon: int) -> float:
        """Share of its epochs that the next trial may train: the stated one, and its part of what is to be made up for."""
        share = 1 - self.saving
        return share + (share * history.n_trials - history.n_observed / horizon) / self.n_repaying

    def _needed(self, history: History, epoch: int, *, trusted: bool) -> float:
        if history.n_completed < self.place.min_completed:
            return 0.5  # nothing is known of one look more than of another
        return best_trial_ranks(self.place, history, self.place.n_leaders, epoch, trusted=trusted).worst + self.slack


def margin_for(to_spend: float, needed: Sequence[float], decision_points: Sequence[int], horizon: int) -> float:
    """The margin at which a trial is expected to train this share of the horizon: at look i, min(margin x needed[i], 1) go on."""
    low, high = LEAST_MARGIN, MOST_MARGIN
    lengths = [following - look for look, following in zip(decision_points, [*decision_points[1:], horizon], strict=True)]
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        spent, alive = float(decision_points[0]), 1.0
        for share, length in zip(needed, lengths, strict=True):
            alive *= min(middle * share, 1.0)
            spent += alive * length
        low, high = (middle, high) if spent < to_spend * horizon else (low, middle)
    return low
