"""Hugging Face Trainer: `SRMCallback` stops a training whose curve says that it will not be among the best.

study = connect("localhost:7070", StudySettings("my-search", max_epochs=20, metric="eval_accuracy"))
Trainer(model, TrainingArguments(eval_strategy="epoch", num_train_epochs=20), callbacks=[SRMCallback(study, "trial-7")], ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curvestop.clients.trial_reporter import TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import StudyLike

try:
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.utils import logging
except ImportError as error:
    raise ImportError("the callback for transformers needs it: pip install 'curvestop[transformers]'") from error

_log = logging.get_logger(__name__)


class SRMCallback(TrainerCallback):
    """Reports a metric of every evaluation, and ends the training where the study says to stop.

    study: HOST:PORT of a server, with the settings of a study there; or a study, as of `connect`.
    trial: unique in the study. configuration: of the trial, by name.
    monitor: the metric's name, with or without "eval_"; that of the settings unless given.
    The study's epochs are the evaluations during training, by epochs or by steps, so its max_epochs is their number in a whole
    training; that of eval_on_start is none of them.

    In distributed training the first process alone asks, and all stop together. A training that is resumed is the same trial,
    at the right evaluation: trial, configuration and every decision with its reason are in the Trainer's `state.log_history`,
    which its checkpoints have. A stop is logged as a warning. A server that is away stops nothing; a training that crashed
    leaves its trial running, to be resumed.
    Raises ValueError for what makes no sense; a metric that an evaluation does not have is a warning, as it may be of another
    data set.
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str,
        *,
        monitor: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
    ) -> None:
        self._watch = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        self._metric = f"eval_{self._watch.monitor.removeprefix('eval_')}"
        self._is_training = False

    @property
    def decision(self) -> Decision | None:
        """The last one, with its prediction and reason; None before."""
        return self._watch.decision

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._is_training = True
        ours: list[dict[str, Any]] = [entry for entry in state.log_history if "curvestop/trial" in entry]
        if ours:
            last = ours[-1]
            self._watch.resume(last["curvestop/trial"], last["curvestop/epoch"], last["curvestop/configuration"])
        if self._watch.begin(_Processes(state)):
            self._stop(state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        metrics: dict[str, float] = kwargs["metrics"]
        if not self._is_training or state.global_step == 0 or self._watch.is_stopped:
            return
        if self._metric not in metrics:
            _log.warning("evaluation without %r, which curvestop is to monitor; it has %s", self._metric, ", ".join(metrics))
            return
        look = sum(self._metric in entry and entry["step"] > 0 for entry in state.log_history)
        self._watch.report(metrics[self._metric], _Processes(state), epoch=look)
        state.log_history.append(self._entry(state))
        if self._watch.is_stopped:
            self._stop(state, control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._is_training = False
        self._watch.end(_Processes(state))

    def _stop(self, state: TrainerState, control: TrainerControl) -> None:
        control.should_training_stop = True
        if state.is_world_process_zero:
            _log.warning(self._watch.line())

    def _entry(self, state: TrainerState) -> dict[str, Any]:
        """What the history says of the last decision; enough to know the trial again."""
        return {
            "curvestop/trial": self._watch.trial,
            "curvestop/epoch": self._watch.epoch,
            "curvestop/configuration": self._watch.configuration,
            "curvestop/reason": self._watch.decision.reason if self._watch.decision is not None else "",
            **self._watch.figures(),
            "epoch": state.epoch,
            "step": state.global_step,
        }


class _Processes:
    """Those that accelerate knows."""

    def __init__(self, state: TrainerState) -> None:
        self._state = state

    @property
    def is_first(self) -> bool:
        return self._state.is_world_process_zero

    def share(self, answer: Any) -> Any:
        return broadcast_object_list([answer])[0]
