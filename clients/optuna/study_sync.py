"""Keeps a curvestop study up to date with the trials of an Optuna study, so that it can be asked about any of them.

What the study knows is a function of the trials in the storage, so a process that joins late, or starts again, comes to the same
models. Every finished trial is taken in once, in the order in which they ended.
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
from curvestop.srm.study import StudyLike, UnknownTrial


@dataclass(frozen=True)
class Target:
    """A value to beat after an epoch before the last; None when there is nothing to beat yet."""

    epoch: int
    value_to_beat: float | None


class StudySync:
    """study: in this process or on a server. grid: of its epochs.

    is_shared: other processes report their running trials to the same study themselves.
    Not for several threads at once.
    """

    def __init__(self, study: StudyLike, grid: Grid, *, is_shared: bool) -> None:
        self.study, self.grid, self.is_shared = study, grid, is_shared
        self.n_complete = 0
        self._curves: dict[int, list[float]] = {}  # number -> what the study knows of it
        self._ended: set[int] = set()
        self._n_settled = 0  # the first so many trials have all ended
        self._ended_before: frozenset[str] | None = None  # as the server had it at first

    def sync(self, trials: Sequence[FrozenTrial], *, asking: int) -> None:
        """trials: all there are, by number. asking: the one that is to be asked about, which is left out."""
        unsettled = [t for t in trials[self._n_settled :] if t.number not in self._ended]
        for trial in sorted((t for t in unsettled if t.state.is_finished()), key=_ended_at):
            self._end(trial)
        for trial in unsettled if not self.is_shared else ():
            if trial.state == TrialState.RUNNING and trial.number != asking:
                self._send(trial, self.running_curve(trial))
        while self._n_settled < len(trials) and trials[self._n_settled].number in self._ended:
            self._n_settled += 1

    def ask(self, trial: FrozenTrial, target: Target | None = None) -> Decision:
        """Is a trial that reported something worth going on? With a target, to that."""
        has_question = target is None or target.value_to_beat is not None
        return self._send(trial, self.running_curve(trial), ask=has_question, target=target)

    def predict(self, trial: FrozenTrial) -> Prediction | None:
        """Of the final value; None before any report, and without a model."""
        curve = self.running_curve(trial)
        return self.study.predict(curve, configuration=configuration_of(trial)) if curve else None

    def running_curve(self, trial: FrozenTrial) -> list[float]:
        """Before the last epoch: the value there is the one that the objective is going to return."""
        return self.grid.reports(trial).curve()[: self.grid.max_epochs - 1]

    def values_at(self, epoch: int, numbers: Iterable[int]) -> list[float]:
        """Of those of these trials that the study knows to have reached the epoch."""
        return [curve[epoch - 1] for n in numbers if len(curve := self._curves.get(n, [])) >= epoch]

    @property
    def numbers(self) -> Iterable[int]:
        """Of the trials that reported something."""
        return self._curves.keys()

    def _end(self, trial: FrozenTrial) -> None:
        self._ended.add(trial.number)
        final = final_value(trial)
        curve = self.running_curve(trial) if final is None else self.grid.reports(trial).complete_curve(final)
        self.n_complete += final is not None
        if self._was_ended_before(trial):
            self._curves[trial.number] = curve
        elif curve:
            self._send(trial, curve)
            with suppress(UnknownTrial):  # the server was given a new store a moment ago
                self.study.finish(str(trial.number), end_state(trial))

    def _was_ended_before(self, trial: FrozenTrial) -> bool:
        """Whether the server had it as ended when this process first looked."""
        if self._ended_before is None:
            self._ended_before = self._ended_on_server() if self.is_shared else frozenset()
        return str(trial.number) in self._ended_before

    def _ended_on_server(self) -> frozenset[str]:
        try:
            return frozenset(trial.trial for trial in self.study.trials() if trial.state != "running")
        except (ConnectionError, PermissionError):
            return frozenset()

    def _send(self, trial: FrozenTrial, curve: list[float], *, ask: bool = False, target: Target | None = None) -> Decision:
        """Report what the study was not told yet; the parameters once, as they are then."""
        known = self._curves.get(trial.number, [])
        new = curve[len(known) :]
        if not new and not ask:
            return Decision.carry_on("nothing to ask")
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
            return report()  # another process told the server of it before it had all its parameters


def _ended_at(trial: FrozenTrial) -> tuple[datetime, int]:
    return trial.datetime_complete or datetime.min, trial.number
