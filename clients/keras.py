"""Keras: `SRMCallback` stops a training whose curve says that it will not be among the best.

study = connect("localhost:7070", StudySettings("my-search", max_epochs=50, metric="val_accuracy"))
model.fit(x, y, epochs=50, validation_data=(u, v), callbacks=[SRMCallback(study, "trial-7", configuration={"units": 64})])
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from curvestop.clients.trial_reporter import TorchRanks, TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import StudyLike

try:
    from keras.callbacks import Callback
    from keras.utils import is_interactive_logging_enabled
except ImportError as error:
    raise ImportError("the callback for Keras needs it: pip install 'curvestop[keras]'") from error

_log = logging.getLogger(__name__)


class SRMCallback(Callback):  # type: ignore[misc]
    """Reports a metric after every epoch, and ends the training where the study says to stop.

    study: HOST:PORT of a server, with the settings of a study there; or a study, as of `connect`.
    trial: unique in the study; under the same name a training that is resumed, by `BackupAndRestore` or with
    `initial_epoch`, is the same trial and goes on where it was. configuration: of the trial, by name.
    monitor: a name in Keras's logs; that of the settings unless given.
    validation_freq: that of `fit`, where it is not 1: the study's epochs are the epochs that have the metric.

    Probability and prediction are in Keras's logs from then on (`History`, the progress bar, `TensorBoard`): put it before
    your own callbacks. A stop is printed with its reason. Where `torch.distributed` has a group, the first process alone
    asks, and all stop together. A server that is away stops nothing; a training that crashed leaves its trial running.
    Raises ValueError for what makes no sense, and after the first look where the logs have no such metric.
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str,
        *,
        monitor: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
        validation_freq: int = 1,
    ) -> None:
        super().__init__()
        if validation_freq < 1:
            raise ValueError(f"validation_freq must be >= 1, but got {validation_freq!r}")
        self._watch = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        self._epochs_a_look = validation_freq
        self._ranks = TorchRanks()

    @property
    def decision(self) -> Decision | None:
        """The last one, with its prediction and reason; None before."""
        return self._watch.decision

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._watch.begin(self._ranks):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        look, left = divmod(epoch + 1, self._epochs_a_look)
        if left or self._watch.is_stopped:
            return
        logs = {} if logs is None else logs
        self._watch.found_in(logs)
        self._watch.report(logs[self._watch.monitor], self._ranks, epoch=look)
        logs.update(self._watch.figures())
        if self._watch.is_stopped:
            self._stop()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._watch.end(self._ranks)

    def _stop(self) -> None:
        self.model.stop_training = True
        if not self._ranks.is_first:
            return
        if self.params.get("verbose") and is_interactive_logging_enabled():
            print(f"\n{self._watch.line()}")  # as Keras does
        else:
            _log.info("%s", self._watch.line())
