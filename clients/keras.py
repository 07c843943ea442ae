"""Keras: `SRMCallback` ends a training whose learning curve predicts that it will not be among the best.

with connect("localhost:7070", StudySettings("my-search", max_epochs=50, metric="val_accuracy")) as study:
    model.fit(x, y, epochs=50, validation_data=(u, v), callbacks=[SRMCallback(study, configuration={"units": 64})])
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from curvestop.clients.trial_reporter import TorchProcesses, TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike
from curvestop.srm.validation import whole_number

try:
    from keras.callbacks import Callback
    from keras.utils import is_interactive_logging_enabled
except ImportError as error:
    raise ImportError("curvestop.clients.keras needs Keras: pip install 'curvestop[keras]'") from error

_log = logging.getLogger(__name__)


class SRMCallback(Callback):  # type: ignore[misc]
    """Report a metric after every epoch and end the training when the study says to stop.

    In a study of steps a report stands at the batches trained, in one of time at the seconds since the training began.

    Probability and prediction are added to Keras's logs (`History`, the progress bar, `TensorBoard`), so put this callback before
    your own. A stop is printed with its reason. If `torch.distributed` has a process group, only the first process asks, and all
    processes stop together. If the server cannot be reached, training continues. A training that crashes leaves its trial
    running, to be resumed. Another training with the same callback is another trial.

    Args:
        study: A study, as `connect` returns it, or the address HOST:PORT of a server; an address needs `settings`.
        trial: Name of the trial, unique in the study. A training that is resumed under the same name, by `BackupAndRestore` or
            with `initial_epoch`, continues the trial. Default: a new name for each training.
        monitor: Name of the metric in Keras's logs. Default: the study's metric.
        configuration: Hyper-parameters of the trial by name. Default: unknown.
        settings: The study's settings; only with an address.
        validation_freq: The `validation_freq` given to `fit`, >= 1. Only epochs that validate count in the study. Default: 1.

    Raises:
        ValueError: If `validation_freq` is < 1, the trial's name or configuration is invalid, or `settings` is missing for an
            address or given with a study; during the training, if Keras's logs do not have the metric.

    Examples:
        >>> from curvestop import Study, StudySettings
        >>> study = Study(StudySettings("my-search", max_epochs=50, metric="val_accuracy"))
        >>> callback = SRMCallback(study, configuration={"units": 64})
        >>> history = model.fit(x, y, epochs=50, validation_data=(u, v), callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str | int | None = None,
        *,
        monitor: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
        validation_freq: int = 1,
    ) -> None:
        super().__init__()
        self._validation_freq = whole_number("validation_freq", validation_freq)
        self._reporter = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        # Without a group of torch.distributed, as on other backends, this process is the first.
        self._processes = TorchProcesses()
        self._has_begun = False

    @property
    def decision(self) -> Decision | None:
        """The last decision, with its prediction and reason; None before the first one."""
        return self._reporter.decision

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Note that a training begins; the trial is started with its first epoch."""
        self._has_begun = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start or resume the trial with the first epoch; a trial that was stopped before trains no more.

        Args:
            epoch: Keras's number of the epoch, from 0; known only now, as `BackupAndRestore` may have changed it.
            logs: Not read.
        """
        if self._has_begun:
            return
        self._has_begun = True
        if self._reporter.begin(self._processes, continues=epoch > 0):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the metric if this epoch validated.

        Args:
            epoch: Keras's number of the epoch, from 0.
            logs: Metrics of the epoch by name; probability and prediction are added to it.

        Raises:
            ValueError: If the logs do not have the metric.
        """
        # Keras counts from 0 and restores its number on a resume, so the study's epoch needs no memory of its own.
        validation, remainder = divmod(epoch + 1, self._validation_freq)
        if remainder or self._reporter.is_stopped:
            return
        logs = {} if logs is None else logs
        self._reporter.check_monitor(logs, self._hint)  # here, as Keras knows the names of its metrics only after the first epoch
        is_last = self.model.stop_training or epoch + 1 + self._validation_freq > self.params["epochs"]
        steps = self.params.get("steps")
        at = self._reporter.place({"epoch": epoch + 1, "step": steps and (epoch + 1) * steps})
        self._reporter.report(logs[self._reporter.monitor], self._processes, epoch=validation, at=at, is_last=is_last)
        logs.update(self._reporter.log_metrics())  # in place: the callbacks after this one see it
        if self._reporter.is_stopped:
            self._stop()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Mark the trial as finished or stopped."""
        self._reporter.end(self._processes)

    @property
    def _hint(self) -> str:
        return "" if self._validation_freq > 1 else "; give validation_freq as to `fit`, if not every epoch validates"

    def _stop(self) -> None:
        self.model.stop_training = True
        if not self._processes.is_first:
            return
        if self.params.get("verbose") and is_interactive_logging_enabled():
            print(f"\n{self._reporter.summary()}")  # Keras prints its progress in this case
        else:
            _log.info("%s", self._reporter.summary())
