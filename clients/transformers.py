"""Hugging Face Trainer: `SRMCallback` ends a training whose learning curve predicts that it will not be among the best.

study = connect("localhost:7070", StudySettings("my-search", max_epochs=20, metric="eval_accuracy"))
Trainer(model, TrainingArguments(eval_strategy="epoch", num_train_epochs=20), callbacks=[SRMCallback(study, "trial-7")], ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curvestop.clients.trial_reporter import TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike

try:
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.utils import logging
except ImportError as error:
    message = "curvestop.clients.transformers needs transformers and accelerate: pip install 'curvestop[transformers]'"
    raise ImportError(message) from error

_log = logging.get_logger(__name__)


class SRMCallback(TrainerCallback):
    """Report a metric of every evaluation and end the training when the study says to stop.

    An epoch of the study is one evaluation during training, by epochs or by steps, so the study's `max_epochs` is the number of
    evaluations in a complete training. The evaluation of `eval_on_start` does not count.

    In distributed training only the first process asks, and all processes stop together. The trial, its configuration and every
    decision are kept in the Trainer's `state.log_history`, which is in its checkpoints, so a resumed training continues the same
    trial at the right evaluation. A training that crashes leaves its trial running, to be resumed. If the server cannot be
    reached, training continues. A stop and its reason are logged as a warning. So is an evaluation without the metric, which may
    be one of another data set.

    Args:
        study: A study, as `connect` returns it, or the address HOST:PORT of a server; an address needs `settings`.
        trial: Name of the trial, unique in the study.
        monitor: Name of the metric, with or without "eval_". Default: the study's metric.
        configuration: Hyper-parameters of the trial by name. Default: unknown.
        settings: The study's settings; only with an address.

    Raises:
        ValueError: If the trial's name or configuration is invalid, or `settings` is missing for an address or given with a
            study.

    Examples:
        >>> from curvestop import Study, StudySettings
        >>> study = Study(StudySettings("my-search", max_epochs=20, metric="eval_accuracy"))
        >>> callback = SRMCallback(study, "trial-7", configuration={"learning_rate": 0.1})
        >>> trainer = Trainer(model, arguments, callbacks=[callback])  # doctest: +SKIP
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
        self._reporter = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        # The Trainer puts "eval_" before the names of an evaluation's metrics.
        self._metric = f"eval_{self._reporter.monitor.removeprefix('eval_')}"
        self._is_training = False

    @property
    def decision(self) -> Decision | None:
        """The last decision, with its prediction and reason; None before the first one."""
        return self._reporter.decision

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the trial, or resume the one of the checkpoint; a trial that was stopped before trains no more.

        Args:
            args: Not read.
            state: The Trainer's state; the history of a checkpoint says which trial is resumed.
            control: Told to stop the training if the trial was stopped before.
            **kwargs: Not read.
        """
        self._is_training = True
        ours: list[dict[str, Any]] = [entry for entry in state.log_history if "curvestop/trial" in entry]
        # A resumed Trainer has the history of its checkpoint.
        if ours:
            last = ours[-1]
            # The checkpoint's trial wins over the constructor's: its values are in the study already.
            self._reporter.resume(last["curvestop/trial"], last["curvestop/epoch"], last["curvestop/configuration"])
        if self._reporter.begin(_TrainerProcesses(state)):
            self._stop(state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report the metric of an evaluation during training.

        Args:
            args: Not read.
            state: The Trainer's state, whose history gets the decision.
            control: Told to stop the training after a stop.
            **kwargs: "metrics", the evaluation's metrics by name, is read.
        """
        metrics: dict[str, float] = kwargs["metrics"]
        # `Trainer.evaluate` calls this outside of a training too; step 0 is the evaluation of `eval_on_start`.
        if not self._is_training or state.global_step == 0 or self._reporter.is_stopped:
            return
        if self._metric not in metrics:
            _log.warning("the evaluation has no metric %r to report to curvestop; it has %s", self._metric, ", ".join(metrics))
            return
        # Counting the history, which a checkpoint restores, gives the right epoch after a resume.
        epoch = sum(self._metric in entry and entry["step"] > 0 for entry in state.log_history)
        self._reporter.report(metrics[self._metric], _TrainerProcesses(state), epoch=epoch)
        # Appended after the epoch was counted; our entries do not have the metric's name, so they never count.
        state.log_history.append(self._history_entry(state))
        if self._reporter.is_stopped:
            self._stop(state, control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the trial as finished or stopped."""
        self._is_training = False
        self._reporter.end(_TrainerProcesses(state))

    def _stop(self, state: TrainerState, control: TrainerControl) -> None:
        control.should_training_stop = True
        if state.is_world_process_zero:  # all processes stop, but one line in the log is enough
            _log.warning(self._reporter.summary())

    def _history_entry(self, state: TrainerState) -> dict[str, Any]:
        """Return the last decision and what `on_train_begin` needs to resume the trial."""
        return {
            "curvestop/trial": self._reporter.trial,
            "curvestop/epoch": self._reporter.epoch,
            "curvestop/configuration": self._reporter.configuration,
            "curvestop/reason": self._reporter.decision.reason if self._reporter.decision is not None else "",
            **self._reporter.log_metrics(),
            "epoch": state.epoch,
            "step": state.global_step,
        }


class _TrainerProcesses:
    """The processes that accelerate started."""

    def __init__(self, state: TrainerState) -> None:
        self._state = state

    @property
    def is_first(self) -> bool:
        """Return whether this is the process of global rank 0."""
        return self._state.is_world_process_zero

    def broadcast(self, answer: Any) -> Any:
        """Return the first process's answer."""
        return broadcast_object_list([answer])[0]
