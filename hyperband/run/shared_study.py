"""One study for several searches: what each learns of curves serves all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Report
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import KeywordReports, ResumableStudy
from curvestop.srm.trial import EndState, Trial, TrialState


class SharedStudy(KeywordReports):
    """The part of a study that belongs to one search; its trials are kept apart by a prefix of their names.

    Curves, models and the value to beat are those of all searches.

    Args:
        study: The study, which other searches report to, too.
        prefix: What comes before the names of this search's trials; no other search's begin so.

    Examples:
        >>> from curvestop import Study, StudySettings
        >>> study = Study(StudySettings("nets", 2))
        >>> one, other = SharedStudy(study, "one."), SharedStudy(study, "other.")
        >>> decisions = one.report("0", [0.1, 0.2]), other.report("0", 0.3)
        >>> [trial.trial for trial in study.trials()], [trial.trial for trial in other.trials()]
        (['one.0', 'other.0'], ['0'])
    """

    def __init__(self, study: ResumableStudy, prefix: str) -> None:
        self._study, self._prefix = study, prefix

    @property
    def settings(self) -> StudySettings:
        """The settings of the study."""
        return self._study.settings

    def answer(self, report: Report) -> Decision:
        """Answer as the study does.

        Args:
            report: Of a trial of this search.
        """
        return self._study.answer(replace(report, trial=self._prefix + report.trial))

    def predict(self, values: Sequence[float], **options: Any) -> Prediction | None:
        """Predict as the study does.

        Args:
            values: `(tau,)` metric after epochs 1..tau.
            **options: `configuration` and `target_epoch`, see `StudyLike.predict`.
        """
        return self._study.predict(values, **options)

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        """End a trial of this search and return the state that it now has.

        Args:
            trial: Name of the trial.
            state: How it ended.
        """
        return self._study.finish(self._prefix + trial, state)

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials of this search in the order of their first report."""
        return tuple(
            replace(trial, trial=trial.trial.removeprefix(self._prefix))
            for trial in self._study.trials()
            if trial.trial.startswith(self._prefix)
        )

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return this search's stopped trials that are worth going on with, the most promising first.

        Args:
            n: Most trials to return, >= 1.
        """
        n_stopped = sum(trial.state == "stopped" for trial in self._study.trials())
        chances = self._study.second_chances(max(n, n_stopped))
        own = [chance for chance in chances if chance.trial.startswith(self._prefix)]
        return [replace(chance, trial=chance.trial.removeprefix(self._prefix)) for chance in own[:n]]

    def resume(self, trial: str) -> None:
        """Let a stopped trial of this search continue.

        Args:
            trial: Name of the trial.
        """
        self._study.resume(self._prefix + trial)
