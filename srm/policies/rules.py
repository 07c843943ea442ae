"""Stopping policies without a model of their own: each compares a trial with the others and answers with a `Decision`.

Sources: threshold, Baker 2017 (thesis), section 4.1.2; ASHA, Li et al. 2020; successive halving, Jamieson and Talwalkar 2016;
median, Golovin et al. 2017 (Vizier); i-epoch, Egele et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from curvestop.srm.curve import Decision
from curvestop.srm.policies.evidence import (
    DECISION_SHARES,
    Evidence,
    IgnoresPredictedRanks,
    Rule,
    all_equal_in_words,
    check_shares,
    epochs_at,
    not_judged,
    rank_in_words,
)
from curvestop.srm.policies.stopping_rule import StoppingRule


@dataclass(frozen=True)
class Threshold(IgnoresPredictedRanks):
    """Stop a trial whose final value is unlikely to beat the n-th best one: the thesis's rule.

    Nothing is stopped at an epoch whose trials are all equal.

    Attributes:
        beat: Threshold, tolerance and rank; None for the study's own.
        needs_reliable_model: Whether to stop nothing by a model that explains little; otherwise its sigma has to do.

    Examples:
        >>> from curvestop import StudySettings
        >>> StudySettings("s", 20, policy="threshold", policy_settings={"threshold": 0.99}).stopping.beat.threshold
        0.99
    """

    beat: StoppingRule | None = None
    needs_reliable_model: bool = True

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return every epoch but the last."""
        return range(1, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if P(final value no better than the n-th best) >= threshold."""
        beat, prediction = self.beat or evidence.beat, evidence.prediction
        if prediction is None:
            return evidence.answer(False, evidence.why_unreliable or "there is no model for this length of curve")
        to_beat, probability = evidence.to_beat(beat.rank), evidence.answer(False, "", beat=beat).probability
        if to_beat is None or probability is None:
            return evidence.answer(False, f"fewer than {beat.rank} complete curves to compare with", beat=beat)
        # Configurations may differ, but a model of theirs says little before the curves do.
        if evidence.all_equal:
            return evidence.answer(False, all_equal_in_words(evidence.at(evidence.tau)), beat=beat)
        # Sigma is honest on average, but of a model that explains little every trial looks alike.
        if evidence.why_unreliable and self.needs_reliable_model:
            return evidence.answer(False, f"the model is unreliable: {evidence.why_unreliable}", beat=beat)
        stated = f"= {probability:.3f}" if probability < 0.9995 else "> 0.999"  # never certain
        reason = (
            f"P(no better than {to_beat:.6g} at {evidence.at(evidence.max_epochs)}) {stated}, stops at {beat.threshold:g}: "
            f"predicted {prediction.mean:.6g} +- {prediction.sigma:.2g} from {evidence.span(evidence.tau)} "
            f"and {evidence.n_curves} complete curves"
        )
        return evidence.answer(beat.stops(probability), reason, beat=beat)


@dataclass(frozen=True)
class Rank(IgnoresPredictedRanks):
    """Keep, at each decision point, a share of all trials that came so far, by best value so far.

    Attributes:
        keep: Share that continues, in (0, 1], at the first `n_early` decision points and at the later ones.
        n_early: Number of early decision points.
        shares: Decision points as shares of max_epochs.
        min_arrivals: Number of other trials that must have reached the epoch before anything is stopped.

    Examples:
        >>> Rank(keep=(0.5, 0.5), shares=(0.25,)).decision_points(20)
        (5,)
    """

    keep: tuple[float, float] = (0.6, 0.8)
    n_early: int = 4
    shares: tuple[float, ...] = DECISION_SHARES
    min_arrivals: int = 5

    def __post_init__(self) -> None:
        check_shares(keep=self.keep, shares=self.shares)

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs at `shares`."""
        return epochs_at(self.shares, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if more than `keep` of the others are better by best value so far."""
        points = self.decision_points(evidence.max_epochs)
        epoch = evidence.due(points)
        if epoch is None or not evidence.can_rank(epoch, self.min_arrivals):
            return not_judged(evidence, epoch, self.min_arrivals)
        # False and True index the pair: early, late.
        keep = self.keep[points.index(epoch) >= self.n_early]
        share = evidence.history.share_better(evidence.trial, epoch)
        return evidence.answer(share > keep, rank_in_words(share, keep, evidence.n_others(epoch), evidence.at(epoch)))


def i_epoch(share: float = 0.1, keep: float = 0.2, min_arrivals: int = 5) -> Rank:
    """Return the policy with one decision point after `share` of the epochs: the best `keep` of the trials continue.

    Args:
        share: Share of max_epochs at the one decision point, in (0, 1].
        keep: Share of the trials that continues there, in (0, 1].
        min_arrivals: Number of other trials that must have reached it before anything is stopped.
    """
    return Rank(keep=(keep, keep), n_early=1, shares=(share,), min_arrivals=min_arrivals)


@dataclass(frozen=True)
class Halving(IgnoresPredictedRanks):
    """At rungs first_share * eta^k of max_epochs, keep the best 1/eta of the trials that reached the rung.

    Attributes:
        first_share: First rung as a share of max_epochs, in (0, 1].
        eta: Reduction factor, >= 2.
        pool: Number of trials that must have reached a rung before any is stopped there. 1 is asynchronous (ASHA, the
            stopping variant); the number of all trials is successive halving, for trials that advance together.

    Examples:
        >>> Halving(first_share=0.1, eta=3).decision_points(90)
        (9, 27, 81)
    """

    first_share: float = 0.1
    eta: int = 3
    pool: int = 1

    def __post_init__(self) -> None:
        check_shares(first_share=(self.first_share,))
        if self.eta < 2:
            raise ValueError(f"eta must be >= 2, but got {self.eta!r}")

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the rungs below max_epochs."""
        rungs, share = [], self.first_share
        # Rungs first_share * eta^k; the one at max_epochs is the end.
        while round(share * max_epochs) < max_epochs:
            rungs.append(share)
            share *= self.eta
        return epochs_at(tuple(rungs), max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the trial is not among the best 1/eta at the rung that it passed."""
        epoch = evidence.due(self.decision_points(evidence.max_epochs))
        if epoch is None or not evidence.can_rank(epoch, self.pool - 1):
            return not_judged(evidence, epoch, self.pool - 1)
        arrived = evidence.history.bests[epoch]
        # Ties count as equally good, so all of the best 1/eta and those equal to the last of them continue.
        better = arrived.better_than(evidence.history.best_so_far(evidence.trial, epoch))
        # At least one: with fewer than eta trials the best one would be stopped too.
        kept = max(len(arrived) // self.eta, 1)
        return evidence.answer(
            better >= kept,
            f"rank {better + 1} of {len(arrived)} at the rung of {evidence.at(epoch)}, the best {kept} continue",
        )


@dataclass(frozen=True)
class Median(IgnoresPredictedRanks):
    """Stop when the best value so far is worse than the median of the others' values at this epoch.

    Attributes:
        over: "completed" trials (as Optuna's MedianPruner) or "all" that reached the epoch.
        warm_up: Share of max_epochs without stops.
        min_trials: Number of trials to compare with that are needed.

    Examples:
        >>> Median(warm_up=0.5).decision_points(6)
        range(4, 6)
    """

    over: Literal["completed", "all"] = "completed"
    warm_up: float = 0.0
    min_trials: int = 5

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return every epoch after the warm-up but the last."""
        return range(max(1, int(self.warm_up * max_epochs) + 1), max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the best value so far is worse than the median."""
        history, tau = evidence.history, evidence.due(self.decision_points(evidence.max_epochs))
        if tau is None:
            return not_judged(evidence, tau, self.min_trials)
        ranked = history.completed_scores[tau] if self.over == "completed" else history.scores[tau]
        # A running trial is among all, but not among the completed ones.
        own = history.curve(evidence.trial)[tau - 1] if self.over == "all" else None
        n_others = len(ranked) - (own is not None)
        median = ranked.median(without=own)
        if n_others < self.min_trials or median is None:
            return evidence.answer(False, f"{n_others} trials to compare with, fewer than {self.min_trials}")
        # As Optuna does: the best so far against values at this epoch, in favour of the trial.
        best = history.best_so_far(evidence.trial, tau)
        verb = "is worse than" if best < median else "is no worse than"
        at_epoch = f"{history.sign * median:.6g} at {evidence.at(tau)}"
        reason = f"the best value so far, {history.sign * best:.6g}, {verb} the median {at_epoch}"
        return evidence.answer(best < median, reason)


@dataclass(frozen=True)
class Patience(IgnoresPredictedRanks):
    """Stop when the best value has not improved by more than `min_change` for a share of max_epochs.

    A trial whose value never changed is stopped only if other trials read something else: all may be waiting for the first
    reward.

    Attributes:
        share: Share of max_epochs to wait for an improvement.
        min_change: Smallest change, in the metric's unit, that counts as an improvement.

    Examples:
        >>> Patience(share=0.2).decision_points(10)
        range(3, 10)
    """

    share: float = 0.2
    min_change: float = 0.0

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return every epoch after the first wait but the last."""
        return range(self._epochs(max_epochs) + 1, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the trial did not improve in the last `share` of max_epochs."""
        # In epochs: the share of a longer run is a longer wait.
        waited, tau = self._epochs(evidence.max_epochs), evidence.tau
        # The window must lie within the curve: there is no value before epoch 1 to have improved on.
        if tau <= waited:
            return evidence.answer(False, f"patience is {evidence.span(waited)}")
        curve = evidence.history.curve(evidence.trial)[:tau]
        if min(curve) == max(curve) and evidence.history.all_equal(tau):
            return evidence.answer(False, all_equal_in_words(evidence.at(tau)))
        # The best so far, not the values: a noisy metric improves by chance in every window.
        now, then = (evidence.history.best_so_far(evidence.trial, epoch) for epoch in (tau, tau - waited))
        reason = f"the best value improved by {now - then:.3g} in the last {evidence.span(waited)}"
        return evidence.answer(now - then <= self.min_change, reason)

    def _epochs(self, max_epochs: int) -> int:
        return max(1, round(self.share * max_epochs))


@dataclass(frozen=True)
class Combination:
    """Stop when any, or when all, of these policies would.

    A shadowed policy counts as one that wants to stop only for `Decision.would_stop`.

    Attributes:
        rules: The policies, one or more.
        needs: "any" or "all" of them.

    Examples:
        >>> Combination((i_epoch(share=0.5), i_epoch(share=0.2))).decision_points(10)
        [2, 5]
    """

    rules: tuple[Rule, ...]
    needs: Literal["any", "all"] = "any"

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError(f"rules must be one or more, but got {self.rules!r}")

    @property
    def reads_neighbors(self) -> bool:
        """Whether any of the policies does."""
        return any(rule.reads_neighbors for rule in self.rules)

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the decision points of all policies, ascending."""
        return sorted({epoch for rule in self.rules for epoch in rule.decision_points(max_epochs)})

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return the epochs whose ranks by prediction any of the policies reads."""
        return sorted({epoch for rule in self.rules for epoch in rule.ranked_epochs(tau, previous, max_epochs)})

    def decide(self, evidence: Evidence) -> Decision:
        """Combine the decisions of all policies; the reason is that of the decisive ones."""
        answers = [rule.decide(evidence) for rule in self.rules]
        needed = any if self.needs == "any" else all
        stop = needed(answer.stop for answer in answers)
        # Only if shadowed policies, and no others, keep it from being a stop.
        would_stop = not stop and needed(answer.stop or answer.would_stop for answer in answers)
        wanted = stop or would_stop
        # Those that wanted what was decided; with "all", one that continues is decisive.
        decisive = [a for a in answers if (a.stop if stop else a.stop or a.would_stop) == wanted] or answers
        decision = evidence.answer(stop, "; ".join(answer.reason for answer in decisive))
        chance = next((answer.chance for answer in decisive if answer.chance is not None), None)
        return replace(decision, would_stop=would_stop, chance=chance)


def threshold(**settings: Any) -> Threshold:
    """Return the thesis's rule with these settings of `StoppingRule`; without any, the study's own.

    Raises:
        ValueError: If `min_curves` is given, which says when models are fitted and belongs to the study's rule.
    """
    if "min_curves" in settings:
        raise ValueError(f"min_curves belongs to the rule of StudySettings, but got {settings!r}")
    return Threshold(StoppingRule(**settings) if settings else None)


def successive_halving(*, pool: int, **settings: Any) -> Halving:
    """Return `Halving` for `pool` trials that advance together.

    Args:
        pool: Number of trials that advance together, >= 2; none is stopped at a rung before all of them reached it.
        **settings: `first_share` and `eta`.

    Raises:
        ValueError: If pool is less than 2, which is "asha".
    """
    if pool < 2:
        raise ValueError(f"pool must be >= 2 (with 1 it is the policy 'asha'), but got {pool!r}")
    return Halving(pool=pool, **settings)
