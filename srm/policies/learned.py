"""The default policy: stop a trial whose chance to end as the best is too small to be worth its remaining epochs.

The chance is learnt from replays of many real searches (`python -m benchmarks.replay.train_policy`). It is the geometric mean of
two chances that follow from `trial_features`: that of a logistic regression, one before the study has a model of its curves and
one afterwards, and that of boosted trees. The coefficients lie beside this file. The model card, with calibration by domain and
where the policy fails, is docs/learned-policy.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from itertools import pairwise
from operator import mul
from typing import Any

from curvestop.srm.curve import Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.boosted_trees import BoostedTrees
from curvestop.srm.policies.evidence import DECISION_SHARES, Evidence, due, epochs_at, not_judged
from curvestop.srm.policies.trial_features import FEATURES, trial_features

REFERENCE_OTHERS = 30
"""The threshold is in proportion to REFERENCE_OTHERS / others: in a larger study more stops may each lose the best."""
LARGEST_LEARNT = 100
"""Trials of the largest searches that the trees learnt from. In a larger one their chance falls as 1 / others, as a draw's."""
OTHERS_AS_COMPLETE = 4
"""So many other trials at a decision point tell as much as a complete one."""
HALF_EXPERIENCE = 20
"""The threshold is in proportion to n / (n + HALF_EXPERIENCE) after n complete trials: of few, a chance is less certain."""
LARGEST_THRESHOLD = 0.5
_LOG_ARRIVED = FEATURES.index("log_arrived")


@dataclass(frozen=True)
class Regression:
    """A logistic regression.

    Attributes:
        intercept: Log odds where all features are 0.
        weights: One for each of `FEATURES`.
    """

    intercept: float
    weights: tuple[float, ...]

    def chance(self, features: Sequence[float]) -> float:
        """Return the chance in (0, 1] that belongs to these features.

        The regression is fitted to half the label, so the chance is twice its sigmoid: for the small chances at which stops are
        decided that is closer to log-linear than a fit to the label itself.
        """
        score = self.intercept + sum(map(mul, self.weights, features))
        return min(2 / (1 + math.exp(-max(score, -700.0))), 1.0)


@dataclass(frozen=True)
class Coefficients:
    """What was learnt.

    Attributes:
        without_model: Used before the study has a model of its curves.
        with_model: Used afterwards.
        trees: Used always, together with one of the two.
        thresholds: (risk, threshold) pairs, ascending in both; between them the logarithms are interpolated.
    """

    without_model: Regression
    with_model: Regression
    trees: BoostedTrees
    thresholds: tuple[tuple[float, float], ...]

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Coefficients:
        """Return coefficients as the training command writes them.

        Raises:
            ValueError: If a feature is missing.
        """

        def regression(name: str) -> Regression:
            weights = stored[name]["weights"]
            if sorted(weights) != sorted(FEATURES):
                raise ValueError(f"weights must be those of {', '.join(FEATURES)}, but got {', '.join(weights)}")
            return Regression(stored[name]["intercept"], tuple(weights[feature] for feature in FEATURES))

        thresholds = tuple(sorted((float(risk), value) for risk, value in stored["thresholds"].items()))
        trees = BoostedTrees.from_json(stored["trees"])
        return Coefficients(regression("without_model"), regression("with_model"), trees, thresholds)

    def chance(self, features: Sequence[float], *, has_model: bool) -> float:
        """Return the chance in (0, 1] that belongs to these features.

        The trees know what depends on several features together, the regression goes on where the trees saw few cases. Left out,
        their mean loses less than either (docs/stopping-research.md).
        """
        regression = self.with_model if has_model else self.without_model
        others = math.expm1(features[_LOG_ARRIVED])
        by_trees = self.trees.chance(features) * min(LARGEST_LEARNT / max(others, 1.0), 1.0)
        return math.sqrt(regression.chance(features) * by_trees)

    def threshold(self, risk: float) -> float:
        """Return the threshold of a risk; beyond the known risks it is proportional to the risk."""
        known = self.thresholds
        if risk <= known[0][0]:
            return known[0][1] * risk / known[0][0]
        for (low, at_low), (high, at_high) in pairwise(known):
            if risk <= high:
                share = math.log(risk / low) / math.log(high / low)
                return math.exp(math.log(at_low) + share * math.log(at_high / at_low))
        return known[-1][1] * risk / known[-1][0]


@cache
def shipped_coefficients() -> Coefficients:
    """Return the coefficients of the package, learnt from all curve sets."""
    return Coefficients.from_json(json.loads((files(__package__) / "learned_coefficients.json").read_text()))


@dataclass(frozen=True)
class LearnedPolicy:
    """Stop when the chance to end as the best trial of the study is too small.

    Attributes:
        risk: Share of searches, in (0, 1), in which the best trial may be lost: 0.01 is careful, 0.03 the default, 0.1 bold.
        min_others: Number of other trials that must have reached a decision point before anything is stopped there.
        min_completed: Number of complete trials before anything is stopped, >= 1; `OTHERS_AS_COMPLETE` trials at the decision
            point count as one, as with many workers none is complete for long.
        shares: Decision points as shares of max_epochs.
        coefficients: Other coefficients than the package's, for experiments.

    Examples:
        >>> LearnedPolicy(risk=0.1).threshold(0.0, 30, 10) > LearnedPolicy(risk=0.01).threshold(0.0, 30, 10)
        True
    """

    risk: float = 0.03
    min_others: int = 4
    min_completed: int = 5
    shares: tuple[float, ...] = DECISION_SHARES
    coefficients: Coefficients | None = None

    reads_neighbors = True

    def __post_init__(self) -> None:
        if not 0 < self.risk < 1:
            raise ValueError(f"risk must be in (0, 1), but got {self.risk!r}")
        for name in ("min_others", "min_completed"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, but got {getattr(self, name)!r}")

    @cached_property
    def _learned(self) -> Coefficients:
        return self.coefficients or shipped_coefficients()

    @cached_property
    def _base_threshold(self) -> float:
        return self._learned.threshold(self.risk)

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return the epochs at `shares`."""
        return epochs_at(self.shares, max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return the decision point that the trial passed, and the one before it; none if it passed none."""
        points = self.decision_points(max_epochs)
        epoch = due(points, tau, previous)
        if epoch is None:
            return ()
        index = points.index(epoch)
        return points[max(index - 1, 0) : index + 1]

    def threshold(self, share: float, n_others: int, n_completed: int) -> float:
        """Return the chance below which a trial is stopped.

        Args:
            share: Share of max_epochs that was seen, in (0, 1).
            n_others: Number of other trials at the decision point.
            n_completed: Number of complete trials.
        """
        known = experience(n_others, n_completed)
        crowded = REFERENCE_OTHERS / max(n_others, self.min_others)
        return min(self._base_threshold * (1 - share) * crowded * known / (known + HALF_EXPERIENCE), LARGEST_THRESHOLD)

    def decide(self, evidence: Evidence) -> Decision:
        """Stop if the trial's chance to end as the best is below the threshold."""
        epoch = evidence.due(self.decision_points(evidence.max_epochs))
        if epoch is None or not evidence.can_rank(epoch, self.min_others):
            return not_judged(evidence, epoch, self.min_others)
        n_others, n_completed = evidence.n_others(epoch), evidence.history.n_completed
        chance = self.chance(evidence, epoch)
        if experience(n_others, n_completed) < self.min_completed:
            missing = self.min_completed - n_completed
            reason = f"stops nothing before {plural(missing, 'more trial')} {'is' if missing == 1 else 'are'} complete"
            return evidence.answer(False, f"{reason}; {self._in_words(evidence, epoch, chance)}", chance=chance)
        threshold = self.threshold(epoch / evidence.max_epochs, n_others, n_completed)
        reason = f"{self._in_words(evidence, epoch, chance)}; stops below {percent(threshold)}"
        return evidence.answer(chance < threshold, reason, chance=chance)

    def chance(self, evidence: Evidence, epoch: int) -> float:
        """Return the chance, in (0, 1], that the trial as it was at a decision point ends as the best of the study.

        At least one other trial reached the decision point.
        """
        has_model = evidence.history.predicted_better(evidence.trial, epoch) is not None
        return self._learned.chance(self.features(evidence, epoch), has_model=has_model)

    def features(self, evidence: Evidence, epoch: int) -> list[float]:
        """Return the numbers named by `FEATURES`, of the trial as it was at a decision point that it and another one reached."""
        points = self.decision_points(evidence.max_epochs)
        index = points.index(epoch)
        return trial_features(
            evidence.history,
            evidence.trial,
            epoch,
            before=points[index - 1] if index else None,
            max_epochs=evidence.max_epochs,
            prediction=evidence.prediction,
            neighbors=evidence.neighbors,
        )

    def _in_words(self, evidence: Evidence, epoch: int, chance: float) -> str:
        history, n_others = evidence.history, evidence.n_others(epoch)
        rank = history.bests[epoch].better_than(history.best_so_far(evidence.trial, epoch)) + 1
        words = f"rank {rank} of {n_others + 1} at {evidence.at(epoch)} of {evidence.end}"
        if evidence.prediction is None:
            words += f"; no forecast yet: {evidence.why_unreliable}" if evidence.why_unreliable else ""
        else:
            mean, sigma = evidence.prediction
            best, better = evidence.to_beat(1), history.predicted_better(evidence.trial, epoch)
            words += f"; forecast {mean:.4g} +- {sigma:.2g}"
            words += "" if better is None else f", rank {better + 1} by forecast"
            words += "" if best is None else f", best {best:.4g}"
        return f"{percent(chance)} chance to end as the best ({words})"


def experience(n_others: int, n_completed: int) -> float:
    """Return what was learnt so far, in complete trials: the number of them, or the other trials' worth if that is more.

    Examples:
        >>> experience(12, 7), experience(40, 7)
        (7, 10.0)
    """
    return max(n_completed, n_others / OTHERS_AS_COMPLETE)


def percent(share: float) -> str:
    """Return a share in per cent, with two digits below 10 %.

    Examples:
        >>> percent(0.0034), percent(0.21)
        ('0.34%', '21%')
    """
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
