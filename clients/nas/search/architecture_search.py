"""A search as a state machine: what to train next, whether to train on, and what was found.

A searcher proposes architectures and learns their rewards; a study says after each epoch whether to train on. When it stops one,
the reward is the final value that it predicts (thesis, section 4.2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.plural import plural
from curvestop.srm.study import StudyLike

RecordState = Literal["running", "finished", "stopped", "failed"]


class ProposalLike(Protocol):
    @property
    def chosen(self) -> tuple[Any, ...]: ...

    @property
    def label(self) -> float: ...


class Searcher(Protocol):
    """Q-learning, a controller, random draws. Told the same calls again it does the same."""

    @property
    def label_name(self) -> str:
        """What the label of its proposals is."""
        ...

    @property
    def finished(self) -> bool: ...

    def propose(self) -> ProposalLike | None:
        """What to train next; None when there is nothing at the moment."""
        ...

    def learn(self, chosen: Any, reward: float | None) -> None:
        """reward: None when the training failed."""
        ...


@dataclass(frozen=True)
class Described:
    """An architecture for others. text: for people and the trainer. features: what a study is told."""

    text: str
    features: Configuration


@dataclass(frozen=True)
class Training:
    """Train this architecture to the end of target_epoch; epochs before first_epoch are in its checkpoint."""

    trial: str
    configuration: Configuration
    first_epoch: int
    target_epoch: int


@dataclass(eq=False)
class Record:
    """One architecture and what became of it.

    values: validation accuracy after epochs 1..tau. label: as of its proposal. reward: what the searcher learnt, None until it
    did; predicted: whether that is a prediction. reason: why it was stopped or failed.
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


class ArchitectureSearch:
    """`ask` for trainings, `report` each epoch's accuracy, `tell` when a training is over.

    describe: of what a searcher chose. epochs: of every training. study: None trains all to the end; its max_epochs must be
    the epochs. The same calls and the same decisions of the study give the same search.
    settings: more for the trainer's configuration, which has "architecture" and the features besides.
    redefined: the reward of a record whose accuracy, observed or predicted, is the second argument; None is that accuracy.
    """

    def __init__(
        self,
        searcher: Searcher,
        describe: Callable[[tuple[Any, ...]], Described],
        *,
        epochs: int,
        study: StudyLike | None = None,
        settings: Configuration | None = None,
        redefined: Callable[[Record, float], float] | None = None,
    ) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be >= 1, but got {epochs}")
        if study is not None and study.settings.max_epochs != epochs:
            raise ValueError(f"the study must have max_epochs = {epochs}, but has {study.settings.max_epochs}")
        self.searcher, self.epochs = searcher, epochs
        self._describe, self._study, self._settings = describe, study, dict(settings or {})
        self._redefined = redefined
        self.records: list[Record] = []
        self._by_trial: dict[str, Record] = {}

    @property
    def finished(self) -> bool:
        return self.searcher.finished

    @property
    def epochs_trained(self) -> int:
        return sum(len(record.values) for record in self.records)

    def ask(self) -> Training | None:
        """The next training; None when what is under way has to end first, or nothing is left."""
        proposal = self.searcher.propose()
        if proposal is None:
            return None
        described = self._describe(proposal.chosen)
        record = Record(f"m{len(self.records):05d}", proposal.chosen, described.text, described.features, proposal.label)
        self.records.append(record)
        self._by_trial[record.trial] = record
        return self._training(record)

    def report(self, trial: str, value: float) -> Decision:
        """The accuracy after the trial's next epoch; the decision says to stop after the last epoch too."""
        record = self._running(trial)
        record.values.append(float(value))
        decision = Decision.carry_on("there is no study")
        if self._study is not None:
            n = len(record.values)
            decision = self._study.report(trial, [value], first_epoch=n, configuration=record.features, ask=n < self.epochs)
        if len(record.values) >= self.epochs:
            decision = Decision(stop=True, reason=f"epoch {self.epochs} is reached")
        if decision.stop:
            record.decision = decision
        return decision

    def tell(self, trial: str, *, failure: str | None = None) -> None:
        """A training is over: the searcher learns its reward."""
        record = self._running(trial)
        if len(record.values) >= self.epochs:
            record.state, record.reward = "finished", record.values[-1]
        elif record.decision is not None and record.values:
            record.state, record.reason = "stopped", record.decision.reason
            record.reward, record.predicted = _predicted_reward(record.decision, record.values)
        else:
            early = f"it ended after {len(record.values)} of {plural(self.epochs, 'epoch')}"
            record.state, record.reason = "failed", failure or early
        if self._redefined is not None and record.reward is not None:
            record.reward = self._redefined(record, record.reward)
        if self._study is not None and record.values:
            self._study.finish(trial, record.state)
        self.searcher.learn(record.chosen, record.reward)

    # What a resumed run needs.

    def jobs_to_end(self) -> list[str]:
        """Trials that were decided on, and not told of yet."""
        return [record.trial for record in self.records if record.state == "running" and record.decision is not None]

    def jobs_to_go_on(self) -> Iterator[Training]:
        """Trials that were training."""
        return (self._training(record) for record in self.records if record.state == "running" and record.decision is None)

    def _training(self, record: Record) -> Training:
        configuration = {**self._settings, **record.features, "architecture": record.text}
        return Training(record.trial, configuration, len(record.values) + 1, self.epochs)

    def _running(self, trial: str) -> Record:
        record = self._by_trial.get(trial)
        if record is None or record.state != "running":
            raise ValueError(f"trial must be one that is running, but got {trial!r}")
        return record


def _predicted_reward(decision: Decision, values: list[float]) -> tuple[float, bool]:
    """The predicted accuracy, in [0, 1]; the last one seen where a policy stops without a prediction."""
    if decision.prediction is None:
        return values[-1], False
    return min(1.0, max(0.0, decision.prediction.mean)), True


def run_here(search: ArchitectureSearch, trainer: Callable[[Training], Iterator[float]]) -> None:
    """Train one after the other in this process. trainer: a generator of validation accuracies, as of `train`."""
    while not search.finished:
        training = search.ask()
        if training is None:
            return
        values = trainer(training)
        for value in values:
            if search.report(training.trial, value).stop:
                break
        search.tell(training.trial)
