"""The nouns: a learning curve, a prediction of its final value, a decision about it, and what every predictor can do.

Baker 2017 (thesis), section 4.1.1: y_1..y_T is the metric after epochs 1..T, tau the number of epochs observed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

Configuration = Mapping[str, bool | int | float | str]
"""Hyper-parameters and architecture numbers by name; strings are categories."""
TrialState = Literal["running", "finished", "stopped", "failed"]
# A trial leaves "running" once; only a stopped one can be resumed.
EndState = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class LearningCurve:
    """Metric of one trial, epoch by epoch.

    Attributes:
        trial: Name, unique in its study.
        configuration: Hyper-parameters and architecture numbers by name.
        values: `(tau,)` after epochs 1..tau, in the study's metric; all finite.
        epochs: `(tau,)` other epochs of the values, ascending, of a trial that did not report every epoch; None for 1..tau.
            A study reads such a curve on its grid; predictors get every epoch.

    Examples:
        >>> LearningCurve("a", {"lr": 0.1}, (0.5, 0.6, 0.7)).head(2).values
        (0.5, 0.6)
    """

    trial: str
    configuration: Configuration
    values: tuple[float, ...]
    epochs: tuple[int, ...] | None = None

    def head(self, tau: int) -> LearningCurve:
        """Return the first `tau` values of the curve."""
        return LearningCurve(self.trial, self.configuration, self.values[:tau], self.epochs and self.epochs[:tau])


class Prediction(NamedTuple):  # made in half the time that a frozen dataclass takes, which counts in a batch
    """Normal distribution of a final value, in the study's metric.

    Attributes:
        mean: y_hat, the expected value.
        sigma: Standard deviation, >= 0.

    Examples:
        >>> Prediction(0.71, 0.04).mean
        0.71
    """

    mean: float
    sigma: float


@dataclass(frozen=True)
class Decision:
    """Answer to "should this trial continue?".

    Attributes:
        stop: True if the trial should end now.
        reason: Why, in a sentence that a person can act on. No program should read it.
        probability: P(final value no better than the value to beat), in [0, 1]; None without a model or a value to beat.
        prediction: Prediction of the value at the target epoch; None without a model for this length of curve.
        n_curves: Number of complete curves that the answering model was fitted on; 0 without a model.
        model_epoch: Observed length tau that the answering model is for; 0 without a model.
        conflicts: `(epoch, stored value)` of every reported value that differs from the one stored first, which stays.
        would_stop: True if the policy wanted to stop, but the study is in shadow mode or the trial is held out. Then `stop` is
            False.
        chance: Chance, in (0, 1], that the trial ends as the best of the study; None from a policy that does not state it.
        ended_as: State in which the trial had ended before this report: "finished", "stopped" or "failed"; None if it was
            running. What such a trial reports is not judged.
        lacks_values: True if the study has lost values of the trial that it had acknowledged, as a server with an emptied data
            folder has. Nothing is decided then; a client sends them again by itself.
        fit_failure: Which models of the study could not be fitted at the last try, and why; empty if none failed. Older ones are
            used, if there are any.

    Examples:
        >>> noted = Decision(stop=True, reason="hopeless").as_shadow_stop("shadow mode")
        >>> noted.stop, noted.would_stop, noted.reason
        (False, True, 'shadow mode, would have stopped: hopeless')
    """

    stop: bool
    reason: str
    probability: float | None = None
    prediction: Prediction | None = None
    n_curves: int = 0
    model_epoch: int = 0
    conflicts: tuple[tuple[int, float], ...] = field(default=())
    would_stop: bool = False
    chance: float | None = None
    ended_as: EndState | None = None
    lacks_values: bool = False
    fit_failure: str = ""

    def as_shadow_stop(self, why: str) -> Decision:
        """Return the same stop, but the trial continues.

        Args:
            why: "shadow mode" or "held out".
        """
        return replace(self, stop=False, would_stop=True, reason=f"{why}, would have stopped: {self.reason}")

    @staticmethod
    def carry_on(reason: str) -> Decision:
        """Return the decision to continue, with nothing predicted."""
        return Decision(stop=False, reason=reason)


class CurvePredictor(Protocol):
    """Learns from complete curves where a partial one ends."""

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Learn from complete curves of any lengths >= 1; the last value of each is its target.

        Args:
            curves: Complete curves of any lengths >= 1, in any order.

        Returns:
            The predictor itself.
        """
        ...

    def predict(self, curve: LearningCurve) -> Prediction | None:
        """Predict the final value of a partial curve; None if no model covers its length.

        Args:
            curve: `(tau,)` values, tau >= 1; its configuration may lack names that the training curves had.

        Returns:
            Mean and sigma in the metric.
        """
        ...


# What some predictors can do in addition. A study asks by `isinstance`.


@runtime_checkable
class SelfAware(Protocol):
    """A predictor that knows how well it predicted the curves it learnt from, each left out."""

    def why_unreliable(self, curve: LearningCurve) -> str:
        """Return why its prediction of this curve cannot be relied on, for people; empty if it can.

        Args:
            curve: The partial curve, as it was given to `predict`.
        """
        ...


@runtime_checkable
class Ranking(Protocol):
    """A predictor whose scores rank well, also those of the curves it learnt from, as each of them is left out."""

    def scores(self, curves: Sequence[LearningCurve]) -> Sequence[float] | None:
        """Return a score of each of one or more partial curves of one length, higher for higher final values.

        Args:
            curves: One or more partial curves of one observed length; those of trials that were learnt from are recognized by
                name.

        Returns:
            `(n,)` scores; None without a model for this length.
        """
        ...

    def predict_and_score(self, curve: LearningCurve) -> tuple[Prediction | None, float | None]:
        """Return `predict` and the score of a partial curve that it did not learn from; None without a model.

        Args:
            curve: Partial curve of a trial that was not learnt from.
        """
        ...

    def predict_and_score_alike(self, curves: Sequence[LearningCurve]) -> list[tuple[Prediction, float]] | None:
        """Return `predict_and_score` of one or more curves that one model answers for; None without a model.

        Args:
            curves: One or more partial curves of one modelled length (see `Stepwise`), of trials that were not learnt from.

        Returns:
            `(prediction, score)` of each curve, in order.
        """
        ...


@runtime_checkable
class QuickRefit(Protocol):
    """A predictor that takes in new curves in milliseconds, by keeping the settings that its search found."""

    @property
    def is_full(self) -> bool:
        """Whether further curves would change nothing."""
        ...

    def complete(self) -> None:
        """Do now what a refit may leave for the first question."""
        ...

    def refitted(self, curves: Sequence[LearningCurve]) -> CurvePredictor:
        """Return a new predictor on these complete curves at this one's settings; this one stays as it is.

        Args:
            curves: Complete curves of any lengths >= 1, in any order; all of them, not only the new ones.
        """
        ...


@runtime_checkable
class PredictsMany(Protocol):
    """A predictor that predicts several curves at once for less than one by one."""

    def predict_many(self, curves: Sequence[LearningCurve]) -> list[Prediction | None]:
        """Return `predict` of each of one or more partial curves of any lengths.

        Args:
            curves: One or more partial curves of any lengths.

        Returns:
            One item for each curve, in order; None where no model covers the length.
        """
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A predictor that has models for some observed lengths only, and cuts a curve to the nearest of them below."""

    def modelled_length(self, length: int) -> int | None:
        """Return the length that a curve of this length is cut to; None if it is too short for any model.

        Args:
            length: Observed length in epochs, >= 1.
        """
        ...


class LastSeenValue:
    """The heuristic to beat: the final value is the last one seen (thesis, section 4.2.2).

    sigma(tau) is the root mean square of y_T - y_tau over the training curves.

    Examples:
        >>> curves = [LearningCurve(str(i), {}, (0.5, 0.6 if i % 2 else 0.4)) for i in range(6)]
        >>> LastSeenValue().fit(curves).predict(LearningCurve("new", {}, (0.7,))).mean
        0.7
    """

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        """Learn sigma for every length of the complete curves.

        Args:
            curves: Complete curves of any lengths >= 1; one of a single value teaches nothing.
        """
        errors: dict[int, list[float]] = defaultdict(list)
        for curve in curves:
            # The last value is the target, so it is no observed length of its own.
            for tau, value in enumerate(curve.values[:-1], start=1):
                errors[tau].append(curve.values[-1] - value)
        # Root mean square, not the deviation from a mean: where curves still rise, that is an error too.
        self.sigma_ = {tau: float(np.sqrt(np.mean(np.square(e)))) for tau, e in errors.items()}
        return self

    def predict(self, curve: LearningCurve) -> Prediction | None:
        """Predict the last value; None for a length that no training curve had before its end.

        Args:
            curve: `(tau,)` values, tau >= 1.
        """
        # A length without training errors has no sigma, and a mean alone is no prediction.
        sigma = self.sigma_.get(len(curve.values))
        return None if sigma is None else Prediction(curve.values[-1], sigma)
