"""PyTorch Lightning: `SRMCallback` ends a training whose learning curve predicts that it will not be among the best.

with connect("localhost:7070", StudySettings("my-search", max_epochs=50, metric="val_accuracy")) as study:
    Trainer(max_epochs=50, callbacks=[SRMCallback(study)]).fit(model, data)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curvestop.clients.trial_reporter import TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.trainer.states import TrainerFn
    from lightning.pytorch.utilities import rank_zero_info
except ImportError as error:
    raise ImportError("curvestop.clients.lightning needs PyTorch Lightning: pip install 'curvestop[lightning]'") from error


class SRMCallback(Callback):
    """Report a logged metric after every validation and end the training when the study says to stop.

    An epoch of the study is one report, so the study's `max_epochs` is the number of reports in a complete training. In a study
    of steps a report stands at the trainer's `global_step`, in one of time at the seconds since the training began. The sanity
    check and `fast_dev_run` report nothing.

    In distributed training only the first process asks, with its own value (log with `sync_dist=True`), and all processes stop
    together. With ddp_spawn, `decision` is set in the spawned processes, not in the one that started them.

    Checkpoints keep the trial's name, configuration and epoch, so a resumed training continues the same trial. A training that
    crashes leaves its trial running, to be resumed. Another training with the same callback is another trial. If the server
    cannot be reached, training continues. Probability and prediction go to the trainer's loggers; a stop and its reason go to
    Lightning's log.

    Args:
        study: A study, as `connect` returns it, or the address HOST:PORT of a server (the way for ddp_spawn); an address needs
            `settings`.
        trial: Name of the trial, unique in the study. Default: a new one for each training.
        monitor: Name under which the module logs the metric. Default: the study's metric.
        configuration: Hyper-parameters of the trial by name. Default: the module's `hparams`.
        settings: The study's settings; only with an address.
        check_on_train_epoch_end: True to report after every training epoch, for a metric of the training; False to report after
            validations. Default: after training epochs only if the trainer does not validate.

    Raises:
        ValueError: If the trial's name or configuration is invalid, or `settings` is missing for an address or given with a
            study; during the training, if the metric is not logged.

    Examples:
        >>> from curvestop import Study, StudySettings
        >>> study = Study(StudySettings("my-search", max_epochs=50, metric="val_accuracy"))
        >>> callback = SRMCallback(study, configuration={"learning_rate": 0.1})
        >>> trainer = Trainer(max_epochs=50, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str | int | None = None,
        *,
        monitor: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        self._reporter = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        self._reports_after_training = check_on_train_epoch_end

    @property
    def decision(self) -> Decision | None:
        """The last decision, with its prediction and reason; None before the first one."""
        return self._reporter.decision

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint: one for each study and metric."""
        return self._generate_state_key(study=self._reporter.settings.name, monitor=self._reporter.monitor)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start or resume the trial; a trial that was stopped before trains no more.

        Args:
            trainer: The trainer; with its `fast_dev_run` nothing is reported.
            pl_module: The module, whose `hparams` are the configuration if none was given.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # The hyper-parameters are known only now: a callback is made before it meets the module.
        continues, processes = trainer.global_step > 0, _TrainerProcesses(trainer)
        if self._reporter.begin(processes, continues=continues, configuration=lambda: pl_module.hparams):
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric, unless it is reported after training epochs.

        Args:
            trainer: The trainer, whose `callback_metrics` have the metric.
            pl_module: Not read.

        Raises:
            ValueError: If the metric was not logged.
        """
        if not self._is_after_training(trainer):
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric, if it is reported after training epochs.

        Args:
            trainer: The trainer, whose `callback_metrics` have the metric.
            pl_module: Not read.

        Raises:
            ValueError: If the metric was not logged.
        """
        if self._is_after_training(trainer):
            self._report(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the trial as finished or stopped."""
        # Lightning does not call this after an error, so a crashed training leaves its trial running.
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._reporter.end(_TrainerProcesses(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the trial's name, epoch and configuration."""
        reporter = self._reporter
        return {"trial": reporter.trial, "epoch": reporter.epoch, "configuration": reporter.configuration}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the trial of a checkpoint.

        Args:
            state_dict: What `state_dict` returned: "trial", "epoch" and "configuration".
        """
        self._reporter.resume(state_dict["trial"], state_dict["epoch"], state_dict["configuration"])

    def _is_after_training(self, trainer: Trainer) -> bool:
        given = self._reports_after_training
        return not trainer.enable_validation if given is None else given

    def _report(self, trainer: Trainer) -> None:
        # `trainer.validate` and the sanity check call the same hooks as a training does.
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._reporter.check_monitor(trainer.callback_metrics)  # here, as names are logged during the first epoch
        was_stopped = self._reporter.is_stopped
        value = float(trainer.callback_metrics[self._reporter.monitor])
        at = self._reporter.place({"step": trainer.global_step})
        self._reporter.report(value, _TrainerProcesses(trainer), at=at, is_last=_is_ending(trainer))
        for logger in trainer.loggers:
            # At the step of the metric itself, so that both share an axis.
            logger.log_metrics(self._reporter.log_metrics(), step=trainer.global_step)
        # A hook may still run after a stop; the reason is logged once.
        if self._reporter.is_stopped and not was_stopped:
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        trainer.should_stop = True
        rank_zero_info(self._reporter.summary())


def _is_ending(trainer: Trainer) -> bool:
    """Return whether the training ends after this report, whatever the study says."""
    if trainer.should_stop or (trainer.max_steps >= 0 and trainer.global_step >= trainer.max_steps):
        return True
    is_last_epoch = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
    return is_last_epoch and trainer.is_last_batch


class _TrainerProcesses:
    """The processes of the trainer's strategy."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    @property
    def is_first(self) -> bool:
        """Return whether this is the process of global rank 0."""
        return self._trainer.is_global_zero

    def broadcast(self, answer: Any) -> Any:
        """Return the first process's answer."""
        return self._trainer.strategy.broadcast(answer)
