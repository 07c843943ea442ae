"""A rung that is not over: its trials, and the paper's list L of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from curvestop.hyperband.scheduler.trials import RungOpened, TrialRecord
from curvestop.srm.policies.stopping_rule import Direction


@dataclass(frozen=True)
class Score:
    """An entry of the paper's L.

    Attributes:
        value: Value at the rung's last epoch; None for a stop without a prediction.
        predicted: Whether the value is a prediction (Algorithm 2, line 9) rather than observed (line 14).
        best: The best of the values up to there, the prediction among them; None for a stop without a prediction.
        forecast: Predicted value at the end of the next rung, if that counts for promotions and there is a model.
    """

    value: float | None
    predicted: bool
    best: float | None
    forecast: float | None = None


@dataclass(eq=False)
class OpenRung:
    """A rung that is not over.

    Attributes:
        opened: The event that opened it.
        members: Its trials, in the order in which they entered.
        scores: Scores of the members that came through, by trial.
    """

    opened: RungOpened
    members: list[TrialRecord] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Last epoch of the rung."""
        return self.opened.rung.epochs

    @property
    def is_last(self) -> bool:
        """Whether the rung is the last of its bracket, at max_epochs."""
        return self.opened.index == self.opened.bracket.s  # a bracket has s + 1 rungs, from 0

    def values(self, *, with_predictions: bool) -> list[float]:
        """Return the paper's L so far, with or without the predicted values.

        Args:
            with_predictions: Whether predicted values of stopped members count (Algorithm 2, line 9).

        Returns:
            The values in the order in which the members came through.
        """
        # Failed members have no score.
        return [s.value for s in self.scores.values() if s.value is not None and (with_predictions or not s.predicted)]

    def ranked(self, direction: Direction, *, by_best: bool = False) -> list[TrialRecord]:
        """Return the members with a score, best first; ties keep the order of `members`.

        A forecast counts as much as the value: the mean of the log odds of the two places among the members ranks.

        Args:
            direction: Whether higher or lower values are better.
            by_best: Whether the best value up to the rung's end ranks, in place of the last one.
        """
        # sorted is stable; a stop without a prediction has no value and is not ranked.
        sign = -1.0 if direction == "maximize" else 1.0
        scores = ((trial, score.best if by_best else score.value) for trial, score in self.scores.items())
        values = {trial: sign * value for trial, value in scores if value is not None}
        forecasts = {trial: sign * f for trial in values if (f := self.scores[trial].forecast) is not None}
        if forecasts:
            odds = dict(zip(values, log_odds_of_places([*values.values()]), strict=True))
            by_forecast = dict(zip(forecasts, log_odds_of_places([*forecasts.values()]), strict=True))
            values = {trial: float(odds[trial] + by_forecast.get(trial, odds[trial])) / 2 for trial in values}
        return sorted((r for r in self.members if r.trial in values), key=lambda r: values[r.trial])


def log_odds_of_places(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return `(n,)` log odds of the places of n values among them, ascending with the value; equals have the same place.

    Args:
        values: At least one.

    Examples:
        >>> log_odds_of_places([0.2, 0.9, 0.2, 0.5]).round(2).tolist()  # places 1/4, 7/8, 1/4 and 5/8
        [-1.1, 1.95, -1.1, 0.51]
    """
    ordered = np.sort(values)
    below_and_equal = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    places = below_and_equal / (2 * len(ordered))
    odds: npt.NDArray[np.float64] = np.log(places / (1 - places))
    return odds
