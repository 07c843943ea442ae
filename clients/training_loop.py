"""A training loop of one's own: `Epochs` goes through the epochs, asks a study after each, and ends where it says to stop.

epochs = Epochs(study, "trial-7", range(50), configuration={"learning_rate": 0.1})
for epoch in epochs:
    epochs.report(train_one_epoch(epoch))
print(epochs.decision.reason)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from curvestop.clients.trial_reporter import TorchRanks, TrialReporter
from curvestop.srm.curve import Decision
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import StudyLike

Epoch = TypeVar("Epoch")


class Epochs(Generic[Epoch]):
    """Iterates over the epochs of one trial until they are over or the study says to stop, and then ends the trial.

    study: HOST:PORT of a server, with the settings of a study there; or a study, as of `connect`.
    trial: unique in the study; under the same name a training goes on where it was. configuration: of the trial, by name.
    epochs: all of them, numbered as you like; the study counts them from 1. done: how many were trained before, as your
    checkpoint says; the loop goes on after them. What is reported again changes nothing.

    In every pass, call `report`. A loop that is left by an error or by `break` leaves the trial running, to be resumed; to end
    it, `study.finish`. A server that is away stops nothing. Where `torch.distributed` has a group, every process runs the loop:
    the first one's value counts, it alone asks, and all end after the same epoch.
    Raises ValueError for what makes no sense, such as more epochs than the study has.
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str,
        epochs: Sequence[Epoch],
        *,
        done: int = 0,
        configuration: Mapping[str, Any] | None = None,
        settings: StudySettings | None = None,
    ) -> None:
        self._watch = TrialReporter(study, trial, configuration=configuration, settings=settings)
        if len(epochs) > self._watch.settings.max_epochs:
            raise ValueError(f"epochs must be at most the study's {self._watch.settings.max_epochs}, but got {len(epochs)}")
        if not 0 <= done <= len(epochs):
            raise ValueError(f"done must be in 0..{len(epochs)}, but got {done!r}")
        self._epochs, self._watch.epoch = epochs, done
        self._ranks = TorchRanks()

    def __iter__(self) -> Iterator[Epoch]:
        self._watch.begin(self._ranks)
        for position in range(self._watch.epoch, len(self._epochs)):
            if self._watch.is_stopped:
                break
            self._position, epoch = position, self._epochs[position]
            yield epoch
            if self._watch.epoch <= position:
                raise RuntimeError(f"epoch {epoch!r} was not reported: call report(value) in every pass")
        self._watch.end(self._ranks)

    def report(self, value: float) -> Decision:
        """The metric after the epoch in hand. The loop ends by itself where the decision is to stop."""
        return self._watch.report(value, self._ranks, epoch=self._position + 1)

    @property
    def decision(self) -> Decision | None:
        """The last one, with its prediction and reason; None before."""
        return self._watch.decision
