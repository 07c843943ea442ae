"""Hugging Face Trainer: `SRMCallback` ends a training whose learning curve predicts that it will not be among the best.

with connect("localhost:7070", StudySettings("my-search", max_epochs=20, metric="eval_accuracy")) as study:
    Trainer(model, TrainingArguments(eval_strategy="epoch", num_train_epochs=20), callbacks=[SRMCallback(study)], ...).train()
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

    In a study of steps, `StudySettings(max_resource=max_steps, resource="step")`, an evaluation stands at the Trainer's
    `global_step`; in one of time at the seconds since the training began; in one of tokens at `num_input_tokens_seen`; in one of
    epochs with fractions at the Trainer's epoch.

    In distributed training only the first process asks, and all processes stop together. The trial, its configuration and every
    decision are kept in the Trainer's `state.log_history`, which is in its checkpoints, so a resumed training continues the same
    trial at the right evaluation. A training that crashes leaves its trial running, to be resumed. Another training with the same
    callback is another trial, so one callback serves a whole `Trainer.hyperparameter_search`. If the server cannot be reached,
    training continues. A stop and its reason are logged as a warning. So is, once, a metric that no evaluation had.

    Args:
        study: A study, as `connect` returns it, or the address HOST:PORT of a server; an address needs `settings`.
        trial: Name of the trial, unique in the study. Default: a new one for each training.
        monitor: Name of the metric, with or without "eval_". Default: the study's metric.
        configuration: Hyper-parameters of the trial by name. Default: those that `Trainer.hyperparameter_search` drew.
        settings: The study's settings; only with an address.

    Raises:
        ValueError: If the trial's name or configuration is invalid, or `settings` is missing for an address or given with a
            study.

    Examples:
        >>> from curvestop import Study, StudySettings
        >>> study = Study(StudySettings("my-search", max_epochs=20, metric="eval_accuracy"))
        >>> callback = SRMCallback(study, configuration={"learning_rate": 0.1})
        >>> trainer = Trainer(model, arguments, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str | int | None = None,
        *,
        monitor: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
    ) -> None:
        self._reporter = TrialReporter(study, trial, configuration=configuration, monitor=monitor, settings=settings)
        # The Trainer puts "eval_" before the names of an evaluation's metrics.
        self._metric = f"eval_{self._reporter.monitor.removeprefix('eval_')}"
        self._is_training = False
        self._names_seen: set[str] = set()  # of the metrics of this training's evaluations, until the metric is among them
        self._has_metric = False

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
        self._is_training, self._has_metric = True, False
        self._names_seen.clear()
        ours: list[dict[str, Any]] = [entry for entry in state.log_history if "curvestop/trial" in entry]
        # A resumed Trainer has the history of its checkpoint.
        if ours:
            last = ours[-1]
            # The checkpoint's trial wins over the constructor's: its values are in the study already.
            self._reporter.resume(last["curvestop/trial"], last["curvestop/epoch"], last["curvestop/configuration"])
        continues, processes = state.global_step > 0, _TrainerProcesses(state)
        if self._reporter.begin(processes, continues=continues, configuration=lambda: state.trial_params):
            self._stop(state, control)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Warn, once, if the evaluations so far did not have the metric."""
        # Not in `on_evaluate`: there is one call for each data set, and one of them may have the metric.
        self._warn_of_the_metric(state)

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
            self._names_seen.update(metrics)
            return
        self._has_metric = True
        # Counting the history, which a checkpoint restores, gives the right epoch after a resume.
        epoch = sum(self._metric in entry and entry["step"] > 0 for entry in state.log_history)
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        counts = {"step": state.global_step, "epoch": state.epoch, "token": state.num_input_tokens_seen or None}
        at = self._reporter.place(counts)
        self._reporter.report(metrics[self._metric], _TrainerProcesses(state), epoch=epoch, at=at, is_last=is_last)
        # Appended after the epoch was counted; our entries do not have the metric's name, so they never count.
        state.log_history.append(self._history_entry(state))
        if self._reporter.is_stopped:
            self._stop(state, control)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the trial as finished or stopped."""
        self._is_training = False
        self._warn_of_the_metric(state)
        self._reporter.end(_TrainerProcesses(state))

    def _warn_of_the_metric(self, state: TrainerState) -> None:
        if self._has_metric or not self._names_seen:
            return
        self._has_metric = True  # warned: once is enough
        if state.is_world_process_zero:
            names = ", ".join(sorted(self._names_seen))
            _log.warning("no evaluation had the metric %r to report to curvestop; they had %s", self._metric, names)

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
