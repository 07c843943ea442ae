"""`Epochs`: a plain training loop that asks a study after each epoch and ends when the study says to stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from curvestop.clients.trial_reporter import TorchProcesses, TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike
from curvestop.srm.validation import whole_number

Epoch = TypeVar("Epoch")


class Epochs(Generic[Epoch]):
    """Iterate over the epochs of one trial until the last one or until the study says to stop.

    Call `report` once in every pass. When the loop ends, the trial is marked finished or stopped in the study. A loop that is
    left by an error or by `break` leaves the trial running, so that it can be resumed; call `study.finish` to end it.

    If the server cannot be reached, training continues. If `torch.distributed` has a process group, every process runs the
    loop: only the first process asks the study, with its own value, and all processes end after the same epoch.

    Write `Epochs(study, range(50))`, or with a name `Epochs(study, "trial-7", range(50))`.

    Args:
        study: A study, as `connect` returns it, or the address HOST:PORT of a server; an address needs `settings`.
        trial: Name of the trial, unique in the study. A training with the name of an earlier one resumes that trial. Default: a
            new name, so that each loop is a trial of its own.
        epochs: All epochs of a complete training, numbered as you like. The study counts them from 1.
        done: Number of epochs trained before, as your checkpoint says; the loop starts after them. Default: 0.
        configuration: Hyper-parameters of the trial by name. Default: unknown.
        settings: The study's settings; only with an address.

    Raises:
        ValueError: If `epochs` has more elements than the study has epochs, `done` is not in 0..len(epochs), or given without a
            name, the trial's name or configuration is invalid, or `settings` is missing for an address or given with a study.
        TypeError: If `epochs` is no sequence, or the study neither a study nor an address.

    Examples:
        >>> from curvestop import Epochs, Study, StudySettings
        >>> study = Study(StudySettings("demo", max_epochs=3))
        >>> epochs = Epochs(study, range(3), configuration={"learning_rate": 0.1})
        >>> for epoch in epochs:
        ...     decision = epochs.report(0.5 + 0.1 * epoch)  # the accuracy after this epoch
        >>> study.trials()[0].state
        'finished'
    """

    @overload
    def __init__(
        self,
        study: str | StudyLike,
        epochs: Sequence[Epoch],
        *,
        trial: str | int | None = None,
        done: int = 0,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        study: str | StudyLike,
        trial: str | int | None = None,
        epochs: Sequence[Epoch] = ...,
        *,
        done: int = 0,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
    ) -> None: ...
    def __init__(
        self,
        study: str | StudyLike,
        *trial_and_epochs: Any,
        trial: Any = None,
        epochs: Any = None,
        done: int = 0,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
    ) -> None:
        match trial_and_epochs:
            case (given_trial, given_epochs) if epochs is None:
                trial, epochs = given_trial, given_epochs
            case (given,) if epochs is None:
                epochs = given
            case (given,):
                trial = given
        if isinstance(epochs, str) or not (hasattr(epochs, "__len__") and hasattr(epochs, "__getitem__")):
            raise TypeError(f"epochs must be a sequence such as range(50), but got {epochs!r}")
        self._reporter = TrialReporter(study, trial, configuration=configuration, settings=settings)
        max_epochs = self._reporter.settings.max_epochs
        if len(epochs) > max_epochs:
            raise ValueError(f"epochs must have at most the study's max_epochs = {max_epochs} elements, but got {len(epochs)}")
        # All done is allowed: the loop has no pass, and the trial is marked as finished.
        done = whole_number("done", done, least=0)
        if done > len(epochs):
            raise ValueError(f"done must be in 0..{len(epochs)}, but got {done!r}")
        if done and trial is None:
            raise ValueError(f"trial must be the name of the trial of which {done} epochs are done, but got None")
        # The reporter counts from 1, so its epoch is the number of epochs done.
        self._epochs: Sequence[Epoch] = epochs
        self._reporter.epoch = self._n_done = done
        self._position: int | None = None  # of the pass that goes on; None before the first one
        self._processes = TorchProcesses()

    def __iter__(self) -> Iterator[Epoch]:
        """Yield the epochs that are left to train.

        Raises:
            RuntimeError: If the previous pass did not call `report`.
        """
        # The first process's `begin`, `report` and `end` are broadcast, so every process must make each of these calls.
        self._reporter.begin(self._processes, continues=True)
        for position in range(self._n_done, len(self._epochs)):
            if self._reporter.is_stopped or (self._reporter.is_complete and self._n_done):
                break
            self._position, epoch = position, self._epochs[position]
            yield epoch
            if self._n_done <= position:
                raise RuntimeError(f"epoch {epoch!r} was not reported: call report(value) in every pass of the loop")
        # Not in a `finally`: a loop left by an error or by `break` must leave the trial running.
        self._reporter.end(self._processes)

    def report(self, value: float, *, at: float | None = None) -> Decision:
        """Report the metric after the current epoch; the loop ends by itself if the decision is to stop.

        Args:
            value: The metric, in the study's unit and direction. A value that is not finite means that the trial diverged.
            at: Where the training stands, in the resource of a study that does not count epochs: the step, the tokens. Time is
                taken by the clock. The loop ends where the study does.

        Returns:
            The study's decision, with its reason and, if there is a model, its prediction.

        Raises:
            RuntimeError: If no pass has begun, or this one reported already.
            ValueError: If the study counts something else than epochs or time, and `at` is missing or no such place.
        """
        if self._position is None:
            raise RuntimeError("no epoch has begun: call report(value) in the loop, `for epoch in epochs: ...`")
        if self._n_done > self._position:
            epoch = self._epochs[self._position]
            raise RuntimeError(f"epoch {epoch!r} was reported already: call report(value) once in every pass of the loop")
        is_last = self._position == len(self._epochs) - 1
        at = self._reporter.place({}, hint=": call report(value, at=...)") if at is None else at
        decision = self._reporter.report(value, self._processes, epoch=self._position + 1, at=at, is_last=is_last)
        self._n_done = self._position + 1
        return decision

    @property
    def trial(self) -> str:
        """Name of the trial; where none was given, the new one from the first pass on."""
        return self._reporter.trial

    @property
    def decision(self) -> Decision | None:
        """The last decision, with its prediction and reason; None before the first one."""
        return self._reporter.decision
