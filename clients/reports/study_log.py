"""A study as its log tells it, trial by trial, read from a server and kept up to date: what reports and dashboards show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.entries import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.policies.rank_history import SortedScores
from curvestop.srm.study import StudySettings, TrialState

READ_S = 30.0


class Calls(Protocol):
    """A connection: sends a request to a method by name."""

    def call(self, method: str, request: Any, *, deadline_s: float) -> Any: ...


@dataclass(frozen=True)
class Judged:
    """A decision as it was made.

    epoch: values of epochs 1..epoch were known. target_epoch: whose value was predicted. value_to_beat: what was asked, or the
    study's own at that time; None when there was none.
    """

    epoch: int
    target_epoch: int
    value_to_beat: float | None
    decision: Decision


@dataclass
class TrialView:
    """values: `(tau,)`, the gap-free prefix of the curve. known_at: `(tau,)`, the number of the log's entry with each of them.

    judged: all decisions, in order. ended_at: the number of the log's entry; None while it runs.
    """

    name: str
    configuration: Configuration
    values: list[float] = field(default_factory=list)
    known_at: list[int] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    state: TrialState = "running"
    ended_at: int | None = None
    changed_at: int = 0
    beyond_gap: dict[int, float] = field(default_factory=dict)

    @property
    def stop(self) -> Judged | None:
        """The last decision to stop."""
        return next((judged for judged in reversed(self.judged) if judged.decision.stop), None)

    @property
    def noted(self) -> Judged | None:
        """The first stop that was only noted, for shadow mode or because the trial is held out."""
        return next((judged for judged in self.judged if judged.decision.would_stop), None)

    @property
    def saved(self) -> int:
        """Epochs it was spared by its last stop."""
        return 0 if self.stop is None else max(0, self.stop.target_epoch - max(len(self.values), self.stop.epoch))


class StudyView:
    """Brought forward by the entries of the study's log, in their order. trials: in the order of their first report."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.sign = 1.0 if settings.direction == "maximize" else -1.0
        self.trials: dict[str, TrialView] = {}
        self.last = 0
        self._finals = SortedScores()

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.last += 1
            if isinstance(entry, TrialAdded):
                self.trials[entry.trial] = TrialView(entry.trial, entry.configuration)
            trial = self.trials[entry.trial]
            trial.changed_at = self.last
            match entry:
                case Observed(_, epoch, value):
                    self._observe(trial, epoch, value)
                case Decided(_, asked, decision):
                    to_beat = self._own_value_to_beat() if asked.value_to_beat is None else asked.value_to_beat
                    trial.judged.append(Judged(asked.tau, asked.target_epoch, to_beat, decision))
                case Ended(_, state):
                    self._end(trial, state)

    def is_complete(self, trial: TrialView) -> bool:
        """Whether its last value is a final one."""
        return bool(trial.values) and (trial.state == "finished" or len(trial.values) >= self.settings.max_epochs)

    def complete(self) -> Iterator[TrialView]:
        return (trial for trial in self.trials.values() if self.is_complete(trial))

    def _observe(self, trial: TrialView, epoch: int, value: float) -> None:
        was_complete = self.is_complete(trial)
        trial.beyond_gap[epoch] = value
        while (following := trial.beyond_gap.pop(len(trial.values) + 1, None)) is not None:
            trial.values.append(following)
            trial.known_at.append(self.last)
        if self.is_complete(trial) and not was_complete:
            self._finals.add(self.sign * trial.values[-1])

    def _end(self, trial: TrialView, state: TrialState) -> None:
        was_complete = self.is_complete(trial)
        trial.state, trial.ended_at = state, self.last
        if self.is_complete(trial) and not was_complete:
            self._finals.add(self.sign * trial.values[-1])

    def _own_value_to_beat(self) -> float | None:
        score = self._finals.nth_best(self.settings.rule.rank)
        return None if score is None else self.sign * score


class StudyFollower:
    """A study on a server, read once and then only what is new. Not for several threads at once.

    Raises UnknownStudy, ServerTrouble.
    """

    def __init__(self, server: Calls, name: str) -> None:
        self._server, self._name = server, name
        status = codec.status_from_proto(server.call("GetStudy", pb.GetStudyRequest(study=name), deadline_s=READ_S))
        self.so_far = StudyView(status.settings)
        self.n_unread = 0

    def read(self, *, most_pages: int | None = None) -> StudyView:
        """Read what is new: all of it, or so many pages at most. `n_unread` is how many entries are left."""
        for _ in count() if most_pages is None else range(most_pages):
            request = pb.ReadLogRequest(study=self._name, after=self.so_far.last)
            page = self._server.call("ReadLog", request, deadline_s=READ_S)
            if page.last < self.so_far.last:  # the server was given another store
                self.so_far = StudyView(self.so_far.settings)
                continue
            self.so_far.add(map(codec.entry_from_proto, page.entries))
            self.n_unread = page.last - self.so_far.last
            if not page.entries or not self.n_unread:
                break
        return self.so_far
