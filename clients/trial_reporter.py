"""`TrialReporter`: one running trial as a study sees it. The training loop and all framework callbacks use it.

When several processes train one model together, only the first one asks the study. Its answer, or its error, is broadcast to
all of them, so that all stop after the same epoch.
"""

from __future__ import annotations

import logging
import math
import secrets
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from curvestop.clients.driver import flat_configuration
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.srm.curve import Decision
from curvestop.srm.metric_names import warn_of_direction
from curvestop.srm.report import trial_name
from curvestop.srm.resource import TIME_UNITS
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike
from curvestop.srm.trial import UnknownTrial
from curvestop.srm.validation import LARGEST_VALUE, check_name, checked_configuration

_log = logging.getLogger(__name__)


class Processes(Protocol):
    """The processes that train one model together."""

    @property
    def is_first(self) -> bool:
        """Return whether this process is the one that asks the study."""
        ...

    def broadcast(self, answer: Any) -> Any:
        """Return the first process's answer in every process; all processes must call this at the same time.

        Args:
            answer: The first process's answer, or the error that it raised; what other processes give does not count.
        """
        ...


class TorchProcesses:
    """The default group of `torch.distributed` if the program has made one; otherwise this process alone.

    torch is not imported here: a program that has not imported it has no such group.
    """

    @property
    def is_first(self) -> bool:
        """Return whether this process has rank 0."""
        group = self._group()
        return group is None or group.get_rank() == 0

    def broadcast(self, answer: Any) -> Any:
        """Return the answer of the process of rank 0.

        Args:
            answer: An object that can be pickled.
        """
        group, answers = self._group(), [answer]
        if group is not None:
            group.broadcast_object_list(answers, src=0)
        return answers[0]

    def _group(self) -> Any:
        distributed = sys.modules.get("torch.distributed")  # not an import: torch takes seconds to load
        return distributed if distributed is not None and distributed.is_available() and distributed.is_initialized() else None


class TrialReporter:
    """Report one trial to a study and keep the study's last decision.

    Nothing connects before `begin` in the first process. A server that cannot be reached costs what `RemoteStudy` says and
    raises nothing.

    Args:
        study: A study, or the address HOST:PORT of a server; an address needs `settings`.
        trial: Name of the trial, unique in the study; the name of an earlier trial resumes it. Default: a new one for each
            training.
        configuration: Hyper-parameters of the trial by name, nested or not. Default: unknown.
        monitor: Name of the metric in the framework's logs. Default: the study's metric.
        settings: The study's settings; only with an address.
        clock: Returns seconds, for a study that counts time.

    Attributes:
        settings: The study's settings.
        monitor: Name of the monitored metric.
        trial: Name of the trial; of an unnamed one the final one from `begin` on.
        configuration: Flat configuration of the trial (see `flat_configuration`); None if it is not known.
        epoch: The epoch reported last, from 1, or the tick of the study's axis; 0 before the first report.
        decision: The study's last decision; None before the first one.

    Raises:
        ValueError: If the trial's name or configuration is invalid, or `settings` is missing for an address or given with a
            study.
        TypeError: If the study is neither a study nor an address.

    Examples:
        >>> from curvestop import Study, StudySettings
        >>> reporter = TrialReporter(Study(StudySettings("demo", max_epochs=3)), "trial-1")
        >>> reporter.begin(TorchProcesses())
        False
        >>> reporter.report(0.5, TorchProcesses()).stop
        False
        >>> reporter.epoch
        1
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str | int | None = None,
        *,
        configuration: Mapping[str, Any] | None = None,
        monitor: str | None = None,
        settings: StudySettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = _settings_of(study, settings)
        self._clock = clock
        self.monitor = monitor or self.settings.metric
        self._address = study if isinstance(study, str) else None  # a connection that is opened here is closed here
        self._study = None if isinstance(study, str) else study
        self._given_trial = None if trial is None else trial_name(trial)
        self.trial = new_trial_name() if self._given_trial is None else self._given_trial
        check_name("trial", self.trial)
        self._given_configuration = configuration
        self.configure(configuration)
        self._has_begun = False
        self.epoch = 0
        self.decision: Decision | None = None
        self._start()
        if self.monitor != self.settings.metric:  # that one the settings have looked at
            warn_of_direction(self.settings.name, self.monitor, self.settings.direction)

    def configure(self, configuration: Mapping[str, Any] | None) -> None:
        """Set the trial's configuration; call it before `begin`.

        Args:
            configuration: Hyper-parameters by name, nested or not; None if they are not known.

        Raises:
            ValueError: If a name or value is one that the study refuses.
        """
        self.configuration = None if configuration is None else flat_configuration(configuration)
        checked_configuration(self.configuration or {}, log_scaled=self.settings.log_scaled)

    def begin(
        self,
        processes: Processes,
        *,
        continues: bool = False,
        configuration: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> bool:
        """Start or resume the trial.

        A reporter that has begun a training before begins another trial now, under a new name, unless the training continues.

        Args:
            processes: The processes that train together; all of them call this.
            continues: Whether the training does not start with its first epoch, as after a checkpoint.
            configuration: Returns the hyper-parameters that the framework knows; used if none were given.

        Returns:
            Whether the trial was stopped in an earlier run, so that there is nothing to train.
        """
        if self._has_begun and not continues:
            self._begin_another_trial(processes)
        self._has_begun = True
        if self.configuration is None:
            self.configure(configuration())
        # All processes take the first one's name, as an unnamed trial has another one in each.
        self.trial, decision = self._ask_in_first(processes, lambda: (self.trial, self._begin()))
        self.decision = decision if decision.stop else self.decision
        # A clock that starts where the training was left.
        self._clock_zero = self._clock() - self.settings.axis.amount(self.epoch) * TIME_UNITS.get(self.settings.resource, 0.0)
        return self.is_stopped

    def place(self, counts: Mapping[str, float | None], *, hint: str = "") -> float | None:
        """Return where the training stands, in the study's resource.

        Args:
            counts: What the training counts, by unit, singular; None for what it does not count. Time is taken by the clock.
            hint: What else can be done; the end of the message.

        Returns:
            The place for `report`; None in a study of epochs, whose epochs are reports.

        Raises:
            ValueError: If the training does not count the study's unit.
        """
        axis = self.settings.axis
        if axis.is_epochs:
            return None
        if axis.unit in TIME_UNITS:
            return (self._clock() - self._clock_zero) / TIME_UNITS[axis.unit]
        at = counts.get(axis.unit)
        if at is None:
            known = ", ".join([*(unit for unit, count in counts.items() if count is not None), *TIME_UNITS])
            raise ValueError(f"study {self.settings.name!r} counts {axis.unit}s, but this training counts only {known}{hint}")
        return at

    def report(
        self, value: float, processes: Processes, *, epoch: int | None = None, at: float | None = None, is_last: bool = False
    ) -> Decision:
        """Report the metric after an epoch. After a stop, and beyond the study's last epoch, the study is not asked.

        Args:
            value: The metric in the study's unit; not finite means that the trial diverged.
            processes: The processes that train together; all of them call this, and the first one's value counts.
            epoch: The epoch, from 1. Default: the one after the last reported.
            at: Where the training stands in the study's resource, in place of an epoch; see `place`.
            is_last: Whether the training ends now in any case, so that a stop would save nothing and lose a complete curve.
        """
        # A stop is final, and the trial has ended in the study.
        if self.is_stopped and self.decision is not None:
            return self.decision
        axis = self.settings.axis
        if at is not None:
            if at == 0:
                return Decision.carry_on("nothing was trained yet")
            epoch = int(at) if axis.scaled_to is None and at > axis.ticks else axis.tick(at)
        epoch = self.epoch + 1 if epoch is None else epoch
        if epoch > axis.ticks:
            self._warn_of_the_end(processes, epoch)
            return Decision.carry_on(
                f"{axis.at(epoch)} was not reported: the study's last {axis.unit} is {axis.number(axis.ticks)}"
            )
        decision: Decision = self._ask_in_first(processes, lambda: self._report(epoch, at, value, is_last))
        # After the answer: an error leaves the reporter where it was, so that the epoch can be reported again.
        self.decision, self.epoch = decision, epoch
        return decision

    def end(self, processes: Processes) -> None:
        """Mark the trial as stopped or finished. Do not call it after a crash: the trial may be resumed.

        Args:
            processes: The processes that train together; all of them call this.
        """
        self._ask_in_first(processes, self._finish)

    @property
    def is_complete(self) -> bool:
        """Return whether the trial reported the study's end."""
        return self.epoch >= self.settings.max_epochs

    @property
    def is_stopped(self) -> bool:
        """Return whether the last decision was to stop."""
        return self.decision is not None and self.decision.stop

    # For people, and for a framework's logs and checkpoints.

    def summary(self) -> str:
        """Return the last decision and its reason as one line."""
        if self.decision is None:
            return f"trial {self.trial!r}: no decision yet"
        verb = "stops" if self.decision.stop else "continues"
        axis = self.settings.axis
        place = f"{axis.at(self.epoch)} of {axis.number(axis.ticks)}"
        return f"trial {self.trial!r} {verb} after {place}: {self.decision.reason}"

    def log_metrics(self) -> dict[str, float]:
        """Return the numbers of the last decision for a logger; empty before the first decision.

        Returns:
            `curvestop/stop`: 1 for a stop, also for one that shadow mode or the hold-out suppressed, else 0. If there is a model:
            `curvestop/probability`, and `curvestop/predicted` with its standard deviation `curvestop/predicted_sigma`.
        """
        if self.decision is None:
            return {}
        # Also a suppressed stop: in shadow mode, the plot of this number is all that there is to see.
        metrics = {"curvestop/stop": float(self.decision.stop or self.decision.would_stop)}
        if self.decision.probability is not None:
            metrics["curvestop/probability"] = self.decision.probability
        if self.decision.prediction is not None:
            metrics["curvestop/predicted"] = self.decision.prediction.mean
            metrics["curvestop/predicted_sigma"] = self.decision.prediction.sigma
        return metrics

    def resume(self, trial: str, epoch: int, configuration: Mapping[str, Any] | None) -> None:
        """Become the trial that a checkpoint belongs to.

        Args:
            trial: The checkpoint's trial; it replaces the name given to the constructor.
            epoch: The epoch that the checkpoint was saved after.
            configuration: The trial's configuration; None if it is not known.
        """
        if self._given_trial is not None and trial != self.trial:
            _log.info("resuming trial %r of the checkpoint; the name %r is not used", trial, self.trial)
        self._start()  # `begin` asks anew whether the trial was stopped
        self.trial, self.epoch = trial, epoch
        self.configure(configuration)

    def check_monitor(self, metrics: Collection[str], hint: str = "") -> None:
        """Check that a framework logged the monitored metric.

        Args:
            metrics: Names of the metrics that were logged.
            hint: What else may be the cause; the end of the message.

        Raises:
            ValueError: If the monitored metric is not among them.
        """
        if self.monitor not in metrics:
            raise ValueError(f"monitor must be one of {', '.join(map(repr, sorted(metrics)))}, but got {self.monitor!r}{hint}")

    def _start(self) -> None:
        self.epoch, self.decision = 0, None
        self._warned_of_the_end = False
        self._clock_zero = self._clock()

    def _begin_another_trial(self, processes: Processes) -> None:
        name = new_trial_name() if self._given_trial is None else f"{self._given_trial}-{secrets.token_hex(4)}"
        if self._given_trial is not None and processes.is_first:
            _log.warning(
                "trial %r of study %r has begun before: this training is another trial, %r. "
                "Leave the name out, or give each training one of its own.",
                *(self._given_trial, self.settings.name, name),
            )
        self._start()
        self.trial = name
        self.configure(self._given_configuration)

    def _warn_of_the_end(self, processes: Processes, epoch: int) -> None:
        if self._warned_of_the_end or not processes.is_first:
            return
        self._warned_of_the_end = True
        if not self.settings.axis.is_epochs:
            _log.warning(
                "trial %r: the report at %s is not stored, as study %r has max_resource=%s",
                *(self.trial, self.settings.axis.at(epoch), self.settings.name, self.settings.axis.max_resource),
            )
            return
        _log.warning(
            "trial %r: report %d is not stored, as study %r has max_epochs=%d. max_epochs is the number of reports in a complete "
            "training: set it to %d or more.",
            *(self.trial, epoch, self.settings.name, self.settings.max_epochs, epoch),
        )

    # In the first process.

    def _begin(self) -> Decision:
        # A report without values makes the trial known, and answers with a stop if it was stopped before.
        return self._open().report(self.trial, (), configuration=self.configuration)

    def _open(self) -> StudyLike:
        if self._study is None:
            assert self._address is not None
            self._study = connect(self._address, self.settings)
        return self._study

    def _report(self, epoch: int, at: float | None, value: float, is_last: bool) -> Decision:
        # Values beyond LARGEST_VALUE, which a study refuses, count as diverged rather than end the training with an error.
        value = float(value) if abs(value) <= LARGEST_VALUE else math.nan
        ask = not is_last or math.isnan(value) or epoch == self.settings.max_epochs
        where: dict[str, Any] = {"first_epoch": epoch} if at is None else {"at": at}
        return self._open().report(self.trial, [value], configuration=self.configuration, ask=ask, **where)

    def _finish(self) -> None:
        study = self._open()
        with suppress(UnknownTrial):  # the server was given a new store during the training
            study.finish(self.trial, "stopped" if self.is_stopped else "finished")
        if self._address is not None and isinstance(study, RemoteStudy):  # only a connection that was opened here
            study.close()
            self._study = None

    def _ask_in_first(self, processes: Processes, ask: Callable[[], Any]) -> Any:
        """Ask in the first process and return its answer in all; an error is raised in all, so that none waits in vain."""
        # The error is broadcast like an answer: a process that waits for a broadcast would hang otherwise.
        answer: Any = None
        if processes.is_first:
            try:
                answer = ask()
            except Exception as error:
                answer = error
        answer = processes.broadcast(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer


def new_trial_name() -> str:
    """Return a name that no other trial has: the time, and a random number."""
    return f"trial-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _settings_of(study: str | StudyLike, settings: StudySettings | None) -> StudySettings:
    if not isinstance(study, str) and not isinstance(getattr(study, "settings", None), StudySettings):
        raise TypeError(f"study must be a study, as connect returns it, or HOST:PORT of a server, but got {study!r}")
    if isinstance(study, str):
        if settings is None:
            raise ValueError(f"settings must be given with a server's address, here {study!r}, but got None")
        return settings
    if settings is not None:
        raise ValueError(f"settings must not be given with a study, which has its own, but got {settings!r}")
    return study.settings
