"""An architecture search: what to train next, whether to continue a training, and what was found.

A searcher proposes architectures and learns from their rewards; a study decides after each epoch whether to continue. If it
stops a training, the reward is the final accuracy that it predicts (thesis, section 4.2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.plural import plural
from curvestop.srm.study_like import StudyLike

RecordState = Literal["running", "finished", "stopped", "failed"]


class ProposalLike(Protocol):
    """An architecture that a searcher proposes; see `Proposal`."""

    @property
    def chosen(self) -> tuple[Any, ...]:
        """The architecture, as the choices that lead to it."""
        ...

    @property
    def label(self) -> float:
        """The number by which analyses group architectures; see `Searcher.label_name`."""
        ...


class Searcher(Protocol):
    """An algorithm that searches a space: Q-learning, an LSTM controller, random draws.

    It must be deterministic: the same calls lead to the same proposals, or a killed search could not be resumed.
    """

    @property
    def label_name(self) -> str:
        """What the label of a proposal is: "epsilon" or "batch"."""
        ...

    @property
    def finished(self) -> bool:
        """Whether every architecture was proposed and every reward has arrived."""
        ...

    def propose(self) -> ProposalLike | None:
        """Return the next architecture to train; None when rewards must arrive first, or none is left."""
        ...

    def learn(self, chosen: Any, reward: float | None) -> None:
        """Learn the reward of a proposed architecture, higher is better; None when its training failed.

        Args:
            chosen: What `propose` returned as `chosen`; its reward is not known yet.
            reward: The reward, observed or predicted.
        """
        ...


@dataclass(frozen=True)
class Description:
    """An architecture as others see it.

    Attributes:
        text: Its notation, for people and for the trainer.
        features: Its features, which a study predicts from.
    """

    text: str
    features: Configuration


@dataclass(frozen=True)
class Training:
    """A training to run.

    Attributes:
        trial: Name of the trial.
        configuration: What the training script gets: the architecture, its features and the trainer's settings.
        first_epoch: First epoch to train, 1-based; earlier ones are in the trial's checkpoint.
        target_epoch: Last epoch to train.
    """

    trial: str
    configuration: Configuration
    first_epoch: int
    target_epoch: int


@dataclass(eq=False)
class Record:
    """One architecture and what became of it.

    Attributes:
        trial: Name of the trial.
        chosen: The architecture, as the searcher proposed it.
        text: Its notation.
        features: Its features.
        label: The label of its proposal; see `Searcher.label_name`.
        values: Validation accuracy after epochs 1, 2, ..., in [0, 1], higher is better.
        state: "running", "finished" (trained to the end), "stopped" (by the study) or "failed".
        reward: What the searcher learned, higher is better; None before that, and after a failure.
        predicted: Whether the reward comes from a prediction.
        reason: Why the training was stopped or failed.
        decision: The decision that ended the training; None before that.
        seconds: Time that its epochs took.
        forecast: Prediction of the final accuracy by the last decision; None without one.
    """

    trial: str
    chosen: tuple[Any, ...]
    text: str
    features: Configuration
    label: float
    values: list[float] = field(default_factory=list)
    state: RecordState = "running"
    reward: float | None = None
    predicted: bool = False
    reason: str = ""
    decision: Decision | None = field(default=None, repr=False)
    seconds: float = 0.0
    forecast: Prediction | None = field(default=None, repr=False)


class ArchitectureSearch:
    """A search as a state machine: it trains nothing itself.

    Call `ask` for a training, `report` after each of its epochs, and `training_over` when it is over. The same calls and the
    same decisions of the study give the same search.

    Args:
        searcher: Proposes architectures and learns from their rewards.
        describe: Returns the description of an architecture that the searcher chose.
        epochs: Number of epochs of each training.
        study: The study that stops trainings; its `max_epochs` must be `epochs`. Default: train everything to the end.
        trainer_configuration: More values for the trainer's configuration, which has "architecture" and the features besides.
        reward_of: Returns the reward of a record and its final accuracy, observed or predicted. Default: that accuracy.

    Raises:
        ValueError: If `epochs` is below 1, or the study has another `max_epochs`.

    Examples:
        >>> from curvestop.clients.nas.search.q_learning import EpsilonSchedule, QLearning
        >>> from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain
        >>> space = ChoiceChain((Choice("operation", ("conv", "pool")),) * 2)
        >>> searcher = QLearning(space, seed=0, schedule=EpsilonSchedule(((1.0, 4),)))
        >>> search = ArchitectureSearch(searcher, lambda chosen: Description("-".join(chosen), {}), epochs=2)
        >>> while (training := search.ask()) is not None:
        ...     for accuracy in (0.5, 0.6):  # here the network of training.configuration["architecture"] is trained
        ...         if search.report(training.trial, accuracy).stop:
        ...             break
        ...     search.training_over(training.trial)
        >>> len(search.records), search.epochs_trained
        (4, 8)
    """

    def __init__(
        self,
        searcher: Searcher,
        describe: Callable[[tuple[Any, ...]], Description],
        *,
        epochs: int,
        study: StudyLike | None = None,
        trainer_configuration: Configuration | None = None,
        reward_of: Callable[[Record, float], float] | None = None,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be >= 1, but got {epochs}")
        if study is not None and study.settings.max_epochs != epochs:
            raise ValueError(f"the study must have max_epochs = {epochs}, but has {study.settings.max_epochs}")
        self.searcher, self.epochs = searcher, epochs
        self._describe, self._study, self._trainer_configuration = describe, study, dict(trainer_configuration or {})
        self._reward_of = reward_of
        self.records: list[Record] = []
        self._by_trial: dict[str, Record] = {}

    @property
    def finished(self) -> bool:
        """Whether every architecture was proposed and every training is over."""
        return self.searcher.finished

    @property
    def epochs_trained(self) -> int:
        """Number of epochs trained so far, over all architectures."""
        return sum(len(record.values) for record in self.records)

    def ask(self) -> Training | None:
        """Return the next training; None when running ones must end first, or nothing is left."""
        proposal = self.searcher.propose()
        if proposal is None:
            return None
        description = self._describe(proposal.chosen)
        # The name is a function of the calls so far: a resumed search finds its checkpoints by it.
        record = Record(f"m{len(self.records):05d}", proposal.chosen, description.text, description.features, proposal.label)
        self.records.append(record)
        self._by_trial[record.trial] = record
        return self._training(record)

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        """Record the accuracy after a trial's next epoch and decide whether the training should continue.

        Args:
            trial: Name of a running trial.
            value: Validation accuracy in [0, 1], higher is better.
            seconds: Time that the epoch took.

        Returns:
            The study's decision; after the last epoch always to stop.

        Raises:
            ValueError: If the trial is not running.
        """
        record = self._running(trial)
        record.values.append(float(value))
        record.seconds += seconds
        decision = Decision.carry_on("there is no study")
        if self._study is not None:
            n = len(record.values)
            # After the last epoch there is nothing to decide: the value is recorded only.
            decision = self._study.report(trial, [value], first_epoch=n, configuration=record.features, ask=n < self.epochs)
            record.forecast = decision.prediction
        if len(record.values) >= self.epochs:
            decision = Decision(stop=True, reason=f"epoch {self.epochs} is reached")
        if decision.stop:  # kept until `training_over`, which needs its prediction and its reason
            record.decision = decision
        return decision

    def training_over(self, trial: str, *, failure: str | None = None) -> None:
        """Record that a training is over; the searcher learns its reward.

        Args:
            trial: Name of a running trial.
            failure: What failed. It counts only if the training was neither complete nor stopped.

        Raises:
            ValueError: If the trial is not running.
        """
        record = self._running(trial)
        # A complete training is finished whatever else happened, and a stopped one stopped even if its worker then died.
        if len(record.values) >= self.epochs:
            record.state, record.reward = "finished", record.values[-1]
        elif record.decision is not None and record.values:
            record.state, record.reason = "stopped", record.decision.reason
            record.reward, record.predicted = _predicted_reward(record.decision, record.values)
        else:
            ended_early = f"the training ended after {len(record.values)} of {plural(self.epochs, 'epoch')}"
            record.state, record.reason = "failed", failure or ended_early
        if self._reward_of is not None and record.reward is not None:
            record.reward = self._reward_of(record, record.reward)
        if self._study is not None and record.values:  # a study does not know a trial without values
            self._study.finish(trial, record.state)
        self.searcher.learn(record.chosen, record.reward)

    # What a resumed run needs.

    def trials_to_end(self) -> list[str]:
        """Return the trials whose last decision was to stop, but whose training was not recorded as over."""
        return [record.trial for record in self.records if record.state == "running" and record.decision is not None]

    def trainings_to_resume(self) -> Iterator[Training]:
        """Return what is left of the trainings that were running."""
        return (self._training(record) for record in self.records if record.state == "running" and record.decision is None)

    def _training(self, record: Record) -> Training:
        configuration = {**self._trainer_configuration, **record.features, "architecture": record.text}
        return Training(record.trial, configuration, len(record.values) + 1, self.epochs)

    def _running(self, trial: str) -> Record:
        record = self._by_trial.get(trial)
        if record is None or record.state != "running":
            raise ValueError(f"trial must be the name of a running trial, but got {trial!r}")
        return record


def _predicted_reward(decision: Decision, values: list[float]) -> tuple[float, bool]:
    """Return the reward of a stopped training, and whether it is predicted.

    It is the predicted accuracy, limited to [0, 1], or the last accuracy if the policy stopped without a prediction.
    """
    if decision.prediction is None:
        return values[-1], False
    # A model of curves may predict more than an accuracy can be.
    return min(1.0, max(0.0, decision.prediction.mean)), True
