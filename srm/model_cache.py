"""The predictors of a study, one for each target epoch, and the fits that are due.

Settings are searched on the first n complete curves, at a fixed series of n, and (where that is quick) kept for the curves
that come between. So the models are a function of the log.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from curvestop.srm.curve import (
    CurvePredictor,
    LearningCurve,
    Prediction,
    PredictsMany,
    QuickRefit,
    Ranking,
    SelfAware,
    Stepwise,
)
from curvestop.srm.settings import StudySettings


@dataclass(frozen=True)
class FittedModels:
    """A predictor for one target epoch, fitted on the first curves that reached it; never changed afterwards.

    Attributes:
        target_epoch: Epoch that it predicts.
        n_curves: Number of curves that it was fitted on.
        predictor: The fitted predictor.
        n_searched: Number of curves that its settings were searched on.
        searched: The predictor of that search.
    """

    target_epoch: int
    n_curves: int
    predictor: CurvePredictor
    n_searched: int
    searched: CurvePredictor

    def predict_many(self, curves: Sequence[LearningCurve]) -> list[Prediction | None]:
        """Predict each curve; at once where the predictor can.

        Args:
            curves: Partial curves of any lengths >= 1.

        Returns:
            One item for each curve, in order; None where no model covers the length.
        """
        many = self._predicts_many
        return [self.predictor.predict(curve) for curve in curves] if many is None else many.predict_many(curves)

    @cached_property
    # isinstance of a runtime Protocol looks at every member, so this and its siblings are asked once.
    def _predicts_many(self) -> PredictsMany | None:
        return self.predictor if isinstance(self.predictor, PredictsMany) else None

    def why_unreliable(self, curve: LearningCurve) -> str:
        """Return why the prediction of this curve cannot be relied on; empty if it can, or if the predictor cannot tell."""
        return "" if self._self_aware is None else self._self_aware.why_unreliable(curve)

    @cached_property
    def _self_aware(self) -> SelfAware | None:
        return self.predictor if isinstance(self.predictor, SelfAware) else None

    def modelled_length(self, length: int) -> int | None:
        """Return the observed length that the prediction of a curve of this length goes by; None without a prediction.

        Args:
            length: Observed length in epochs, >= 1.
        """
        return length if self._stepwise is None else self._stepwise.modelled_length(length)

    @cached_property
    def _stepwise(self) -> Stepwise | None:
        return self.predictor if isinstance(self.predictor, Stepwise) else None

    @cached_property
    def ranking(self) -> Ranking | None:
        """The predictor, if it ranks."""
        return self.predictor if isinstance(self.predictor, Ranking) else None


@dataclass(frozen=True)
class FitJob:
    """A fit that is due.

    Attributes:
        target_epoch: Epoch to predict.
        curves: Curves to learn from, in canonical order.
        predictor: New predictor, which searches its settings. Unused if `known` allows a quick refit.
        known: Models whose settings are kept; None to search anew.
    """

    target_epoch: int
    curves: tuple[LearningCurve, ...]
    predictor: CurvePredictor
    known: FittedModels | None = None

    def run(self, *, lazily: bool = False) -> FittedModels:
        """Fit, in any thread: a pure function of the curves.

        Args:
            lazily: Whether a quick refit may leave work for the first questions, which then belong to one thread.
        """
        n_curves = len(self.curves)
        # Nothing to keep, or no quick way to keep it: search and fit in one.
        if self.known is None or not isinstance(self.known.searched, QuickRefit):
            fitted = self.predictor.fit(self.curves)
            return FittedModels(self.target_epoch, n_curves, fitted, n_curves, fitted)
        # From the searched predictor, not from the last refit: so it does not matter how many refits came between.
        refitted = self.known.searched.refitted(self.curves)
        if not lazily and isinstance(refitted, QuickRefit):
            refitted.complete()
        return replace(self.known, n_curves=n_curves, predictor=refitted)


class CurvesByTarget(Protocol):
    """The curves that there are to learn from."""

    def n_reached(self, target_epoch: int) -> int:
        """Return how many trials reached this epoch (the last one: are complete).

        Args:
            target_epoch: In 1..max_epochs.
        """
        ...

    def reached(self, target_epoch: int, n: int) -> tuple[LearningCurve, ...]:
        """Return the first n of their curves, cut at it, in the order in which they got there.

        Args:
            target_epoch: In 1..max_epochs; a trial that finished early counts as complete at its own length.
            n: At most `n_reached(target_epoch)`.
        """
        ...


class ModelCache:
    """Models that are fitted, and fits that are due, for the last epoch and every other target epoch that was asked for.

    Args:
        settings: Settings of the study.
        curves: Its curves.
    """

    def __init__(self, settings: StudySettings, curves: CurvesByTarget) -> None:
        self._settings, self._curves = settings, curves
        self._fitted: dict[int, FittedModels] = {}
        self._targets = {settings.max_epochs}
        self._settled: dict[int, int] = {}  # target epoch -> number of curves for which nothing is due
        self._failed: dict[int, tuple[int, str]] = {}  # target epoch -> number of curves of the last fit that failed, and why

    def get(self, target_epoch: int) -> FittedModels | None:
        """Return the models in use for this epoch; None if there are none yet."""
        return self._fitted.get(target_epoch)

    def targets(self) -> tuple[int, ...]:
        """Return the target epochs that were asked for and the last epoch, ascending."""
        return tuple(sorted(self._targets))

    def expect(self, target_epoch: int) -> None:
        """Prepare for questions about this epoch: models for it become due."""
        self._targets.add(target_epoch)

    def expects(self, target_epoch: int) -> bool:
        """Return whether models for this epoch are fitted when they are due."""
        return target_epoch in self._targets

    def install(self, models: FittedModels) -> None:
        """Use these models from now on, unless newer ones are in use.

        Args:
            models: What `FitJob.run` returned, in any order.
        """
        used = self._fitted.get(models.target_epoch)
        # Fits run in other threads and may end out of order; the one that knows more curves wins.
        if used is None or (models.n_searched, models.n_curves) > (used.n_searched, used.n_curves):
            self._fitted[models.target_epoch] = models
            self._settled.pop(models.target_epoch, None)
            self._failed.pop(models.target_epoch, None)

    def fail(self, job: FitJob, error: Exception) -> None:
        """Note that a fit failed: it is not due again on the same curves.

        Args:
            job: The fit.
            error: What it raised.
        """
        self._failed[job.target_epoch] = len(job.curves), f"{type(error).__name__}: {error}".rstrip(": ")

    def due(self) -> Iterator[FitJob]:
        """Yield the fits that are due, by target epoch."""
        for target_epoch in self.targets():
            job = self.due_for(target_epoch)
            if job is not None:
                yield job

    def due_for(self, target_epoch: int) -> FitJob | None:
        """Return the fit that is due for this epoch; None if there is none.

        Args:
            target_epoch: In 1..max_epochs, asked for before or not.

        Returns:
            A search, if the number of curves has grown by `refit_growth`; else a quick refit, where the predictor has one.
        """
        size, used = self._next_fit(target_epoch)
        if not size:
            return None
        return FitJob(target_epoch, self._curves.reached(target_epoch, size), self._settings.new_predictor(), used)

    def n_due(self, target_epoch: int) -> int:
        """Return the number of curves that the models for this epoch will know once nothing is due.

        Args:
            target_epoch: In 1..max_epochs.
        """
        return self._next_fit(target_epoch)[0] or self.n_fitted(target_epoch)

    def n_fitted(self, target_epoch: int) -> int:
        """Return the number of curves that the models for this epoch were fitted on; 0 without models."""
        used = self._fitted.get(target_epoch)
        return 0 if used is None else used.n_curves

    def _next_fit(self, target_epoch: int) -> tuple[int, FittedModels | None]:
        """Return the number of curves of the fit that is due, 0 if none is, and the models whose settings it keeps."""
        n, used = self._curves.n_reached(target_epoch), self._fitted.get(target_epoch)
        # Asked at every report, but nothing becomes due until another trial reaches the epoch.
        if self._settled.get(target_epoch) == n or (used is not None and _is_full(used.searched)):
            return 0, None
        size = due_size(n, first=self._settings.rule.min_curves, growth=self._settings.refit_growth)
        if used is None or used.n_searched < size:
            used = None  # search anew
        else:
            # A quick refit takes in every curve at once; without one the models stay until the next search.
            size = n if isinstance(used.searched, QuickRefit) and not _is_full(used.predictor) else used.n_curves
        if size <= max(used.n_curves if used else 0, self._failed.get(target_epoch, (0, ""))[0]):
            self._settled[target_epoch] = n
            return 0, None
        return size, used

    def why_none(self, target_epoch: int) -> str:
        """Return why there is no model for this epoch, for people."""
        n, needed = self._curves.n_reached(target_epoch), self._settings.rule.min_curves
        if n < needed:
            return f"fewer than {needed} curves reached {self._settings.axis.at(target_epoch)}: {n} so far"
        if target_epoch in self._failed:
            return self._why_failed(target_epoch)
        return f"models for {self._settings.axis.at(target_epoch)} are being fitted on {n} curves"

    def failure(self) -> str:
        """Return which models could not be fitted at the last try, and why, for people; empty if none failed."""
        return self._why_failed(min(self._failed)) if self._failed else ""

    def _why_failed(self, target_epoch: int) -> str:
        n_failed, error = self._failed[target_epoch]
        return f"the models for {self._settings.axis.at(target_epoch)} could not be fitted on {n_failed} curves ({error})"


def _is_full(predictor: CurvePredictor) -> bool:
    return isinstance(predictor, QuickRefit) and predictor.is_full


def due_size(n: int, *, first: int, growth: float) -> int:
    """Return the largest number of curves <= n at which settings are searched.

    The sizes are `first`, then each time `growth` times as many, rounded up, one more at least.

    Args:
        n: Number of complete curves.
        first: Least number of curves.
        growth: > 1.

    Returns:
        The size; 0 if n < first.

    Examples:
        >>> [due_size(n, first=6, growth=1.2) for n in (5, 6, 7, 8, 9, 10)]
        [0, 6, 6, 8, 8, 10]
    """
    size = 0
    following = first
    while following <= n:
        size, following = following, max(following + 1, math.ceil(following * growth))
    return size
