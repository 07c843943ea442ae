"""The default rule: a trial's place among all others, raw and predicted, against the places its best predecessors once had.

At a look the trial's place is the share of the others that are better: by best value so far, and by predicted final value
once there is a model. A late starter may be bad by one and good by the other, so the better of the two counts. How good a
place must be is learnt: the complete trials with the best final values would all have been kept, with a margin. Where early
values tell little (a learning-rate drop reorders the runs) those once had bad places, and the rule keeps more. The margin is
wider at a first, hasty look, and towards the end of a curve, where stopping saves little and may lose all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from curvestop.srm.curve import Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.rank_history import History
from curvestop.srm.policies.rules import LOOKS, MODEL_FREE, Evidence, Rule, check_shares, epochs_at, not_judged

HASTY = (0.02, 0.035)
"""Shares of a curve after which it is looked at with the wider margin of `PredictiveRank.hasty`."""


@dataclass(frozen=True)
class PredictiveRank:
    """Stop when the place is worse than `margin` x the worst place of the best complete trials + `slack`.

    combine: "best" of raw and predicted place, their "mean", or "raw" (no model). n_leaders: how many best complete trials count.
    keep: the least and the greatest share of the trials that is kept at a look. start: share kept before min_completed trials
    are complete. min_arrivals: others at the look before anything is stopped. protected: trials with fewer better ones than this
    are never stopped (the top k). shares: of the horizon, where it decision points. hasty: the margin is so many times as wide at decision points up
    to the last of `HASTY`. late: >= 0; after a share x of the horizon the margin is (1 - x) ** -late times as wide.
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
    shares: tuple[float, ...] = (*HASTY, *LOOKS)
    hasty: float = 1.5
    late: float = 0.5

    def __post_init__(self) -> None:
        check_shares(keep=self.keep, start=(self.start,), shares=self.shares)
        if self.n_leaders < 1:
            raise ValueError(f"n_leaders must be >= 1, but got {self.n_leaders!r}")
        if self.min_completed < 1:
            raise ValueError(f"min_completed must be >= 1, but got {self.min_completed!r}")
        if not self.late >= 0:
            raise ValueError(f"late must be >= 0, but got {self.late!r}")

    def decision_points(self, horizon: int) -> Sequence[int]:
        return epochs_at(self.shares, horizon)

    def decide(self, evidence: Evidence) -> Decision:
        epoch = evidence.due(self.decision_points(evidence.horizon))
        if epoch is None or evidence.n_others(epoch) < self.min_arrivals:
            return not_judged(evidence, epoch, self.min_arrivals)
        place = self.place(evidence.history, evidence.trial, epoch)
        keep = self.kept_share(evidence.history, epoch, evidence.horizon)
        is_protected = round(place * evidence.n_others(epoch)) < self.protected
        others = f"{evidence.n_others(epoch)} others after {plural(epoch, 'epoch')}"
        reason = f"behind {place:.0%} of {others}; the best {keep:.0%} go on"
        if evidence.why_unreliable:
            reason += f"; {'by value only' if evidence.prediction is None else 'the model is doubtful'}: {evidence.why_unreliable}"
        return evidence.answer(place > keep and not is_protected, reason)

    def place(self, history: History, trial: str, epoch: int, *, trusted: bool = True) -> float:
        """Share of the others that are better, in [0, 1]; smaller is better."""
        raw = history.share_better(trial, epoch)
        predicted = history.predicted_share_better(trial, epoch) if trusted and self.combine != "raw" else None
        if predicted is None:
            return raw
        return min(raw, predicted) if self.combine == "best" else (raw + predicted) / 2

    def kept_share(self, history: History, epoch: int, horizon: int) -> float:
        """How bad a place may be at this look, in [0, 1]."""
        if history.n_completed < self.min_completed:
            return self.start
        needed = max(self.place(history, leader, epoch) for leader in history.leaders(self.n_leaders))
        least, most = self.keep
        return min(max(self.margin_at(epoch / horizon) * needed + self.slack, least), most)

    def margin_at(self, share: float) -> float:
        """The margin after this share of the horizon, in (0, 1)."""
        wider: float = (1 - share) ** -self.late
        return self.margin * wider * (self.hasty if share <= HASTY[-1] else 1)


CALM = PredictiveRank(shares=LOOKS, min_completed=8, protected=1)
"""BestTrialRanks and decision points for policies that set their own standard: no hasty decision points."""

RULES: Mapping[str, Callable[..., Rule]] = {**MODEL_FREE, "predictive-rank": PredictiveRank}
"""All rules by name: `RULES[name](**settings)`."""
