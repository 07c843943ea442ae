"""PyTorch Lightning: `SRMCallback` stops a training whose curve says that it will not be among the best.

study = connect("localhost:7070", StudySettings("my-search", max_epochs=50, metric="val_accuracy"))
Trainer(max_epochs=50, callbacks=[SRMCallback(study, "trial-7")])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curvestop.clients.trial_reporter import TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import StudyLike

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.trainer.states import TrainerFn
    from lightning.pytorch.utilities import rank_zero_info
except ImportError as error:
    raise ImportError("the callback for Lightning needs it: pip install 'curvestop[lightning]'") from error


class SRMCallback(Callback):
    """Reports a logged metric after every validation, and ends the training where the study says to stop.

    study: HOST:PORT of a server, with the settings of a study there (the way for ddp_spawn); or a study, as of `connect`.
    trial: unique in the study. configuration: of the trial, by name; the module's hyper-parameters unless given.
    monitor: the name under which the metric is logged; that of the settings unless given.
    check_on_train_epoch_end: after every epoch of training, for a metric of the training; without, that is so where the
    trainer does not validate. The study's epochs are these looks, so its max_epochs is their number in a whole training.

    In distributed training the first process alone asks, with its own value (log with sync_dist=True), and all stop together;
    `decision` is in the processes that trained, which with ddp_spawn are not the one that started them.
    Checkpoints keep the trial's name, configuration and epoch: a training that is resumed is the same trial. The sanity check
    and fast_dev_run report nothing. Probability and prediction go to the trainer's loggers; a stop, with its reason, to
    Lightning's log. A server that is away stops nothing; a training that crashed leaves its trial running, to be resumed.
    Raises ValueError for what makes no sense, and after the first look where the metric is not logged.
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str,
        *,
        monitor: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        self._watch = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        self._looks_after_training = check_on_train_epoch_end

    @property
    def decision(self) -> Decision | None:
        """The last one, with its prediction and reason; None before."""
        return self._watch.decision

    @property
    def state_key(self) -> str:
        return self._generate_state_key(study=self._watch.settings.name, monitor=self._watch.monitor)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self._watch.configuration is None:
            self._watch.configure(pl_module.hparams)
        if self._watch.begin(_Processes(trainer)):
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._after_training(trainer):
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._after_training(trainer):
            self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._watch.end(_Processes(trainer))

    def state_dict(self) -> dict[str, Any]:
        watch = self._watch
        return {"trial": watch.trial, "epoch": watch.epoch, "configuration": watch.configuration}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._watch.resume(state_dict["trial"], state_dict["epoch"], state_dict["configuration"])

    def _after_training(self, trainer: Trainer) -> bool:
        given = self._looks_after_training
        return not trainer.enable_validation if given is None else given

    def _look(self, trainer: Trainer) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._watch.found_in(trainer.callback_metrics)
        was_stopped = self._watch.is_stopped
        self._watch.report(float(trainer.callback_metrics[self._watch.monitor]), _Processes(trainer))
        for logger in trainer.loggers:
            logger.log_metrics(self._watch.figures(), step=trainer.global_step)
        if self._watch.is_stopped and not was_stopped:
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        trainer.should_stop = True
        rank_zero_info(self._watch.line())


class _Processes:
    """Those of the trainer's strategy."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    @property
    def is_first(self) -> bool:
        return self._trainer.is_global_zero

    def share(self, answer: Any) -> Any:
        return self._trainer.strategy.broadcast(answer)
