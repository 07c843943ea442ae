"""What a study can be asked, in this process or on a server.

Implementations answer a `Report`; `KeywordReports` adds the form that people write.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from curvestop.srm.curve import Configuration, Decision, LearningCurve, Prediction
from curvestop.srm.report import Report, as_sequence
from curvestop.srm.resource import place
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import EndState, Trial, TrialState

_log = logging.getLogger(__name__)


class StudyLike(Protocol):
    """What a training loop needs of a study, in process or on a server."""

    @property
    def settings(self) -> StudySettings:
        """The settings that the study was created with."""
        ...

    def answer(self, report: Report) -> Decision:
        """Store the values of a report and, if it asks, decide whether the trial should continue.

        Values that are known already stay: one that differs is listed in `Decision.conflicts`. A value that is not finite marks
        the trial as diverged: it is not stored, and the decision is to stop. A stop is final for its target epoch until the trial
        is resumed.

        Questions with a `value_to_beat` or another `target_epoch` come from f-Hyperband's rungs. The settings' rule answers
        them, all others their policy.

        Args:
            report: Values of one trial, and the question that comes with them.

        Raises:
            ValueError: If a name, epoch, value or configuration breaks its rule; then nothing is stored.
        """
        ...

    def report(
        self,
        trial: str,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
        at: float | None = None,
    ) -> Decision:
        """Answer a report given by its parts; see `KeywordReports.report`."""
        ...

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        """Predict where a partial curve ends.

        Args:
            values: `(tau,)` metric after epochs 1..tau, all finite, tau >= 1.
            configuration: Hyper-parameters and architecture numbers of the run.
            target_epoch: Epoch to predict; None for the last one.

        Returns:
            The prediction; None if there is no model for a curve of this length yet.

        Raises:
            ValueError: If the values or the configuration break a rule.
        """
        ...

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        """End a trial and return the state that it now has: the first one given stays.

        Args:
            trial: Name of a trial that was reported.
            state: "finished" (ran to its end, so its last value is its final one), "stopped" or "failed".

        Returns:
            The state, which is another one than given if the trial had ended before.

        Raises:
            UnknownTrial: If the trial was never reported.
        """
        ...

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report."""
        ...


class ResumableStudy(StudyLike, Protocol):
    """A `StudyLike` whose stopped trials may be resumed."""

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with, the most promising first.

        Use them when the search is over, or while a worker is idle. Their chance goes by all that the study knows now, which is
        more than when they were stopped.

        Args:
            n: Most trials to return, >= 1.

        Raises:
            ValueError: If n < 1, or the study's policy states no chances (only "learned" does).
        """
        ...

    def resume(self, trial: str) -> None:
        """Let a stopped trial continue: its next reports are decided anew, and it may be stopped and resumed again.

        Args:
            trial: Name of a trial that the policy stopped, or that was ended as stopped.

        Raises:
            UnknownTrial: If the trial was never reported.
            ValueError: If it was not stopped: it runs, perhaps because another worker resumed it, or it ended by itself.
        """
        ...


class StudyOfMany(ResumableStudy, Protocol):
    """A study for a driver of many workers: many calls cost hardly more than one."""

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """Answer reports in order: each one's decision, or the error that it alone would raise.

        Args:
            reports: Of any trials, several of one trial among them.

        Returns:
            One item for each report, in order.
        """
        ...

    def predict_many(self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None) -> list[Prediction | None]:
        """Predict where each partial curve ends; the curves' names do not matter.

        Args:
            curves: Partial curves of any lengths >= 1, with the configurations of their runs.
            target_epoch: Epoch to predict; None for the last one.

        Returns:
            One item for each curve, in order; None if there is no model for its length yet.

        Raises:
            ValueError: If one of the curves is empty or not finite.
        """
        ...


# Not a method of the Protocol: implementations would each have to write the seven arguments out.
class KeywordReports:
    """Mixin that gives every study the keyword form of `answer`."""

    def report(
        self: StudyLike,
        trial: str | int,
        values: float | Sequence[float],
        *,
        configuration: Mapping[str, Any] | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
        at: float | None = None,
    ) -> Decision:
        """Record values of a trial and decide whether it should continue.

        Args:
            trial: Name of the trial, unique in the study. An int is taken as its text.
            values: The metric after `first_epoch`, or the values of several epochs in a row; not finite means diverged.
            configuration: Hyper-parameters and architecture numbers by name. Needed once; it cannot change. Those of a nested
                mapping become "outer/inner"; lists and None become text.
            first_epoch: Epoch of the first value, 1-based. Values reported before may be repeated.
            target_epoch: Decide by the value at this epoch. Default: the last one.
            value_to_beat: Compare with this value. Default: the study's n-th best final value.
            ask: False to store the values without a decision.
            at: Where a single value stands, in the study's resource: a step, a number of tokens, seconds since the training
                began. At 0 nothing is stored. Beyond the end of an axis with fractions it counts as the end.

        Returns:
            The decision: `stop`, a reason, a probability, and the prediction if there is a model.

        Raises:
            ValueError: If a name, epoch, value or configuration breaks its rule; then nothing is stored.

        Examples:
            >>> from curvestop import Study, StudySettings
            >>> study = Study(StudySettings("demo", max_epochs=10))
            >>> study.report("a", [0.5, 0.6], configuration={"lr": 0.1}).stop
            False
            >>> study.report("a", 0.65, first_epoch=3).stop
            False
            >>> study = Study(StudySettings("demo", max_resource=600, resource="second"))
            >>> study.report("a", 0.5, at=95.2).stop
            False
        """
        values = as_sequence(values)
        first_epoch, values = place(self.settings.axis, values, first_epoch, at)
        # `Report` takes what people write.
        report = Report(trial, values, configuration, first_epoch, target_epoch, value_to_beat, ask)  # type: ignore[arg-type]
        decision = self.answer(report)
        if decision.conflicts or (ask and decision.ended_as is not None):
            _warn_of_a_name_used_again(self, report, decision)
        return decision


_warned: WeakKeyDictionary[StudyLike, set[str]] = WeakKeyDictionary()
"""Trials that a warning named, by study."""


def _warn_of_a_name_used_again(study: StudyLike, report: Report, decision: Decision) -> None:
    """Warn, once for each trial, that it had ended before it reported, or had other values."""
    trial, warned = report.trial, _warned.setdefault(study, set())
    if trial in warned:
        return
    warned.add(trial)
    if decision.ended_as is None:
        epoch, known = decision.conflicts[0]
        value = report.values[epoch - report.first_epoch]
        what = f"has the value {known!r} at {study.settings.axis.at(epoch)} already, which stays: {value!r} is not stored"
    elif decision.ended_as == "finished":
        what = "had ended as finished before it reported: no value replaces one that it has, and nothing is judged or stopped"
    else:
        resumes = f", and resume({trial!r}) of the study lets this one continue" if decision.ended_as == "stopped" else ""
        what = f"had ended as {decision.ended_as} before it reported: it trains no more ({decision.reason}){resumes}"
    _log.warning(
        "trial %r of study %r %s. A new training needs a new name; `Epochs` and the callbacks make one where none is given.",
        *(trial, study.settings.name, what),
    )
