"""`StudySync`: sends the trials of an Optuna study to a curvestop study, so that it can be asked about any of them.

The curvestop study is a function of the trials in Optuna's storage: each ended trial is sent once, in the order in which the
trials ended. So a process that joins late, or restarts, comes to the same models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from curvestop.clients.optuna.trial_curves import StepGrid, configuration_of, end_state, final_value
from curvestop.srm.curve import Decision, LearningCurve, Prediction
from curvestop.srm.plural import plural
from curvestop.srm.report import Report, reports_of
from curvestop.srm.reported import Reported
from curvestop.srm.study_like import StudyOfMany
from curvestop.srm.trial import UnknownTrial


@dataclass(frozen=True)
class Target:
    """The value that a trial must beat to be promoted from its rung.

    Attributes:
        epoch: The rung's last epoch.
        value_to_beat: The value to beat there; None while there is nothing to beat.
    """

    epoch: int
    value_to_beat: float | None


class StudySync:
    """Keep a curvestop study up to date with an Optuna study. Not for several threads at once.

    Args:
        study: The curvestop study, in this process or on a server.
        grid: The map from Optuna's steps to the study's epochs.
        is_shared: True if other processes report their running trials to the same study themselves.

    Attributes:
        study: The curvestop study.
        grid: The map from steps to epochs.
        is_shared: Whether other processes report to the same study.
        n_complete: Number of trials that trained to their end.
        furthest: The epoch at which the longest of them ended; 0 before the first.
    """

    def __init__(self, study: StudyOfMany, grid: StepGrid, *, is_shared: bool) -> None:
        self.study, self.grid, self.is_shared = study, grid, is_shared
        self.n_complete = self.furthest = 0
        self._known: dict[int, Reported] = {}  # trial number -> the values that the study has of it
        self._ended: set[int] = set()
        self._n_settled = 0  # all trials before this number have ended and were sent, so they are not looked at again
        self._ended_before: frozenset[str] = frozenset()  # the trials that had ended on the server when this process came

    def look_at_server(self, read_trials: Callable[[], Sequence[FrozenTrial]]) -> None:
        """See what a shared study has already. A server that does not answer is no error.

        Args:
            read_trials: Reads all trials of the Optuna study.

        Raises:
            ValueError: If the study exists with other settings, or has trials that the Optuna study does not have, or that ran to
                their end there and run here: those of another one of the same name, whose numbers are the same.
        """
        try:
            there = self.study.trials()
        except (ConnectionError, PermissionError):
            return  # sending a trial once more changes nothing
        # Read after the server: what another process reported meanwhile is in the storage already.
        here = {str(trial.number): trial.state for trial in read_trials()}
        others = [
            trial.trial
            for trial in there
            if trial.trial not in here or (trial.state in ("finished", "failed") and here[trial.trial] == TrialState.RUNNING)
        ]
        if others:
            name = self.study.settings.name
            raise ValueError(
                f"study {name!r} on the server has {plural(len(others), 'trial')} of another Optuna study of that name: "
                "give this one another study_name, or load that one from its storage"
            )
        self._ended_before = frozenset(trial.trial for trial in there if trial.state != "running")

    def sync(self, trials: Sequence[FrozenTrial], *, asking: int) -> None:
        """Send what the study lacks.

        Args:
            trials: All trials of the Optuna study, by number.
            asking: Number of the trial that is about to be asked about; it is left to `ask`.
        """
        unsettled = [t for t in trials[self._n_settled :] if t.number not in self._ended]
        for trial in sorted((t for t in unsettled if t.state.is_finished()), key=_ended_at):
            self._end(trial)
        # Running trials count in ranks. With a shared server, their own processes report them.
        for trial in unsettled if not self.is_shared else ():
            if trial.state == TrialState.RUNNING and trial.number != asking:
                self._send(trial, self.running_values(trial))
        while self._n_settled < len(trials) and trials[self._n_settled].number in self._ended:
            self._n_settled += 1

    def ask(self, trial: FrozenTrial, target: Target | None = None) -> Decision:
        """Decide whether a trial that reported something should continue.

        Args:
            trial: The trial.
            target: What the trial must reach at the end of its rung; None for the study's policy.
        """
        # Without rivals at the rung's end, every trial continues.
        has_question = target is None or target.value_to_beat is not None
        return self._send(trial, self.running_values(trial), ask=has_question, target=target)

    def predict(self, trial: FrozenTrial) -> Prediction | None:
        """Predict a trial's final value; None before its first report and without a model.

        Args:
            trial: The trial; it need not have been sent, its curve is part of the question.
        """
        values = Reported.of(self.running_values(trial).items())
        curve = LearningCurve("", configuration_of(trial), values.in_order, values.gapped_epochs)
        if not curve.values:
            return None
        if curve.epochs is None:
            return self.study.predict(curve.values, configuration=curve.configuration)
        return self.study.predict_many([curve])[0]

    def running_values(self, trial: FrozenTrial) -> dict[int, float]:
        """Return a running trial's values before the last epoch; the last one's value is what the objective will return.

        Args:
            trial: The trial, as the storage has it.

        Returns:
            The values that were reported, by epoch, ascending.
        """
        max_epochs = self.grid.max_epochs
        return {epoch: value for epoch, value in self.grid.reports(trial).finite().items() if epoch < max_epochs}

    def values_at(self, epoch: int, numbers: Iterable[int]) -> list[float]:
        """Return the values at an epoch of those of the given trials that reached it.

        Args:
            epoch: The epoch, 1-based.
            numbers: Numbers of the trials; those that `sync` has not seen are skipped.
        """
        reported = (self._known[n] for n in numbers if n in self._known)
        return [values.at(epoch) for values in reported if values.last_epoch >= epoch]

    @property
    def numbers(self) -> Iterable[int]:
        """Numbers of the trials that reported something."""
        return self._known.keys()

    def _end(self, trial: FrozenTrial) -> None:
        self._ended.add(trial.number)
        # A failed or pruned trial is a partial curve: no model learns a final value from it.
        final = final_value(trial)
        values = self.running_values(trial) if final is None else self.grid.reports(trial).complete(final)
        if final is not None:
            self.n_complete += 1
            reached_end = self.grid.max_epochs in values
            self.furthest = max(self.furthest, self.grid.max_epochs if reached_end else self.grid.reports(trial).last_epoch)
        if str(trial.number) in self._ended_before:  # it need not be sent
            self._known[trial.number] = Reported.of(values.items())
        elif values:
            self._send(trial, values)
            with suppress(UnknownTrial):  # the server was given a new store a moment ago
                self.study.finish(str(trial.number), end_state(trial))

    def _send(
        self, trial: FrozenTrial, values: Mapping[int, float], *, ask: bool = False, target: Target | None = None
    ) -> Decision:
        """Report the values that the study lacks; the first report has the trial's parameters."""
        known = self._known.get(trial.number) or Reported()
        new = [(epoch, value) for epoch, value in values.items() if epoch > known.last_epoch]
        if not new and not ask:
            return Decision.carry_on("nothing new was reported")
        reports = list(reports_of(str(trial.number), new))
        # Only the last part asks: a decision before all values have arrived would be about a shorter curve.
        reports[-1] = replace(
            reports[-1],
            target_epoch=None if target is None else target.epoch,
            value_to_beat=None if target is None else target.value_to_beat,
            ask=ask,
        )
        is_first = not known.epochs
        for epoch, value in new:
            known.add(epoch, value)
        self._known[trial.number] = known
        if not is_first:
            return self._answer(reports)
        try:
            return self._answer([replace(reports[0], configuration=configuration_of(trial)), *reports[1:]])
        except ValueError:
            if not self.is_shared:
                raise
            return self._answer(reports)  # another process reported the trial before all of its parameters were suggested

    def _answer(self, reports: Sequence[Report]) -> Decision:
        """Send reports, as one batch, and return the answer to the last one."""
        if len(reports) == 1:
            return self.study.answer(reports[0])
        answers = self.study.report_many(reports)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers[-1]  # type: ignore[return-value]  # no exception, see above


def _ended_at(trial: FrozenTrial) -> tuple[datetime, int]:
    return trial.datetime_complete or datetime.min, trial.number
