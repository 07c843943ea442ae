"""The trials of a study: what was observed of each, and which of them reached which epoch.

Curves are kept at the points of the study's `Grid`: memory grows with the trials and their reports, not with max_epochs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from curvestop.srm.configuration import n_bytes_of
from curvestop.srm.curve import Configuration, Decision, LearningCurve
from curvestop.srm.grid import Grid
from curvestop.srm.neighbors import Neighbors
from curvestop.srm.policies.rank_history import RankHistory
from curvestop.srm.report import Question, Report
from curvestop.srm.reported import Reported
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import EndState, Trial, TrialState, UnknownTrial
from curvestop.srm.validation import check_end_state, validated

LOST = Decision.carry_on("the study lacks values of this trial that it had; nothing is decided before they are sent again")
"""The answer to a report of a trial whose earlier values were lost with a store."""


@dataclass(frozen=True)
class Recorded:
    """What a report added, for an owner that keeps a log.

    Attributes:
        new: `(epoch, value)` pairs that were stored now.
        conflicts: `(epoch, stored value)` where another value had been stored first, which stays.
        diverged_at: Epoch of the value that was not finite; None if all were.
        lacks_values: Whether fewer epochs of the trial were known before than the reporter said.
    """

    new: tuple[tuple[int, float], ...]
    conflicts: tuple[tuple[int, float], ...]
    diverged_at: int | None
    lacks_values: bool = False


@dataclass
class TrialRecord:
    """The growing state of one trial.

    Attributes:
        configuration: Hyper-parameters and architecture numbers.
        observed: The values that were reported.
        prefix: The curve through them at the points of the study's grid; of a short training, after epochs 1, 2, ...
        state: "running" until the trial ends.
        ended_because: Reason of later answers once it ended.
        last: The latest question with its answer; a repeated question gets the same one.
        stops: Stops by target epoch; they are final until the trial is resumed.
        decided_at: Points seen at the policy's last decision; 0 before the first.
        resume_keys: Keys of the calls that resumed it.
    """

    configuration: Configuration
    observed: Reported = field(default_factory=Reported)
    prefix: list[float] = field(default_factory=list)
    state: TrialState = "running"
    ended_because: str = ""
    last: tuple[Question, Decision] | None = None
    stops: dict[int, Decision] = field(default_factory=dict)
    decided_at: int = 0
    resume_keys: tuple[str, ...] = ()

    @property
    def last_stop(self) -> Decision | None:
        """The latest decision to stop since the trial was resumed last; None if there is none."""
        return next(reversed(self.stops.values()), None)

    def trial(self, name: str) -> Trial:
        """Return the trial as it stands.

        Args:
            name: Its name.
        """
        observed, decision, saved = self.observed, None if self.last is None else self.last[1], 0
        if self.stops:
            target, decision = next(reversed(self.stops.items()))
            saved = max(0, target - observed.last_epoch)  # its owner may have trained on
        return Trial(name, self.configuration, observed.in_order, self.state, observed.gapped_epochs, decision, saved)


class TrialBook:
    """All trials of a study.

    Args:
        settings: Settings of the study.

    Attributes:
        grid: Points at which the curves are kept.
        neighbors: Configurations of the trials, for the policy.
        furthest_epoch: The latest epoch that any trial reported; 0 before the first report.
        n_configuration_bytes: Bytes of all configurations together.
    """

    def __init__(self, settings: StudySettings) -> None:
        self.grid = Grid(settings.max_epochs)
        self.neighbors = Neighbors(settings.log_scaled)
        self.furthest_epoch = 0
        self.n_configuration_bytes = 0
        self._settings = settings
        self._history = RankHistory(settings.direction, ranked_at=settings.ranked_at)
        self._is_history_stale = False
        self._records: dict[str, TrialRecord] = {}
        self._n_by_state: Counter[TrialState] = Counter()
        self._reached: defaultdict[int, list[str]] = defaultdict(list)  # point's epoch -> trials, in the order they got there
        self._reached_between: dict[int, list[str]] = {}  # the same of epochs between two points that were asked about
        self._complete_lengths: dict[str, int] = {}  # in points, in the order of completion

    @property
    def history(self) -> RankHistory:
        """Curves and ranks of the trials at the points of the grid, for the policy."""
        if self._is_history_stale:
            self._history, self._is_history_stale = self._new_history(), False
        return self._history

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
            record = self._add(report.trial, report.configuration or {})
        new, conflicts, diverged_at = [], [], None
        lacks_values = len(record.observed.epochs) < report.n_known
        for epoch, value in enumerate(report.values, start=report.first_epoch):
            # What comes after it is the output of a broken model, and is not stored.
            if not math.isfinite(value):
                diverged_at = epoch
                if record.state == "running":
                    because = f"the metric of {settings.axis.at(epoch)} is not a finite number: the trial diverged"
                    self._set_state(record, "failed", because)
                break
            # The first value of an epoch stays: decisions were made by it.
            known = record.observed.values.get(epoch)
            if known is None:
                self._observe(report.trial, record, epoch, value)
                new.append((epoch, value))
            elif known != value:
                conflicts.append((epoch, known))
        return Recorded(tuple(new), tuple(conflicts), diverged_at, lacks_values)

    def restore_trial(self, trial: str, configuration: Configuration) -> None:
        """Add a trial from a log. Nothing is checked again: rules may have changed since.

        Args:
            trial: Name of a trial that is not known yet.
            configuration: As it was stored: flat, with plain values.
        """
        self._add(trial, configuration)

    def restore_value(self, trial: str, epoch: int, value: float) -> None:
        """Add a value from a log. The trial is known and nothing is checked again.

        Args:
            trial: Name of a trial whose first report was restored.
            epoch: In 1..max_epochs, in any order.
            value: Finite value of the metric.
        """
        self._observe(trial, self._records[trial], epoch, value)

    def finish(self, trial: str, state: EndState) -> TrialState:
        """End a trial and return the state that it now has: the first one given stays.

        Args:
            trial: Name of a trial that was reported.
            state: "finished" makes the last value a final one; "stopped" and "failed" do not.

        Raises:
            ValueError: If `state` is not "finished", "stopped" or "failed".
            UnknownTrial: If the trial was never reported.
        """
        check_end_state(state)
        record = self[trial]
        # The first end stays; a second call only returns it.
        if record.state == "running":
            self._set_state(record, state, f"the trial was ended as {state}")
            # Complete at its own length. The last value of a stopped or failed trial is never taken for a final one.
            if state == "finished" and record.observed.epochs:
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
        self._set_state(record, "running", "")
        record.last = None
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

    def ended_as(self, trial: str) -> EndState | None:
        """Return the state in which a trial ended; None if it runs or was never reported."""
        state = self.state_of(trial)
        return None if state == "running" else state

    def state_of(self, trial: str) -> TrialState | None:
        """Return the state of a trial; None if it was never reported."""
        record = self._records.get(trial)
        return None if record is None else record.state

    def trials(self, first: int = 0, n: int | None = None) -> tuple[Trial, ...]:
        """Return trials in the order of their first report.

        Args:
            first: How many to skip.
            n: Most trials to return; None for all that follow.
        """
        records = islice(self._records.items(), first, None if n is None else first + n)
        return tuple(record.trial(name) for name, record in records)

    def names(self, first: int, n: int) -> list[str]:
        """Return the names of up to n trials in the order of their first report, after the first ones.

        Args:
            first: How many to skip.
            n: Most names to return.
        """
        return list(islice(self._records, first, first + n))

    def __len__(self) -> int:
        return len(self._records)

    def n_by_state(self) -> dict[TrialState, int]:
        """Return how many trials are in each state; states without trials are left out."""
        return {state: n for state, n in self._n_by_state.items() if n}

    def curve(self, trial: str, n_points: int, target_epoch: int) -> LearningCurve:
        """Return the beginning of a trial's curve at the points of a target epoch's grid.

        Args:
            trial: Name of a trial that was reported.
            n_points: Number of points, >= 1, that the trial reached; where the grid is the study's own, as many as it has.
            target_epoch: In 1..max_epochs.
        """
        record = self._records[trial]
        # Where each epoch is a point, the grids of all target epochs begin alike.
        if target_epoch == self.grid.last or self.grid.is_every_epoch:
            return LearningCurve(trial, record.configuration, tuple(record.prefix[:n_points]))
        grid = Grid(target_epoch)
        values = (record.observed.at(grid.epoch(point)) for point in range(1, n_points + 1))
        return LearningCurve(trial, record.configuration, tuple(values))

    def n_reached(self, epoch: int) -> int:
        """Return how many trials reached this epoch (the last one: are complete).

        Args:
            epoch: In 1..max_epochs.
        """
        return len(self._trials_at(epoch))

    def reached(self, epoch: int, n: int) -> tuple[LearningCurve, ...]:
        """Return the first n curves that reached this epoch, up to it, in the order in which they got there.

        Args:
            epoch: In 1..max_epochs; max_epochs gives the complete trials.
            n: At most `n_reached(epoch)`.

        Returns:
            The curves at the points of the epoch's grid.
        """
        lengths = self._complete_lengths  # a trial that finished early is complete at its own length
        n_points = len(Grid(epoch))
        return tuple(
            self.curve(trial, min(n_points, lengths.get(trial, n_points)), epoch) for trial in self._trials_at(epoch)[:n]
        )

    def values_at(self, epoch: int) -> Iterator[float]:
        """Yield the values of all trials that reached this epoch, there; of one that finished before it, the last one."""
        for trial in self._trials_at(epoch):
            observed = self._records[trial].observed
            yield observed.at(min(epoch, observed.last_epoch))

    def all_equal(self, epoch: int) -> bool:
        """Return whether all trials that reached an epoch, two or more, have the same value there.

        Args:
            epoch: In 1..max_epochs - 1; it counts as the point of the grid at or before it, and before the first one nothing is.
        """
        point = self.grid.n_points(epoch)
        values = self.values_at(self.grid.epoch(point)) if point else iter(())
        first, second = next(values, None), next(values, None)
        # It ends at the first value that differs, which is usually the second.
        return second is not None and first == second and all(value == first for value in values)

    def _set_state(self, record: TrialRecord, state: TrialState, because: str) -> None:
        self._n_by_state[record.state] -= 1
        self._n_by_state[state] += 1
        record.state, record.ended_because = state, because

    def _trials_at(self, epoch: int) -> list[str]:
        """Return the trials that reached an epoch, in the order in which they got there."""
        if self.grid.is_point(epoch):
            return self._reached[epoch]
        if epoch not in self._reached_between:
            below = self.grid.n_points(epoch)
            earlier = self._reached[self.grid.epoch(below)] if below else self._records
            self._reached_between[epoch] = [t for t in earlier if self._records[t].observed.last_epoch >= epoch]
        return self._reached_between[epoch]

    def _add(self, trial: str, configuration: Configuration) -> TrialRecord:
        record = self._records[trial] = TrialRecord(configuration)
        self._n_by_state["running"] += 1
        self.n_configuration_bytes += n_bytes_of(configuration)
        self.neighbors.add(trial, configuration)
        return record

    def _observe(self, trial: str, record: TrialRecord, epoch: int, value: float) -> None:
        """Add a value, and the points of the curve that it makes known."""
        before = record.observed.last_epoch
        if epoch > self.furthest_epoch:
            self.furthest_epoch = epoch
        record.observed.add(epoch, value)
        if epoch < before:
            self._correct(record, epoch)
            return
        for point in range(len(record.prefix) + 1, self.grid.n_points(epoch) + 1):
            self._add_point(trial, record, record.observed.at(self.grid.epoch(point)))
            if point == len(self.grid):
                self._complete(trial, record)
            else:
                self._reached[self.grid.epoch(point)].append(trial)
        if self._reached_between:
            for asked, trials in self._reached_between.items():
                if before < asked <= epoch:
                    trials.append(trial)

    def _correct(self, record: TrialRecord, epoch: int) -> None:
        """Draw the curve through a value that came after later ones."""
        before, after = record.observed.around(epoch)
        for point in range(self.grid.n_points(before) + 1, min(self.grid.n_points(after), len(record.prefix)) + 1):
            record.prefix[point - 1] = record.observed.at(self.grid.epoch(point))
            self._is_history_stale = True

    def _add_point(self, trial: str, record: TrialRecord, value: float) -> None:
        history = self.history  # before the value is added: a stale one is made anew of all that is there
        record.prefix.append(value)
        history.observe(trial, value)

    def _complete(self, trial: str, record: TrialRecord) -> None:
        # Once: a trial that was ended as finished may still report up to max_epochs.
        if trial in self._complete_lengths:
            return
        # Between two points: the final value is that of the next one.
        if not record.prefix or self.grid.epoch(len(record.prefix)) < record.observed.last_epoch:
            self._add_point(trial, record, record.observed.at(record.observed.last_epoch))
        self._complete_lengths[trial] = len(record.prefix)
        self._reached[self._settings.max_epochs].append(trial)
        self.history.complete(trial)

    def _new_history(self) -> RankHistory:
        """Return the history of all curves as they are now."""
        history, lengths = RankHistory(self._settings.direction, ranked_at=self._settings.ranked_at), self._complete_lengths
        for trial, record in self._records.items():
            for value in record.prefix[: lengths.get(trial)]:
                history.observe(trial, value)
        for trial, length in lengths.items():
            history.complete(trial)
            for value in self._records[trial].prefix[length:]:
                history.observe(trial, value)
        return history


def with_what_was_known(decision: Decision, recorded: Recorded, ended_as: EndState | None, fit_failure: str = "") -> Decision:
    """Return a decision with what the study knew of the trial before the report, and of its models.

    Args:
        decision: The answer to the report.
        recorded: What the report added.
        ended_as: State in which the trial had ended before it; None if it was running or new.
        fit_failure: Which models could not be fitted, and why; empty if none failed.
    """
    if not (recorded.conflicts or ended_as is not None or recorded.lacks_values or fit_failure):  # as nearly always
        return decision
    return replace(
        decision,
        conflicts=recorded.conflicts,
        ended_as=ended_as,
        lacks_values=recorded.lacks_values,
        fit_failure=fit_failure,
    )
