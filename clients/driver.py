"""`TrialDriver`: the study of a whole search that one driver process runs, such as Ray Tune's; it can be saved and restored.

Trials may report at steps of their own. The study itself is never saved: it is a function of the events it was sent, or a server
keeps it. So the driver keeps those events and sends them again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvestop.clients.remote.remote_study import connect
from curvestop.srm.configuration import flattened
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.report import Report, reports_of
from curvestop.srm.reported import Reported
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.study_like import ResumableStudy
from curvestop.srm.trial import EndState, UnknownTrial
from curvestop.srm.validation import LARGEST_VALUE, is_finite, is_name

Event = Mapping[str, Any]
"""One line of the log: a report or an end.

A report is {"trial", "first_epoch", "values"}, with "configuration" if it is the trial's first, and with "decision" if one was
asked for. An end is {"trial", "end"}.
"""


@dataclass(frozen=True)
class Steps:
    """Map the steps that trials count in (epochs, iterations, seconds) to the study's epochs.

    Attributes:
        max_epochs: Number of epochs of a complete trial.
        size: Number of steps in one epoch, finite and > 0.

    Raises:
        ValueError: If `size` is not finite and > 0.

    Examples:
        >>> steps = Steps(max_epochs=10, size=100)
        >>> [steps.epoch(count) for count in (1, 149, 150, 5000)]
        [1, 1, 2, 10]
    """

    max_epochs: int
    size: float = 1.0

    def __post_init__(self) -> None:
        if not (self.size > 0 and is_finite(self.size)):
            raise ValueError(f"the number of steps in an epoch must be finite and > 0, but got {self.size!r}")

    def epoch(self, count: float) -> int:
        """Return the epoch nearest to a step count, within 1..max_epochs.

        Args:
            count: Number of steps trained so far, in the unit of `size`.
        """
        return min(max(math.floor(count / self.size + 0.5), 1), self.max_epochs)


class TrialDriver:
    """Report the trials of a search to one study, and save and restore all of it. Not for several threads.

    A pickled driver is a log of its events. When it is unpickled, a study in this process is rebuilt from them, with its models
    and stops; a study on a server is looked up again. A pickle contains neither the token nor a model.

    Args:
        settings: Settings of the study; ignored if `study` is a study object, which has its own.
        study: The address HOST:PORT of a server, a study object, or None for a new study in this process.
        token: Token of the server. Default: found as `connect` finds it.
        deadline_s: Longest time that one call to the server may block, in seconds.
        step: Number of the trials' steps in one epoch (see `Steps`); not read where the study's unit has fractions.
        grace: First epoch at which a trial may be stopped.

    Attributes:
        settings: Settings of the study.
        steps: Map from step counts to epochs.
        reported: Finite values of each trial.
        decisions: The last decision about each trial.
        stops: The decision that stopped each stopped trial.
        ended: The state of each trial that ended.

    Raises:
        ValueError: If `step` is not finite and > 0.

    Examples:
        >>> from curvestop import StudySettings
        >>> driver = TrialDriver(StudySettings("demo", max_epochs=10), step=100)
        >>> driver.report("trial-1", 200, 0.4, {"learning_rate": 0.1}).stop
        False
        >>> driver.reported["trial-1"].values  # 200 steps are 2 epochs
        {2: 0.4}
    """

    def __init__(
        self,
        settings: StudySettings,
        *,
        study: str | ResumableStudy | None = None,
        token: str | None = None,
        deadline_s: float = 1.0,
        step: float = 1.0,
        grace: int = 1,
    ) -> None:
        self.settings = settings if study is None or isinstance(study, str) else study.settings
        axis = self.settings.axis
        size = step if axis.scaled_to is None else axis.scaled_to / axis.ticks
        self.steps, self._grace = Steps(axis.ticks, size), grace
        # Kept, so that an unpickled driver finds the server again.
        self._address = study if study is None or isinstance(study, str) else getattr(study, "address", None)
        self._token, self._deadline_s = token, deadline_s
        self._study = None if study is None or isinstance(study, str) else study  # opened by `_open` otherwise
        self._log_file: Path | None = None  # set by `keep_in`
        self._reset()
        if isinstance(study, Study):  # its earlier trials become events too, so that a restored driver knows them
            for event in _events_of(study):
                self._append(event)

    # Reports and ends.

    def report(
        self,
        trial: str,
        count: float,
        value: float,
        configuration: Mapping[str, Any] | None = None,
        *,
        is_last: bool = False,
    ) -> Decision:
        """Report a trial's metric at a step count and decide whether the trial should continue.

        Between two reports the curve is a straight line. A count that is not beyond the trial's last one adds nothing. A trial
        that was stopped stays stopped.

        Args:
            trial: Name of the trial, unique in the study.
            count: Number of steps the trial has trained.
            value: The metric there. A value that is not finite means that the trial diverged.
            configuration: Hyper-parameters by name; used with the trial's first report.
            is_last: Whether the trial ends by itself now, so that a stop would save nothing and lose a complete curve.

        Returns:
            The decision. Before the grace period ends, and with the last report, only a diverged trial is stopped.
        """
        # A stop is final, also for a trial that was restored from an older checkpoint and reports again.
        if trial in self.stops:
            return self.stops[trial]
        study = self._open()
        epoch, known = self.steps.epoch(count), self.reported.get(trial, Reported())
        if not (is_finite(value) and abs(value) <= LARGEST_VALUE):
            values = [math.nan]
        else:
            values = [value] if epoch > known.last_epoch else []
        event: dict[str, Any] = {"trial": trial, "first_epoch": epoch, "values": values}
        if trial not in self.reported:
            event["configuration"] = flat_configuration(configuration or {})
        # A diverged trial is asked about in the grace period too: nothing is left to wait for.
        ask = (epoch >= self._grace and not is_last) or not all(map(math.isfinite, values))
        axis = self.settings.axis
        where: dict[str, Any] = {"first_epoch": epoch} if axis.scaled_to is None else {"at": axis.amount(epoch)}
        decision = study.report(trial, values, configuration=event.get("configuration"), ask=ask, **where)
        if ask:
            event["decision"] = _decision_to_json(decision)
            self._append(event, decision)
        else:
            self._append(event)
            grace = f"{axis.at(epoch)} is in the grace period: no trial is stopped before {axis.at(self._grace)}"
            decision = Decision.carry_on("the trial has ended by itself" if is_last else grace)
        return decision

    def end(self, trial: str, state: EndState = "finished") -> None:
        """Mark a trial as ended. A trial that never reported, or ended before, is ignored.

        Args:
            trial: Name of the trial.
            state: How it ended; a trial that the study stopped ends as "stopped" whatever is given.
        """
        if trial not in self.reported or trial in self.ended:
            return
        state = "stopped" if trial in self.stops else state
        _finish(self._open(), trial, state)
        self._append({"trial": trial, "end": state})

    def second_chances(self, n: int) -> list[SecondChance]:
        """Return the stopped trials that most likely end as the best after all; see `ResumableStudy.second_chances`.

        Args:
            n: Most trials to return, >= 1.
        """
        return self._open().second_chances(n)

    # Saving and restoring.

    def save(self, path: Path) -> None:
        """Write all events to a file as JSON lines, atomically.

        Args:
            path: The file; its folder must be writable, as a file NAME.part is written first.
        """
        # Write and rename: a crash leaves the old file or the new one.
        part = path.with_name(path.name + ".part")
        part.write_text("".join(map(_json_line, self._events)), encoding="utf-8")
        os.replace(part, path)

    def restore(self, path: Path) -> None:
        """Replace all events by those of a file. An incomplete last line, left by a crash, is dropped.

        Args:
            path: A file that `save` or `keep_in` wrote.

        Raises:
            OSError: If the file cannot be read.
        """
        text = path.read_text(encoding="utf-8")
        self._study = None  # opened again, and brought up to date, by the next report
        self._reset()
        # Text after the last newline is a line that was cut off while it was written.
        for line in text[: text.rfind("\n") + 1].splitlines():
            self._append(json.loads(line))

    def keep_in(self, path: Path) -> None:
        """Save all events to a file now, and append every later event to it.

        Args:
            path: The file; an existing one is replaced, so `restore` from it first.
        """
        self.save(path)
        self._log_file = path

    # The study.

    def _open(self) -> ResumableStudy:
        if self._study is None:
            study = connect(self._address, self.settings, token=self._token, deadline_s=self._deadline_s)
            self._send_all(study)
            self._study = study
        return self._study

    def _send_all(self, study: ResumableStudy) -> None:
        """Bring a new or reconnected study up to date."""
        if isinstance(study, Study):
            # In process, the order of the events decides which models are fitted when, so all are replayed in order.
            for event in self._events:
                _replay(study, event)
            return
        # A server may know all, some or none of it: each trial is sent once more, and the server takes what it lacks.
        for trial, reported in self.reported.items():
            for report in reports_of(trial, reported.values.items(), self._configurations[trial]):
                study.answer(report)
            if trial in self.ended:
                _finish(study, trial, self.ended[trial])

    def _append(self, event: Event, decision: Decision | None = None) -> None:
        """Add an event to the log. The decision is None if it is only known from the event, as after `restore`."""
        self._events.append(event)
        if self._log_file is not None:
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write(_json_line(event))
        trial = event["trial"]
        if "end" in event:
            self.ended[trial] = event["end"]
            return
        if "configuration" in event:
            self._configurations[trial] = event["configuration"]
        reported = self.reported.setdefault(trial, Reported())
        for epoch, value in enumerate(event["values"], start=event["first_epoch"]):
            # A value that is not finite ends a trial and is no part of its curve.
            if math.isfinite(value) and epoch not in reported.values:
                reported.add(epoch, value)
        if decision is None and event.get("decision") is not None:
            decision = _decision_from_json(event["decision"])
        if decision is not None:
            self.decisions[trial] = decision
            if decision.stop:
                self.stops[trial] = decision

    def _reset(self) -> None:
        self._events: list[Event] = []
        self._configurations: dict[str, Configuration] = {}
        self.reported: dict[str, Reported] = {}
        self.decisions: dict[str, Decision] = {}
        self.stops: dict[str, Decision] = {}
        self.ended: dict[str, EndState] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A token must not reach a file that Tune copies to shared storage.
        return {**self.__dict__, "_study": None, "_token": None, "_log_file": None}


def flat_configuration(configuration: Mapping[str, Any]) -> Configuration:
    """Return the entries of a configuration that a study can use.

    Args:
        configuration: Hyper-parameters by name, as a framework has them; may be nested.

    Returns:
        The entries of `flattened`. Numbers that are too large become text; objects that are no numbers, strings, lists or None
        are left out.

    Examples:
        >>> flat_configuration({"optimizer": {"name": "sgd", "lr": 0.1}, "layers": [64, 32], "loss": print})
        {'optimizer/name': 'sgd', 'optimizer/lr': 0.1, 'layers': '[64, 32]'}
    """
    return {
        name: value if isinstance(value, str) or abs(value) <= LARGEST_VALUE else str(value)
        for name, value in flattened(configuration).items()
        if is_name(name) and isinstance(value, bool | int | float | str)
    }


def _events_of(study: Study) -> Iterator[Event]:
    """Yield the trials of a study as events."""
    for trial in study.trials():
        observed = study.book[trial.trial].observed
        values = zip(observed.epochs, observed.in_order, strict=True)
        for report in reports_of(trial.trial, values, trial.configuration):
            event = {"trial": report.trial, "first_epoch": report.first_epoch, "values": list(report.values)}
            yield event if report.configuration is None else {**event, "configuration": dict(report.configuration)}
        if trial.state != "running":
            yield {"trial": trial.trial, "end": trial.state}


def _replay(study: Study, event: Event) -> None:
    """Apply a logged event to a study in this process; its decision is restored, not made again."""
    trial = event["trial"]
    if "end" in event:
        _finish(study, trial, event["end"])
        return
    study.record(Report(trial, event["values"], event.get("configuration"), event["first_epoch"]))
    if "decision" in event and study.book.state_of(trial) == "running":
        study.restore(trial, study.question(trial), _decision_from_json(event["decision"]))


def _finish(study: ResumableStudy, trial: str, state: EndState) -> None:
    with suppress(UnknownTrial):  # the server was given a new store during the search
        study.finish(trial, state)


def _json_line(event: Event) -> str:
    return json.dumps(event) + "\n"


def _decision_to_json(decision: Decision) -> Mapping[str, Any] | None:
    """Return what is kept of a decision to stop; None for a decision to continue."""
    return {"reason": decision.reason, "probability": decision.probability} if decision.stop else None


def _decision_from_json(stored: Mapping[str, Any] | None) -> Decision:
    return Decision.carry_on("the trial continued") if stored is None else Decision(stop=True, **stored)
