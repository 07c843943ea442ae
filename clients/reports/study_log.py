"""A study rebuilt from its log, trial by trial: the view that reports and the dashboard are computed from.

A server keeps each study as an append-only log of entries, numbered 1, 2, ... `StudyFollower` reads it in pages, and only once;
`StudyView` holds what the entries read so far add up to.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.grid import Grid
from curvestop.srm.policies.rank_history import SortedScores
from curvestop.srm.report import BracketPosition
from curvestop.srm.reported import Reported
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import TrialState

READ_DEADLINE_S = 30.0


class ServerCalls(Protocol):
    """Anything that calls a server's methods by name, such as `curvestop.clients.remote.connection.Connection`."""

    def call(self, method: str, request: Any, *, deadline_s: float) -> Any:
        """Send the request to the method and return its response.

        Args:
            method: Name of the remote method, such as "ReadLog".
            request: Its request message.
            deadline_s: Longest duration of the call, in seconds.

        Raises:
            ServerTrouble: If no server answers, or it refuses the client.
        """
        ...


@dataclass(frozen=True)
class RecordedDecision:
    """A decision together with what was known when it was made.

    Attributes:
        epoch: The latest epoch that the trial had reported at that time; 0 if none.
        target_epoch: The epoch whose value was predicted.
        value_to_beat: The value that the trial had to beat: the one asked about, else the study's own at that time; None if
            there was none yet.
        decision: The decision itself.
    """

    epoch: int
    target_epoch: int
    value_to_beat: float | None
    decision: Decision


@dataclass
class TrialView:
    """A trial as far as the log has been read.

    Attributes:
        name: Name of the trial.
        configuration: Its configuration, by name.
        grid: The points at which the curve is read.
        reported: The values that the trial reported.
        values: The curve at the points that it reached, shape `(n,)`; of a short training, the metric after epochs 1..n.
        known_at: Number of the log entry that brought each new latest epoch, shape `(m,)`; `reached` has these epochs.
        decisions: All decisions about the trial, in order.
        state: Its state now.
        ended_at: Number of the log entry that ended it; None while it runs.
        resumed_at: The epoch that each resume of the trial, after a stop, went on with.
        n_undone: Number of decisions before the last resume: a stop among them does not count any more.
        changed_at: Number of the last log entry about it.
        reached: The latest epoch after each such entry, shape `(m,)`, ascending.
        bracket: Bracket of Hyperband that it belongs to; None outside Hyperband.
    """

    name: str
    configuration: Configuration
    grid: Grid
    reported: Reported = field(default_factory=Reported)
    values: list[float] = field(default_factory=list)
    known_at: list[int] = field(default_factory=list)
    decisions: list[RecordedDecision] = field(default_factory=list)
    state: TrialState = "running"
    ended_at: int | None = None
    resumed_at: list[int] = field(default_factory=list)
    n_undone: int = 0
    changed_at: int = 0
    reached: list[int] = field(default_factory=list)
    bracket: BracketPosition | None = None

    @property
    def last_epoch(self) -> int:
        """The latest epoch that the trial reported; 0 before its first report."""
        return self.reported.last_epoch

    @property
    def final(self) -> float:
        """The value of the latest epoch; of a complete trial, its final one."""
        return self.reported.values[self.last_epoch]

    def entry_at(self, epoch: int) -> int:
        """Return the number of the log entry with which the trial reached an epoch in 1..last_epoch."""
        return self.known_at[bisect_left(self.reached, epoch)]

    def observe(self, epoch: int, value: float, entry: int) -> None:
        """Add a reported value.

        Args:
            epoch: The epoch, in any order.
            value: The metric after it.
            entry: Number of the log entry.
        """
        before = self.last_epoch
        self.reported.add(epoch, value)
        if epoch > before:
            self.reached.append(epoch)
            self.known_at.append(entry)
            changed = range(len(self.values) + 1, self.grid.n_points(epoch) + 1)
        else:  # it came late: the lines to its neighbors are drawn anew
            start, end = self.reported.around(epoch)
            changed = range(self.grid.n_points(start) + 1, self.grid.n_points(end) + 1)
        self.values[changed.start - 1 : changed.stop - 1] = [self.reported.at(self.grid.epoch(point)) for point in changed]

    @property
    def stop(self) -> RecordedDecision | None:
        """The last decision to stop; None if there was none, or the trial was resumed after it."""
        return next((recorded for recorded in reversed(self.decisions[self.n_undone :]) if recorded.decision.stop), None)

    @property
    def undone_stop(self) -> RecordedDecision | None:
        """The last decision to stop before the trial was resumed; None if there was none."""
        return next((recorded for recorded in reversed(self.decisions[: self.n_undone]) if recorded.decision.stop), None)

    @property
    def shadow_stop(self) -> RecordedDecision | None:
        """The first decision that would have stopped the trial, in shadow mode or held out; None if there was none."""
        return next((recorded for recorded in self.decisions if recorded.decision.would_stop), None)

    @property
    def epochs_saved(self) -> int:
        """The number of epochs between the trial's last stop and the epoch which that stop was about."""
        return 0 if self.stop is None else max(0, self.stop.target_epoch - max(self.last_epoch, self.stop.epoch))


class StudyView:
    """A study as far as its log has been read; `add` takes the next entries.

    Args:
        settings: The study's settings.

    Attributes:
        settings: The study's settings.
        sign: 1.0 if a higher metric is better, else -1.0; the metric times this is a score, higher is better.
        trials: All trials by name, in the order of their first report.
        n_entries: Number of log entries added, which is the number of the last one.

    Examples:
        >>> view = StudyView(StudySettings("demo", max_epochs=2))
        >>> view.add([TrialAdded("a", {}), Observed("a", 1, 0.5), Observed("a", 2, 0.7), TrialAdded("b", {})])
        >>> [(trial.name, trial.values) for trial in view.complete()]
        [('a', [0.5, 0.7])]
        >>> view.n_entries
        4
    """

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.sign = 1.0 if settings.direction == "maximize" else -1.0
        self.trials: dict[str, TrialView] = {}
        self.n_entries = 0
        self._grid = Grid(settings.max_epochs)
        self._final_scores = SortedScores()  # of the complete trials, for the value to beat at each decision

    def add(self, entries: Iterable[Entry]) -> None:
        """Take the next entries of the log.

        Args:
            entries: Entries n_entries + 1, n_entries + 2, ... of the log.
        """
        for entry in entries:
            self.n_entries += 1
            if isinstance(entry, TrialAdded):
                self.trials[entry.trial] = TrialView(entry.trial, entry.configuration, self._grid, bracket=entry.bracket)
            trial = self.trials[entry.trial]
            trial.changed_at = self.n_entries
            match entry:
                case Observed(_, epoch, value):
                    self._observe(trial, epoch, value)
                case Decided(_, asked, decision):
                    # The log stores the question; what it left to the study is filled in as of this entry.
                    to_beat = self._own_value_to_beat() if asked.value_to_beat is None else asked.value_to_beat
                    trial.decisions.append(RecordedDecision(asked.tau, asked.target_epoch, to_beat, _sound(decision)))
                case Ended(_, state):
                    self._end(trial, state)
                case Resumed():
                    trial.state, trial.ended_at = "running", None
                    trial.resumed_at.append(trial.last_epoch + 1)
                    trial.n_undone = len(trial.decisions)

    def is_complete(self, trial: TrialView) -> bool:
        """Return whether the trial's last value is its final one: it finished, or reached `max_epochs`.

        Args:
            trial: One of the study's trials.
        """
        # A trial that diverged or was stopped before `max_epochs` has no final value.
        return trial.last_epoch > 0 and (trial.state == "finished" or trial.last_epoch >= self.settings.max_epochs)

    def complete(self) -> Iterator[TrialView]:
        """Yield the complete trials, in the order of their first report."""
        return (trial for trial in self.trials.values() if self.is_complete(trial))

    def _observe(self, trial: TrialView, epoch: int, value: float) -> None:
        was_complete = self.is_complete(trial)
        trial.observe(epoch, value, self.n_entries)
        if self.is_complete(trial) and not was_complete:
            self._final_scores.add(self.sign * trial.final)

    def _end(self, trial: TrialView, state: TrialState) -> None:
        # A finished trial is complete at any length; one that reached `max_epochs` was counted in `_observe`.
        was_complete = self.is_complete(trial)
        trial.state, trial.ended_at = state, self.n_entries
        if self.is_complete(trial) and not was_complete:
            self._final_scores.add(self.sign * trial.final)

    def _own_value_to_beat(self) -> float | None:
        score = self._final_scores.nth_best(self.settings.rule.rank)
        return None if score is None else self.sign * score


def _sound(decision: Decision) -> Decision:
    """Return a decision without a prediction that is none; imports were not always checked."""
    prediction = decision.prediction
    if prediction is None or (math.isfinite(prediction.mean) and 0 <= prediction.sigma < math.inf):
        return decision
    return replace(decision, prediction=None)


class StudyFollower:
    """A reader of a study on a server: it reads the whole log once, later only what is new. Not for several threads at once.

    Args:
        server: Calls the server's methods.
        name: Name of the study.

    Attributes:
        view: The study as far as it has been read.
        n_unread: Number of log entries that the last `read` left.

    Raises:
        UnknownStudy: If the server has no study of that name.
        ServerTrouble: If the server does not answer.

    Examples:
        >>> class OneTrial:  # stands for a server, see `curvestop.clients.remote.connection.Connection`
        ...     def call(self, method, request, *, deadline_s):
        ...         if method == "GetStudy":
        ...             settings = StudySettings("demo", max_epochs=2)
        ...             return pb.GetStudyResponse(settings=codec.settings_to_proto(settings))
        ...         log = [TrialAdded("a", {}), Observed("a", 1, 0.5)]
        ...         return pb.ReadLogResponse(entries=map(codec.entry_to_proto, log[request.after :]), last=len(log))
        >>> view = StudyFollower(OneTrial(), "demo").read()
        >>> view.trials["a"].values
        [0.5]
    """

    def __init__(self, server: ServerCalls, name: str) -> None:
        self._server, self._name = server, name
        status = codec.status_from_proto(server.call("GetStudy", pb.GetStudyRequest(study=name), deadline_s=READ_DEADLINE_S))
        self.view = StudyView(status.settings)
        self.n_unread = 0

    def read(self, *, most_pages: int | None = None) -> StudyView:
        """Read what is new.

        Args:
            most_pages: Largest number of pages to read; `n_unread` says what is left. Default: read everything.

        Returns:
            The view, brought up to date: the same object as before unless the server's store was replaced.

        Raises:
            UnknownStudy: If the study is gone.
            ServerTrouble: If the server does not answer.
        """
        # Every page makes progress, so the endless loop ends when the log is read.
        for _ in count() if most_pages is None else range(most_pages):
            # The server returns as many entries as fit in one message.
            request = pb.ReadLogRequest(study=self._name, after=self.view.n_entries)
            page = self._server.call("ReadLog", request, deadline_s=READ_DEADLINE_S)
            if page.last < self.view.n_entries:  # the log became shorter: the server was given another store
                self.view = StudyView(self.view.settings)
                continue
            self.view.add(map(codec.entry_from_proto, page.entries))
            self.n_unread = page.last - self.view.n_entries  # entries that came while the page was read count, too
            if not page.entries or not self.n_unread:
                break
        return self.view
