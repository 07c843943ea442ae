"""Stopping rules without a model of their own: each looks at a trial's place among the others and answers with a `Decision`.

Sources: threshold, Baker 2017 (thesis), section 4.1.2; ASHA, Li et al. 2020; successive halving, Jamieson and Talwalkar 2016;
median, Golovin et al. 2017 (Vizier); i-epoch, Egele et al. 2024.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal, Protocol

from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.plural import plural
from curvestop.srm.policies.rank_history import History
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule

LOOKS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of a curve after which the rank rules look at it."""


PLAIN = StoppingRule()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule may look at: a trial after `tau` of `horizon` epochs, and everything observed so far.

    history: holds the trial's own values too. previous: tau at the trial's last decision; 0 before the first.
    prediction: of the value at the horizon, in the metric; None without a model. n_curves: complete curves behind it.
    why_unreliable: why there is no model to rely upon yet, for people; empty when there is one.
    value_to_beat: in the metric; None for the study's own best.
    beat: what "no better" means in the stated probability, and what the threshold rule goes by.
    """

    history: History
    trial: str
    tau: int
    horizon: int
    previous: int = 0
    prediction: Prediction | None = None
    n_curves: int = 0
    why_unreliable: str = ""
    value_to_beat: float | None = None
    beat: StoppingRule = PLAIN

    @property
    def trusted(self) -> bool:
        return not self.why_unreliable

    @property
    def direction(self) -> Direction:
        return "maximize" if self.history.sign > 0 else "minimize"

    def to_beat(self, rank: int | None = None) -> float | None:
        """The value to beat: the one given, or the rank-th (None: beat.rank-th) best final value observed."""
        if self.value_to_beat is not None:
            return self.value_to_beat
        score = self.history.finals.nth_best(rank or self.beat.rank)
        return None if score is None else self.history.sign * score

    def answer(self, stop: bool, reason: str, *, beat: StoppingRule | None = None) -> Decision:
        """A decision, with P(final value no better than the one to beat) where there is a model."""
        beat = beat or self.beat
        value = self.to_beat(beat.rank)
        probability = None
        if self.prediction is not None and value is not None:
            probability = beat.probability(self.prediction, value, self.direction)
        return Decision(stop, reason, probability, self.prediction, self.n_curves, self.tau if self.n_curves else 0)

    def due(self, decision_points: Sequence[int]) -> int | None:
        """The latest of these epochs that the trial passed since its last decision; None when it passed none."""
        n_passed = bisect_right(decision_points, self.tau)
        return decision_points[n_passed - 1] if n_passed and decision_points[n_passed - 1] > self.previous else None

    def n_others(self, epoch: int) -> int:
        """How many other trials reached this epoch."""
        return len(self.history.bests[epoch]) - 1


class Rule(Protocol):
    """Decides whether a trial should end now. A pure function of the evidence."""

    def decision_points(self, horizon: int) -> Sequence[int]:
        """The epochs (1..horizon - 1, ascending) after which it may stop a trial."""
        ...

    def decide(self, evidence: Evidence) -> Decision: ...


@lru_cache(maxsize=1024)
def epochs_at(shares: tuple[float, ...], horizon: int) -> tuple[int, ...]:
    """Shares of a horizon as distinct epochs in 1..horizon - 1."""
    return tuple(sorted({min(max(round(share * horizon), 1), horizon - 1) for share in shares})) if horizon > 1 else ()


@dataclass(frozen=True)
class Threshold:
    """Stop when the final value is unlikely to beat the n-th best observed one (the thesis's rule).

    beat: None for the study's own. heeds_doubt: stop nothing by a model that explains little; otherwise its sigma has to do.
    """

    beat: StoppingRule | None = None
    heeds_doubt: bool = True

    def decision_points(self, horizon: int) -> Sequence[int]:
        return range(1, horizon)

    def decide(self, evidence: Evidence) -> Decision:
        beat, prediction = self.beat or evidence.beat, evidence.prediction
        if prediction is None:
            return evidence.answer(False, evidence.why_unreliable or "there is no model for this length of curve")
        to_beat, probability = evidence.to_beat(beat.rank), evidence.answer(False, "", beat=beat).probability
        if to_beat is None or probability is None:
            return evidence.answer(False, f"fewer than {beat.rank} complete curves to compare with", beat=beat)
        if evidence.why_unreliable and self.heeds_doubt:
            return evidence.answer(False, f"not trusted: {evidence.why_unreliable}", beat=beat)
        reason = (
            f"P(no better than {to_beat:.6g} at epoch {evidence.horizon}) = {probability:.3f}, stops at {beat.threshold:g}: "
            f"predicted {prediction.mean:.6g} +- {prediction.sigma:.2g} from {plural(evidence.tau, 'epoch')} "
            f"and {evidence.n_curves} complete curves"
        )
        return evidence.answer(beat.stops(probability), reason, beat=beat)


@dataclass(frozen=True)
class Rank:
    """Keep, at each look, a share of all that came so far, by best value so far.

    keep: at the first `n_early` decision points, and at the later ones. shares: of the horizon, where it decision points.
    min_arrivals: others that must have come before anything is stopped.
    """

    keep: tuple[float, float] = (0.6, 0.8)
    n_early: int = 4
    shares: tuple[float, ...] = LOOKS
    min_arrivals: int = 5

    def __post_init__(self) -> None:
        check_shares(keep=self.keep, shares=self.shares)

    def decision_points(self, horizon: int) -> Sequence[int]:
        return epochs_at(self.shares, horizon)

    def decide(self, evidence: Evidence) -> Decision:
        decision_points = self.decision_points(evidence.horizon)
        epoch = evidence.due(decision_points)
        if epoch is None or evidence.n_others(epoch) < self.min_arrivals:
            return not_judged(evidence, epoch, self.min_arrivals)
        keep = self.keep[decision_points.index(epoch) >= self.n_early]
        share = evidence.history.share_better(evidence.trial, epoch)
        others = f"{evidence.n_others(epoch)} others after {plural(epoch, 'epoch')}"
        reason = f"behind {share:.0%} of {others}; the best {keep:.0%} go on"
        return evidence.answer(share > keep, reason)


def i_epoch(share: float = 0.1, keep: float = 0.2, min_arrivals: int = 5) -> Rank:
    """One look after `share` of the epochs; the best `keep` of the trials run to their end."""
    return Rank(keep=(keep, keep), n_early=1, shares=(share,), min_arrivals=min_arrivals)


@dataclass(frozen=True)
class Halving:
    """At rungs first_share * eta^k of the horizon, stop all but the best 1/eta of those that reached the rung.

    pool: how many trials must have reached a rung before any is stopped there: 1 is asynchronous (ASHA, stopping variant),
    the number of all trials is successive halving (for trials that advance together).
    """

    first_share: float = 0.1
    eta: int = 3
    pool: int = 1

    def __post_init__(self) -> None:
        check_shares(first_share=(self.first_share,))
        if self.eta < 2:
            raise ValueError(f"eta must be >= 2, but got {self.eta!r}")

    def decision_points(self, horizon: int) -> Sequence[int]:
        rungs, share = [], self.first_share
        while round(share * horizon) < horizon:
            rungs.append(share)
            share *= self.eta
        return epochs_at(tuple(rungs), horizon)

    def decide(self, evidence: Evidence) -> Decision:
        epoch = evidence.due(self.decision_points(evidence.horizon))
        if epoch is None or evidence.n_others(epoch) < self.pool - 1:
            return not_judged(evidence, epoch, self.pool - 1)
        arrived = evidence.history.bests[epoch]
        better = arrived.better_than(evidence.history.best_so_far(evidence.trial, epoch))
        kept = max(len(arrived) // self.eta, 1)
        return evidence.answer(better >= kept, f"{better} of {len(arrived)} at this rung are better; the best {kept} go on")


@dataclass(frozen=True)
class Median:
    """Stop when the best value so far is worse than the median of the others' values at this epoch.

    over: "completed" trials (Optuna's MedianPruner) or "all" that reached it. warm_up: share of the horizon without stops.
    """

    over: Literal["completed", "all"] = "completed"
    warm_up: float = 0.0
    min_trials: int = 5

    def decision_points(self, horizon: int) -> Sequence[int]:
        return range(max(1, int(self.warm_up * horizon) + 1), horizon)

    def decide(self, evidence: Evidence) -> Decision:
        history, tau = evidence.history, evidence.due(self.decision_points(evidence.horizon))
        if tau is None:
            return not_judged(evidence, tau, self.min_trials)
        ranked = history.completed_scores[tau] if self.over == "completed" else history.scores[tau]
        own = history.curve(evidence.trial)[tau - 1] if self.over == "all" else None
        n_others = len(ranked) - (own is not None)
        median = ranked.median(without=own)
        if n_others < self.min_trials or median is None:
            return evidence.answer(False, f"{n_others} trials to compare with, fewer than {self.min_trials}")
        best = history.best_so_far(evidence.trial, tau)
        verb = "is worse than" if best < median else "holds against"
        reason = f"best so far, {history.sign * best:.6g}, {verb} the median {history.sign * median:.6g} at epoch {tau}"
        return evidence.answer(best < median, reason)


@dataclass(frozen=True)
class Patience:
    """Stop when the best value has not improved by more than `min_change` for a share of the horizon."""

    share: float = 0.2
    min_change: float = 0.0

    def decision_points(self, horizon: int) -> Sequence[int]:
        return range(self._epochs(horizon) + 1, horizon)

    def decide(self, evidence: Evidence) -> Decision:
        waited, tau = self._epochs(evidence.horizon), evidence.tau
        if tau <= waited:
            return evidence.answer(False, f"patience is {plural(waited, 'epoch')}")
        now, then = (evidence.history.best_so_far(evidence.trial, epoch) for epoch in (tau, tau - waited))
        reason = f"improved by {now - then:.3g} over the last {plural(waited, 'epoch')}"
        return evidence.answer(now - then <= self.min_change, reason)

    def _epochs(self, horizon: int) -> int:
        return max(1, round(self.share * horizon))


@dataclass(frozen=True)
class Combination:
    """Stop when any, or when all, of these rules would."""

    rules: tuple[Rule, ...]
    needs: Literal["any", "all"] = "any"

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError(f"rules must be one or more, but got {self.rules!r}")

    def decision_points(self, horizon: int) -> Sequence[int]:
        return sorted({epoch for rule in self.rules for epoch in rule.decision_points(horizon)})

    def decide(self, evidence: Evidence) -> Decision:
        answers = [rule.decide(evidence) for rule in self.rules]
        needed = any if self.needs == "any" else all
        stop = needed(answer.stop for answer in answers)
        would_stop = not stop and needed(answer.stop or answer.would_stop for answer in answers)
        wanted = stop or would_stop
        decisive = [a for a in answers if (a.stop if stop else a.stop or a.would_stop) == wanted] or answers
        decision = evidence.answer(stop, "; ".join(answer.reason for answer in decisive))
        return replace(decision, would_stop=True) if would_stop else decision


def not_judged(evidence: Evidence, epoch: int | None, min_others: int) -> Decision:
    """The answer between two decision points (epoch None), or with fewer others at this epoch than a rule needs."""
    if epoch is None:
        return evidence.answer(False, "between two decision_points of the rule")
    return evidence.answer(False, f"{evidence.n_others(epoch)} others reached epoch {epoch}, fewer than {min_others}")


def check_shares(**shares: Iterable[float]) -> None:
    """Raises ValueError for a share outside (0, 1]."""
    for name, values in shares.items():
        for value in values:
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], but got {value!r}")


def _successive_halving(*, pool: int, **settings: Any) -> Halving:
    if pool < 2:
        raise ValueError(f"pool must be >= 2 (with 1 it is the policy 'asha'), but got {pool!r}")
    return Halving(pool=pool, **settings)


def _threshold(**settings: Any) -> Threshold:
    if "min_curves" in settings:  # it says when models are fitted, not when to stop
        raise ValueError(f"min_curves is the study's rule's, but got {settings!r}")
    return Threshold(StoppingRule(**settings) if settings else None)


MODEL_FREE: Mapping[str, Callable[..., Rule]] = {
    "threshold": _threshold,
    "rank": Rank,
    "asha": Halving,
    "successive-halving": _successive_halving,
    "median": Median,
    "i-epoch": i_epoch,
    "patience": Patience,
    "any": partial(Combination, needs="any"),
    "all": partial(Combination, needs="all"),
}
"""Rules by name: `MODEL_FREE[name](**settings)`; see `curvestop.srm.policies.risk_budget.RULES` for all."""
