"""What a study has seen so far, kept in order, so that a stopping policy finds any rank in O(log n).

Everything here is a *score*: the metric where higher is better, its negative where lower is better.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from typing import Any

from curvestop.srm.policies.stopping_rule import Direction

N_INSERTED_ONE_BY_ONE = 16
"""Up to so many new scores are inserted one by one; more are sorted together."""


class SortedScores:
    """Scores in ascending order.

    `add` and `better_than` are O(log n) and a move of memory; many `add` in a row cost less.

    Args:
        scores: Any number of scores, in any order; none of them NaN.
    """

    def __init__(self, scores: Iterable[float] = ()) -> None:
        self._sorted = sorted(scores)
        self._added: list[float] = []  # not in their places yet

    def __len__(self) -> int:
        return len(self._sorted) + len(self._added)

    def add(self, score: float) -> None:
        """Add a score."""
        self._added.append(score)

    @property
    def _scores(self) -> list[float]:
        # Merging a sorted list with a short tail is linear for Timsort; inserting moves memory for each score.
        if len(self._added) > N_INSERTED_ONE_BY_ONE:
            self._sorted += self._added
            self._sorted.sort()
        else:
            for score in self._added:
                insort(self._sorted, score)
        self._added.clear()
        return self._sorted

    def discard(self, score: float) -> None:
        """Remove one such score, if there is one.

        Args:
            score: Compared exactly; of several equal ones, one goes.
        """
        scores = self._scores
        place = bisect_left(scores, score)
        if place < len(scores) and scores[place] == score:
            del scores[place]

    def better_than(self, score: float) -> int:
        """Return how many scores are strictly higher: equal is as good."""
        scores = self._scores
        return len(scores) - bisect_right(scores, score)

    def worse_than(self, score: float) -> int:
        """Return how many scores are strictly lower."""
        return bisect_left(self._scores, score)

    @property
    def all_equal(self) -> bool:
        """Whether no two scores differ."""
        scores = self._scores
        return not scores or scores[0] == scores[-1]

    def at(self, index: int) -> float:
        """Return the score at an index of the ascending order, 0..n - 1."""
        return self._scores[index]

    def nth_best(self, n: int) -> float | None:
        """Return the n-th highest score (n >= 1); None if there are fewer."""
        scores = self._scores
        return scores[-n] if len(scores) >= n else None

    def median(self, *, without: float | None = None) -> float | None:
        """Return the median, leaving out one score that is known to be there; None if no score is left.

        Args:
            without: A score that is among them, left out once; None (default) leaves none out.

        Returns:
            The median, the mean of the middle two of an even number.
        """
        scores = self._scores
        skipped = len(scores) if without is None else bisect_left(scores, without)
        left = len(scores) - (without is not None)
        if left == 0:
            return None
        low, high = ((left - 1) // 2, left // 2)
        # An index from the left-out score on stands for the next one.
        return (scores[low + (low >= skipped)] + scores[high + (high >= skipped)]) / 2


class RankHistory:
    """The curves of a study, with ranks among all trials at every epoch, stopped ones included.

    Values come epoch by epoch for each trial; trials may be mixed in any way. A stopped trial counts at the epochs that it
    reached, and its last value is never taken for a final one.

    Args:
        direction: Direction of the metric.
        ranked_at: Epochs at which ranks are kept: those at which a policy decides. None for all.

    Attributes:
        sign: 1 if higher values are better, else -1.
        bests: By epoch, the best scores so far of all trials that reached it.
        scores: By epoch, the scores of all trials that reached it.
        completed_scores: By epoch, the scores there of complete trials.
        finals: Final scores of the complete trials.
        gains: By epoch, what complete trials gained from there to their end.
        n_models: Number of models that ranked so far.
        n_observed: Number of values of all trials.
        memo: Cache of the policies, for what they need not compute at every decision.
    """

    def __init__(self, direction: Direction = "maximize", *, ranked_at: Container[int] | None = None) -> None:
        self._ranked_at = ranked_at
        self.sign = 1.0 if direction == "maximize" else -1.0
        self.bests: defaultdict[int, SortedScores] = defaultdict(SortedScores)
        self.scores: defaultdict[int, SortedScores] = defaultdict(SortedScores)
        self.completed_scores: defaultdict[int, SortedScores] = defaultdict(SortedScores)
        self.finals = SortedScores()
        self.gains: defaultdict[int, SortedScores] = defaultdict(SortedScores)
        self.n_models = 0
        self.n_observed = 0
        self.memo: dict[Any, Any] = {}
        self._curves: dict[str, list[float]] = {}
        self._best_so_far: dict[str, list[float]] = {}
        self._completed: dict[str, None] = {}  # in order of completion
        self._best_complete: list[tuple[float, str]] = []  # (final score, trial), ascending
        self._arrived: defaultdict[int, list[str]] = defaultdict(list)  # ranked epoch -> trials, in order of arrival
        self._predicted: defaultdict[int, dict[str, float]] = defaultdict(dict)  # epoch -> trial -> predicted score
        self._predicted_ranks: defaultdict[int, SortedScores] = defaultdict(SortedScores)

    def observe(self, trial: str, value: float) -> int:
        """Add the metric's value after the trial's next epoch; return that epoch.

        Args:
            trial: Name of the trial; a new one begins at epoch 1.
            value: Finite value of the metric, not its score.
        """
        # From here on higher is better: no method below asks for the direction.
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
        """Take the trial's last value for its final one.

        Args:
            trial: Name of a trial with a value; a complete one stays as it is.

        Raises:
            KeyError: If the trial has no values.
        """
        curve = self._curves[trial]
        # A trial that was ended as finished may report on; its final value stays.
        if trial in self._completed:
            return
        self._completed[trial] = None
        self.finals.add(curve[-1])
        insort(self._best_complete, (curve[-1], trial))
        for epoch, score in enumerate(curve, start=1):
            if self._ranked_at is None or epoch in self._ranked_at:
                self.completed_scores[epoch].add(score)
                self.gains[epoch].add(curve[-1] - score)

    @property
    def n_trials(self) -> int:
        """Number of trials with a value."""
        return len(self._curves)

    @property
    def n_completed(self) -> int:
        """Number of complete trials."""
        return len(self._completed)

    @property
    def ranked_finals(self) -> Sequence[tuple[float, str]]:
        """(final score, trial) of the complete trials, ascending; not to be changed."""
        return self._best_complete

    def best_complete(self, n: int) -> tuple[str, ...]:
        """Return the n complete trials with the best final values (all, if there are fewer), best first."""
        # From the end of the ascending list, backwards.
        return tuple(trial for _, trial in self._best_complete[: -n - 1 : -1])

    def latest_completed(self, n: int) -> list[str]:
        """Return the last n trials that completed (all, if there are fewer), in order of completion."""
        return list(self._completed)[-n:]

    def curve(self, trial: str) -> Sequence[float]:
        """Return the scores of a trial after epochs 1, 2, ...; not to be changed."""
        return self._curves[trial]

    def best_so_far(self, trial: str, epoch: int) -> float:
        """Return the best score of a trial up to this epoch; of a shorter curve (it finished early), up to its last.

        Args:
            trial: Name of a trial with a value.
            epoch: >= 1, also beyond the trial's end.
        """
        best = self._best_so_far[trial]
        return best[min(epoch, len(best)) - 1]

    def share_better(self, trial: str, epoch: int) -> float:
        """Return the share of the other trials that were strictly better at this epoch, by best so far; 0 without others.

        Args:
            trial: Name of a trial with a value.
            epoch: One of `ranked_at`; of a trial that finished earlier, its best counts.
        """
        arrived = self.bests[epoch]
        # The trial itself is among those that arrived, but is not strictly better than itself.
        return arrived.better_than(self.best_so_far(trial, epoch)) / max(len(arrived) - 1, 1)

    def all_equal(self, epoch: int) -> bool:
        """Return whether all trials that reached this epoch have the same value there and the same best so far.

        Args:
            epoch: One of `ranked_at`.
        """
        return self.scores[epoch].all_equal and self.bests[epoch].all_equal

    # Ranks by prediction. All scores at an epoch are predicted by one model, so that they can be compared.

    def forget_predictions(self) -> None:
        """Drop all predicted scores: another model predicts from now on, or none."""
        # A change of the count tells the policies that what they remember is out of date.
        self.n_models += 1
        self._predicted.clear()
        self._predicted_ranks.clear()

    def without_prediction(self, epoch: int) -> Sequence[str]:
        """Return the trials that reached this epoch and have no predicted score yet, in order of arrival."""
        # Predictions are added in order of arrival, so those without one are the last to arrive.
        return self._arrived[epoch][len(self._predicted[epoch]) :]

    def add_predictions(self, epoch: int, scores: Sequence[float]) -> None:
        """Add predicted scores, higher is better, of the trials that `without_prediction` returned, in that order.

        Trials that the model learnt from have left-out scores, so that they compare fairly with new ones.

        Args:
            epoch: One of `ranked_at`.
            scores: `(n,)`, as many as `without_prediction(epoch)` has trials.
        """
        known, ranks = self._predicted[epoch], self._predicted_ranks[epoch]
        known.update(zip(self.without_prediction(epoch), scores, strict=True))
        for score in scores:
            ranks.add(score)

    def predicted_score(self, trial: str, epoch: int) -> float | None:
        """Return the predicted score of a trial as it was at this epoch, higher is better; None without a prediction.

        Args:
            trial: Name of a trial.
            epoch: One of `ranked_at`.
        """
        return self._predicted[epoch].get(trial)

    def predicted_better(self, trial: str, epoch: int) -> int | None:
        """Return how many trials at this epoch are predicted strictly better; None without a prediction.

        Args:
            trial: Name of a trial.
            epoch: One of `ranked_at`.
        """
        predicted = self._predicted[epoch].get(trial)
        return None if predicted is None else self._predicted_ranks[epoch].better_than(predicted)

    def predicted_share_better(self, trial: str, epoch: int) -> float | None:
        """Return the share of the other trials at this epoch that are predicted strictly better; None without a prediction.

        Args:
            trial: Name of a trial.
            epoch: One of `ranked_at`.

        Returns:
            In [0, 1], lower is better; 0 without others.
        """
        better = self.predicted_better(trial, epoch)
        return None if better is None else better / max(len(self._predicted_ranks[epoch]) - 1, 1)
