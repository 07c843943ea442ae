"""Stopping under a stated risk, and the settings that keep its figures honest: shadow mode and a share that is never stopped.

Conformal reasoning (Vovk et al. 2005): of n + 1 exchangeable trials, the next one's worst excess over all its decision points is larger
than that of the n others with probability 1 / (n + 1) at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from curvestop.srm.curve import Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.best_trial_ranks import best_trial_ranks
from curvestop.srm.policies.predictive_rank import CALM, PredictiveRank
from curvestop.srm.policies.predictive_rank import RULES as PLAIN_RULES
from curvestop.srm.policies.rank_history import History
from curvestop.srm.policies.rules import Evidence, Rule, not_judged
from curvestop.srm.policies.saving_budget import SavingBudget


@dataclass(frozen=True)
class RiskBudget:
    """Stop so that a trial as good as the best ones so far is lost, at any of its decision points, with probability `risk` at most.

    The n = 1/risk - 1 complete trials with the best final values say how far a good trial's place may be behind the usual
    one of good trials, at its worst look. Until n trials are complete the rule abstains: they run whole, whatever they look
    like. The bound holds for a trial exchangeable with those; it is not known to hold for one from elsewhere in the space.
    place: what a place is, and the decision points. slack: added to the share kept. least: the least share kept at a look.
    """

    risk: float = 0.05
    place: PredictiveRank = CALM
    slack: float = 0.05
    least: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.risk < 1:
            raise ValueError(f"risk must be in (0, 1), but got {self.risk!r}")

    @property
    def n_needed(self) -> int:
        """Complete trials before anything is stopped."""
        return math.ceil(1 / self.risk - 1e-9) - 1

    def decision_points(self, horizon: int) -> Sequence[int]:
        return self.place.decision_points(horizon)

    def decide(self, evidence: Evidence) -> Decision:
        epoch = evidence.due(self.decision_points(evidence.horizon))
        if epoch is None or evidence.n_others(epoch) < self.place.min_arrivals:
            return not_judged(evidence, epoch, self.place.min_arrivals)
        if (missing := self.n_needed - evidence.history.n_completed) > 0:
            return evidence.answer(False, f"abstains: a risk of {self.risk:g} needs {plural(missing, 'more complete trial')}")
        place = self.place.place(evidence.history, evidence.trial, epoch, trusted=evidence.trusted)
        keep = self.kept_shares(evidence.history, evidence.horizon, trusted=evidence.trusted)[epoch]
        others = f"{evidence.n_others(epoch)} others after {plural(epoch, 'epoch')}"
        reason = f"behind {place:.0%} of {others}; at a risk of {self.risk:g} the best {keep:.0%} go on"
        return evidence.answer(place > keep, reason)

    def kept_shares(self, history: History, horizon: int, *, trusted: bool = True) -> Mapping[int, float]:
        """By look, how bad a place may be."""
        decision_points = self.decision_points(horizon)
        places = [best_trial_ranks(self.place, history, self.n_needed, epoch, trusted=trusted) for epoch in decision_points]
        excess = max(at_look.worst - at_look.usual for at_look in places)
        return {
            epoch: max(at_look.usual + excess + self.slack, self.least)
            for epoch, at_look in zip(decision_points, places, strict=True)
        }


@dataclass(frozen=True)
class Shadow:
    """Another rule, of which some or all stops are only noted: those trials run on and show what it would have lost.

    shadow: nothing is stopped. hold_out: share in [0, 1) of the trials, chosen by name and seed, that is never stopped; their
    final values are an unbiased sample to calibrate on.
    """

    rule: Rule
    shadow: bool = False
    hold_out: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out must be in [0, 1), but got {self.hold_out!r}")

    def decision_points(self, horizon: int) -> Sequence[int]:
        return self.rule.decision_points(horizon)

    def decide(self, evidence: Evidence) -> Decision:
        decision = self.rule.decide(evidence)
        if decision.stop and (self.shadow or self.is_held_out(evidence.trial)):
            return decision.as_shadow_stop("shadow mode" if self.shadow else "held out")
        return decision

    def is_held_out(self, trial: str) -> bool:
        return crc32(f"{self.seed}/{trial}".encode()) < self.hold_out * 2**32


RULES: Mapping[str, Callable[..., Rule]] = {**PLAIN_RULES, "risk": RiskBudget, "saving": SavingBudget, "shadow": Shadow}
"""All rules by name: `RULES[name](**settings)`."""
