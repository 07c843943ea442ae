"""`StudySync`: sends the trials of an Optuna study to a curvestop study, so that it can be asked about any of them.

The curvestop study is a function of the trials in Optuna's storage: each ended trial is sent once, in the order in which the
trials ended. So a process that joins late, or restarts, comes to the same models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from optuna.trial import FrozenTrial, TrialState

from curvestop.clients.optuna.trial_curves import Grid, configuration_of, end_state, final_value
from curvestop.srm.curve import Decision, Prediction
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
    """

    def __init__(self, study: StudyOfMany, grid: Grid, *, is_shared: bool) -> None:
        self.study, self.grid, self.is_shared = study, grid, is_shared
        self.n_complete = 0
        self._curves: dict[int, list[float]] = {}  # trial number -> the values that the study has of it
        self._ended: set[int] = set()
        self._n_settled = 0  # all trials before this number have ended and were sent, so they are not looked at again
        self._ended_before: frozenset[str] | None = None  # the trials that had ended on the server when this process came

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
                self._send(trial, self.running_curve(trial))
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
        return self._send(trial, self.running_curve(trial), ask=has_question, target=target)

    def predict(self, trial: FrozenTrial) -> Prediction | None:
        """Predict a trial's final value; None before its first report and without a model.

        Args:
            trial: The trial; it need not have been sent, its curve is part of the question.
        """
        curve = self.running_curve(trial)
        return self.study.predict(curve, configuration=configuration_of(trial)) if curve else None

    def running_curve(self, trial: FrozenTrial) -> list[float]:
        """Return a running trial's values before the last epoch; the last one's value is what the objective will return.

        Args:
            trial: The trial, as the storage has it.

        Returns:
            At most max_epochs - 1 values.
        """
        return self.grid.reports(trial).curve()[: self.grid.max_epochs - 1]

    def values_at(self, epoch: int, numbers: Iterable[int]) -> list[float]:
        """Return the values at an epoch of those of the given trials that reached it.

        Args:
            epoch: The epoch, 1-based.
            numbers: Numbers of the trials; those that `sync` has not seen are skipped.
        """
        # Curves begin at epoch 1 without gaps, so the length tells who reached the epoch.
        return [curve[epoch - 1] for n in numbers if len(curve := self._curves.get(n, [])) >= epoch]

    @property
    def numbers(self) -> Iterable[int]:
        """Numbers of the trials that reported something."""
        return self._curves.keys()

    def _end(self, trial: FrozenTrial) -> None:
        self._ended.add(trial.number)
        # A failed or pruned trial is a partial curve: no model learns a final value from it.
        final = final_value(trial)
        curve = self.running_curve(trial) if final is None else self.grid.reports(trial).complete_curve(final)
        self.n_complete += final is not None
        if self._had_ended_on_server(trial):
            self._curves[trial.number] = curve
        elif curve:
            self._send(trial, curve)
            with suppress(UnknownTrial):  # the server was given a new store a moment ago
                self.study.finish(str(trial.number), end_state(trial))

    def _had_ended_on_server(self, trial: FrozenTrial) -> bool:
        """Return whether the server had this trial as ended when this process first asked, so that it need not be sent."""
        if self._ended_before is None:
            self._ended_before = self._ended_on_server() if self.is_shared else frozenset()
        return str(trial.number) in self._ended_before

    def _ended_on_server(self) -> frozenset[str]:
        try:
            return frozenset(trial.trial for trial in self.study.trials() if trial.state != "running")
        except (ConnectionError, PermissionError):
            return frozenset()  # sending a trial once more changes nothing

    def _send(self, trial: FrozenTrial, curve: list[float], *, ask: bool = False, target: Target | None = None) -> Decision:
        """Report the values that the study lacks; the first report has the trial's parameters."""
        known = self._curves.get(trial.number, [])
        new = curve[len(known) :]
        if not new and not ask:
            return Decision.carry_on("nothing new was reported")
        report = partial(
            self.study.report,
            str(trial.number),
            new,
            first_epoch=len(known) + 1,
            target_epoch=None if target is None else target.epoch,
            value_to_beat=None if target is None else target.value_to_beat,
            ask=ask,
        )
        self._curves[trial.number] = known + new
        if known:
            return report()
        try:
            return report(configuration=configuration_of(trial))
        except ValueError:
            if not self.is_shared:
                raise
            return report()  # another process reported the trial before all of its parameters were suggested


def _ended_at(trial: FrozenTrial) -> tuple[datetime, int]:
    return trial.datetime_complete or datetime.min, trial.number
