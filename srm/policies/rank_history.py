"""What a study has seen so far, kept in order, so that a stopping rule finds any rank in O(log n).

Everything here is a *score*: the metric where higher is better, its negative where lower is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from curvestop.srm.policies.stopping_rule import Direction

Scores = Callable[[int, Sequence[str]], Sequence[float] | None]
"""A model's scores of trials as they were after an epoch, for ranking only; None where it has no model for that epoch."""

FEW = 16
"""So many scores are put in their places one by one; more are sorted."""


class SortedScores:
    """Scores in ascending order. `add` and `better_than` are O(log n) (and a move of memory); many `add` in a row are cheaper."""

    def __init__(self, scores: Iterable[float] = ()) -> None:
        self._sorted = sorted(scores)
        self._added: list[float] = []  # not in their places yet

    def __len__(self) -> int:
        return len(self._sorted) + len(self._added)

    def add(self, score: float) -> None:
        self._added.append(score)

    @property
    def _scores(self) -> list[float]:
        if len(self._added) > FEW:
            self._sorted += self._added
            self._sorted.sort()
        else:
            for score in self._added:
                insort(self._sorted, score)
        self._added.clear()
        return self._sorted

    def discard(self, score: float) -> None:
        """Take one such score away, if there is one."""
        scores = self._scores
        place = bisect_left(scores, score)
        if place < len(scores) and scores[place] == score:
            del scores[place]

    def better_than(self, score: float) -> int:
        """How many are strictly better."""
        scores = self._scores
        return len(scores) - bisect_right(scores, score)

    def nth_best(self, n: int) -> float | None:
        """The n-th best (n >= 1); None when there are fewer."""
        scores = self._scores
        return scores[-n] if len(scores) >= n else None

    def median(self, *, without: float | None = None) -> float | None:
        """The median, `without` one that is known to be there; None when none is left."""
        scores = self._scores
        skipped = len(scores) if without is None else bisect_left(scores, without)
        left = len(scores) - (without is not None)
        if left == 0:
            return None
        low, high = ((left - 1) // 2, left // 2)
        return (scores[low + (low >= skipped)] + scores[high + (high >= skipped)]) / 2


class History:
    """The curves of a study, with ranks among all trials at every epoch, stopped ones included.

    direction: of the metric. ranked_at: epochs at which ranks are kept (those a rule looks at); None for all.
    Values must be given epoch by epoch for each trial; trials may be mixed in any way.
    A stopped trial counts at the epochs that it reached, and its last value is never taken for a final one.
    """

    def __init__(self, direction: Direction = "maximize", *, ranked_at: Container[int] | None = None) -> None:
        self._ranked_at = ranked_at
        self.sign = 1.0 if direction == "maximize" else -1.0
        self.bests: defaultdict[int, SortedScores] = defaultdict(SortedScores)  # epoch -> best so far of all that reached it
        self.scores: defaultdict[int, SortedScores] = defaultdict(SortedScores)  # epoch -> score of all that reached it
        self.completed_scores: defaultdict[int, SortedScores] = defaultdict(
            SortedScores
        )  # epoch -> score there of complete trials
        self.finals = SortedScores()
        self._curves: dict[str, list[float]] = {}
        self._best_so_far: dict[str, list[float]] = {}
        self._completed: dict[str, None] = {}
        self._leaders: list[tuple[float, str]] = []  # (final score, trial) of the complete trials, ascending
        self._arrived: defaultdict[int, list[str]] = defaultdict(list)  # ranked epoch -> trials, in the order they got there
        self._scores: Scores | None = None
        self._predicted: defaultdict[int, dict[str, float]] = defaultdict(dict)
        self._predicted_ranks: defaultdict[int, SortedScores] = defaultdict(SortedScores)
        self.n_models = 0  # how many models have scored so far
        self.n_observed = 0  # values of all trials
        self.memo: dict[Any, Any] = {}  # a rule's own, for what it need not compute at every decision

    def observe(self, trial: str, value: float) -> int:
        """Add the metric's value after the trial's next epoch; returns that epoch."""
        score = self.sign * value
        curve = self._curves.get(trial)
        if curve is None:
            curve, best = self._curves[trial], self._best_so_far[trial] = [score], [score]
        else:
            best = self._best_so_far[trial]
            curve.append(score)
            best.append(score if score > best[-1] else best[-1])
        epoch = len(curve)
        self.n_observed += 1
        if self._ranked_at is None or epoch in self._ranked_at:
            self.scores[epoch].add(score)
            self.bests[epoch].add(best[-1])
            self._arrived[epoch].append(trial)
        return epoch

    def complete(self, trial: str) -> None:
        """Take the trial's last value for its final one. Raises KeyError for a trial without values."""
        curve = self._curves[trial]
        if trial in self._completed:
            return
        self._completed[trial] = None
        self.finals.add(curve[-1])
        insort(self._leaders, (curve[-1], trial))
        for epoch, score in enumerate(curve, start=1):
            if self._ranked_at is None or epoch in self._ranked_at:
                self.completed_scores[epoch].add(score)

    @property
    def n_trials(self) -> int:
        return len(self._curves)

    @property
    def n_completed(self) -> int:
        return len(self._completed)

    @property
    def completed(self) -> tuple[str, ...]:
        """Names of the complete trials, in the order of their completion."""
        return tuple(self._completed)

    def leaders(self, n: int) -> tuple[str, ...]:
        """The n complete trials with the best final values (all, when there are fewer), best first."""
        return tuple(trial for _, trial in self._leaders[: -n - 1 : -1])

    def curve(self, trial: str) -> Sequence[float]:
        """Scores after epochs 1, 2, ... (do not change it)."""
        return self._curves[trial]

    def best_so_far(self, trial: str, epoch: int) -> float:
        """After this many epochs; of a shorter curve (its trial was finished early), after its last."""
        best = self._best_so_far[trial]
        return best[min(epoch, len(best)) - 1]

    def share_better(self, trial: str, epoch: int) -> float:
        """Share of the other trials that were, at this epoch, strictly better by best so far; 0 without others."""
        arrived = self.bests[epoch]
        return arrived.better_than(self.best_so_far(trial, epoch)) / max(len(arrived) - 1, 1)

    # Predicted scores of the trials as they were at an epoch, all by one model, so that they can be ranked. They are asked for
    # when a rule needs them and are those of all that reached the epoch, so they are a function of the curves and the model.

    def rank_by(self, scores: Scores | None) -> None:
        """A new model's scores from now on, None without one. Higher is better; left-out ones for trials that it learnt from."""
        self.n_models += 1
        self._scores = scores
        self._predicted.clear()
        self._predicted_ranks.clear()

    def predicted_share_better(self, trial: str, epoch: int) -> float | None:
        """Share of the other trials that reached this epoch that are predicted strictly better; None without a prediction."""
        predicted = self._predictions(epoch).get(trial)
        if predicted is None:
            return None
        ranks = self._predicted_ranks[epoch]
        return ranks.better_than(predicted) / max(len(ranks) - 1, 1)

    def _predictions(self, epoch: int) -> Mapping[str, float]:
        known, arrived = self._predicted[epoch], self._arrived[epoch]
        if self._scores is None or len(known) == len(arrived):
            return known
        late = arrived[len(known) :]
        scores = self._scores(epoch, late)
        if scores is None:
            return {}
        if known:
            for score in scores:
                self._predicted_ranks[epoch].add(score)
        else:
            self._predicted_ranks[epoch] = SortedScores(scores)
        known.update(zip(late, scores, strict=True))
        return known
