"""The trials of a study: what was observed of each, and which of them reached which epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from curvestop.srm.curve import Configuration, Decision, LearningCurve
from curvestop.srm.neighbors import Neighbors
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.report import Question, Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import EndState, Trial, TrialState, UnknownTrial
from curvestop.srm.validation import check_end_state, validated


@dataclass(frozen=True)
class Recorded:
    """What a report added, for an owner that keeps a log.

    Attributes:
        new: `(epoch, value)` pairs that were stored now.
        conflicts: `(epoch, stored value)` where another value had been stored first, which stays.
        diverged_at: Epoch of the value that was not finite; None if all were.
    """

    new: tuple[tuple[int, float], ...]
    conflicts: tuple[tuple[int, float], ...]
    diverged_at: int | None


@dataclass
class TrialRecord:
    """The growing state of one trial.

    Attributes:
        configuration: Hyper-parameters and architecture numbers.
        observed: Values by epoch, in any order, gaps included.
        prefix: Values of epochs 1, 2, ... up to the first gap.
        state: "running" until the trial ends.
        ended_because: Reason of later answers once it ended.
        last: The latest question with its answer; a repeated question gets the same one.
        stops: Stops by target epoch; they are final until the trial is resumed.
        decided_at: Epochs seen at the policy's last decision; 0 before the first.
        resume_keys: Keys of the calls that resumed it.
    """

    configuration: Configuration
    observed: dict[int, float] = field(default_factory=dict)
    prefix: list[float] = field(default_factory=list)
    state: TrialState = "running"
    ended_because: str = ""
    last: tuple[Question, Decision] | None = None
    stops: dict[int, Decision] = field(default_factory=dict)
    decided_at: int = 0
    resume_keys: tuple[str, ...] = ()


class TrialBook:
    """All trials of a study.

    Args:
        settings: Settings of the study.

    Attributes:
        history: Curves and ranks of the trials, for the policy.
        neighbors: Configurations of the trials, for the policy.
    """

    def __init__(self, settings: StudySettings) -> None:
        self.history = RankHistory(settings.direction, ranked_at=settings.ranked_at)
        self.neighbors = Neighbors(settings.log_scaled)
        self._settings = settings
        self._records: dict[str, TrialRecord] = {}
        self._reached: defaultdict[int, list[str]] = defaultdict(list)  # epoch -> trials, in the order they got there
        self._complete_lengths: dict[str, int] = {}

    def record(self, report: Report) -> Recorded:
        """Store the values of a report. Everything is checked before anything changes.

        Args:
            report: Values of one trial; the configuration is needed with the first report only.

        Returns:
            What was new, what conflicted, and whether the trial diverged.

        Raises:
            ValueError: If a name, epoch, value or configuration breaks its rule.
        """
        record = self._records.get(report.trial)
        settings = self._settings
        # All checks come first, so that a refused report leaves no trace.
        report = validated(
            report,
            max_epochs=settings.max_epochs,
            log_scaled=settings.log_scaled,
            known=None if record is None else record.configuration,
        )
        if record is None:
            record = self._records[report.trial] = TrialRecord(report.configuration or {})
            self.neighbors.add(report.trial, record.configuration)
        new, conflicts, diverged_at = [], [], None
        for epoch, value in enumerate(report.values, start=report.first_epoch):
            # What comes after it is the output of a broken model, and is not stored.
            if not math.isfinite(value):
                diverged_at = epoch
                _diverge(record, epoch)
                break
            # The first value of an epoch stays: decisions were made by it.
            if epoch not in record.observed:
                record.observed[epoch] = value
                new.append((epoch, value))
            elif record.observed[epoch] != value:
                conflicts.append((epoch, record.observed[epoch]))
        self._extend_prefix(report.trial, record)
        return Recorded(tuple(new), tuple(conflicts), diverged_at)

    def restore_value(self, trial: str, epoch: int, value: float) -> None:
        """Add a value from a log. The trial is known and nothing is checked again.

        Args:
            trial: Name of a trial whose first report was restored.
            epoch: In 1..max_epochs, in any order.
            value: Finite value of the metric.
        """
        record = self._records[trial]
        record.observed[epoch] = value
        self._extend_prefix(trial, record)

    def finish(self, trial: str, state: EndState) -> TrialState:
        """End a trial and return the state that it now has: the first one given stays.

        Args:
            trial: Name of a trial that was reported.
            state: "finished" makes the last value before the first gap a final one; "stopped" and "failed" do not.

        Raises:
            ValueError: If `state` is not "finished", "stopped" or "failed".
            UnknownTrial: If the trial was never reported.
        """
        check_end_state(state)
        record = self[trial]
        # The first end stays; a second call only returns it.
        if record.state == "running":
            record.state, record.ended_because = state, f"the trial was ended as {state}"
            # Complete at its own length. The last value of a stopped or failed trial is never taken for a final one.
            if state == "finished" and record.prefix:
                self._complete(trial, record)
        return record.state

    def is_stopped(self, trial: str) -> bool:
        """Return whether the policy stopped the trial, or it was ended as stopped."""
        record = self[trial]
        # A stop by the policy leaves the trial running until its owner ends it.
        return record.state == "stopped" or (record.state == "running" and self._settings.max_epochs in record.stops)

    def stopped(self) -> list[str]:
        """Return the names of the stopped trials, in the order of their first report; see `is_stopped`."""
        return [trial for trial in self._records if self.is_stopped(trial)]

    def resume(self, trial: str, key: str | None = None) -> bool:
        """Let a stopped trial continue.

        Args:
            trial: Name of the trial.
            key: Of the call, if it may be sent twice: the second time nothing happens, whatever the trial's state.

        Returns:
            Whether the trial was resumed by this call; False if a call with this key had done it.

        Raises:
            UnknownTrial: If the trial was never reported.
            ValueError: If it was not stopped.
        """
        record = self[trial]
        if key in record.resume_keys:
            return False
        if not self.is_stopped(trial):
            raise ValueError(f"only a stopped trial can be resumed, but trial {trial!r} is {record.state}")
        self.restore_resume(trial, key)
        return True

    def restore_resume(self, trial: str, key: str | None) -> None:
        """Let a trial continue, as a log says that it did; nothing is checked again.

        Args:
            trial: Name of a trial that was restored.
            key: Of the call that resumed it; None if it had none.
        """
        record = self._records[trial]
        # `last` too, or a repeated question would get the stop again.
        record.state, record.ended_because, record.last = "running", "", None
        record.stops.clear()
        if key is not None:
            record.resume_keys += (key,)

    def __getitem__(self, trial: str) -> TrialRecord:
        try:
            return self._records[trial]
        except KeyError:
            raise UnknownTrial(f"study {self._settings.name!r} has no trial {trial!r}") from None

    def get(self, trial: str) -> TrialRecord | None:
        """Return the record of a trial; None if it was never reported."""
        return self._records.get(trial)

    def state_of(self, trial: str) -> TrialState | None:
        """Return the state of a trial; None if it was never reported."""
        record = self._records.get(trial)
        return None if record is None else record.state

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report."""
        return tuple(Trial(name, r.configuration, tuple(r.prefix), r.state) for name, r in self._records.items())

    def curve(self, trial: str, length: int) -> LearningCurve:
        """Return the first `length` values of a trial as a learning curve.

        Args:
            trial: Name of a trial that was reported.
            length: Number of epochs, >= 1; longer than the trial, all that it has.
        """
        record = self._records[trial]
        return LearningCurve(trial, record.configuration, tuple(record.prefix[:length]))

    def n_reached(self, epoch: int) -> int:
        """Return how many trials reached this epoch (the last one: are complete).

        Args:
            epoch: In 1..max_epochs; a trial counts once all epochs up to it are known.
        """
        return len(self._reached[epoch])

    def reached(self, epoch: int, n: int) -> tuple[LearningCurve, ...]:
        """Return the first n curves that reached this epoch, cut there, in the order in which they got there.

        Args:
            epoch: In 1..max_epochs; max_epochs gives the complete trials.
            n: At most `n_reached(epoch)`.
        """
        lengths = self._complete_lengths  # a trial that finished early is complete at its own length
        return tuple(self.curve(trial, min(epoch, lengths.get(trial, epoch))) for trial in self._reached[epoch][:n])

    def values_at(self, epoch: int) -> Iterator[float]:
        """Yield the values of all trials that reached this epoch, there."""
        return (self._records[trial].prefix[epoch - 1] for trial in self._reached[epoch])

    def _extend_prefix(self, trial: str, record: TrialRecord) -> None:
        epoch, last = len(record.prefix) + 1, self._settings.max_epochs
        # A value that fills a gap brings in those that waited behind it.
        while (value := record.observed.get(epoch)) is not None:
            record.prefix.append(value)
            self.history.observe(trial, value)
            if epoch == last:
                self._complete(trial, record)
            else:
                self._reached[epoch].append(trial)
            epoch += 1

    def _complete(self, trial: str, record: TrialRecord) -> None:
        # Once: a trial that was ended as finished may still report up to max_epochs.
        if trial not in self._complete_lengths:
            self._complete_lengths[trial] = len(record.prefix)
            self._reached[self._settings.max_epochs].append(trial)
            self.history.complete(trial)


def _diverge(record: TrialRecord, epoch: int) -> None:
    if record.state == "running":
        record.state = "failed"
        record.ended_because = f"the metric of epoch {epoch} is not a finite number: the trial diverged"
