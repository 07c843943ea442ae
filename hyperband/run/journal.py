"""The journal of a run: what happened to its scheduler, on disk before it counts, so that a killed run resumes where it was.

The journal has one line for each call of the scheduler and for each decision of the study. Given the same calls and decisions a
scheduler does the same, so replaying the lines to a new one brings it to where the old one was. Each trial's configuration is
there, too: a scheduler that draws another one, as with a changed search space or another version of Optuna, is refused.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from curvestop import __version__
from curvestop.hyperband.executors.base import Job
from curvestop.hyperband.run.utilization import UtilizationTracker
from curvestop.hyperband.scheduler.completion_order import CompletionOrder
from curvestop.hyperband.scheduler.run_loop import Scheduler
from curvestop.hyperband.scheduler.trials import Event
from curvestop.proto.file_lock import lock_file
from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.report import Report
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.study_like import KeywordReports, ResumableStudy
from curvestop.srm.trial import EndState, Trial, TrialState

Entry = Mapping[str, Any]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "session": ("workers",),
    "ask": ("trial",),
    "report": ("trial", "value"),
    "tell": ("trial", "failure"),
    "decision": ("trial", "stop", "reason", "probability", "prediction", "n_curves", "model_epoch"),
    "prediction": ("prediction",),
    "chances": ("chances",),
    "resume": ("trial",),
}
"""The kinds of entries, and the fields that each has in journals of all versions."""

_log = logging.getLogger(__name__)


class JournalBroken(ValueError):
    """The lines are damaged, or do not fit the run: its settings or search space are not those that it was started with."""


def read(path: Path) -> tuple[Entry, ...]:
    """Return the entries of a journal, without a last line that was cut off; none without a file.

    Args:
        path: File of the journal, one JSON object a line; another process may be writing it.

    Raises:
        JournalBroken: If a line is not an entry; the message names the file and the line.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return tuple(_entry(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1))


def _entry(line: bytes, where: str) -> Entry:
    """Return the entry in a line. None may be skipped: without it, this would be the journal of another run."""
    try:
        entry = json.loads(line)
    except ValueError as error:  # also bytes that are no UTF-8
        raise JournalBroken(f"{where}: this is no entry of a journal ({error}): restore the file from a copy") from None
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise JournalBroken(f"{where}: kind must be one of {', '.join(FIELDS)}, but got {kind!r}: a later curvestop may know it")
    missing = [field for field in FIELDS[kind] if field not in entry]
    if missing:
        raise JournalBroken(f"{where}: an entry of kind {kind!r} needs {missing[0]!r}: restore the file from a copy")
    return cast(Entry, entry)


class Journal:
    """The journal of one run, open for writing by one process.

    Args:
        path: File of the journal; created if it is missing.

    Attributes:
        entries: Entries that it had when it was opened.

    Raises:
        ValueError: If another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        try:
            # The kernel releases the lock when the process dies, however it dies: a killed run can be resumed at once.
            lock_file(self._file)
        except OSError:
            self._file.close()
            raise ValueError(f"{path.parent}: another process drives this run; wait until it ends or stop it") from None
        self.entries = read(path)
        self._file.truncate(path.read_bytes().rfind(b"\n") + 1)  # a line that a kill cut off

    def append(self, entry: Entry, *, durable: bool = True) -> None:
        """Append an entry.

        Args:
            entry: What happened, as JSON can hold it.
            durable: Whether to return only when it is on disk. An entry that is lost otherwise happens again in the same way.
        """
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        if durable:
            os.fdatasync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


class JournaledStudy(KeywordReports):
    """A `StudyLike` whose decisions are kept in a journal, and given again while the journal is replayed.

    Args:
        study: The study that decides; None to replay a journal only.
        settings: Its settings.
        entries: The journal so far.
        journal: Where new decisions are kept; None to keep nothing.
    """

    def __init__(
        self, study: ResumableStudy | None, settings: StudySettings, entries: Sequence[Entry], journal: Journal | None
    ) -> None:
        self._study, self._settings, self._journal = study, settings, journal
        # The answers of each kind are asked for in the same order again, so each kind is a queue of its own.
        self._known = deque(entry for entry in entries if entry["kind"] == "decision")
        self._predicted = deque(entry for entry in entries if entry["kind"] == "prediction")
        self._chances = deque(entry for entry in entries if entry["kind"] == "chances")
        self._resumed = deque(entry for entry in entries if entry["kind"] == "resume")
        self._states_chances = study is not None

    @property
    def settings(self) -> StudySettings:
        """The settings of the study."""
        return self._settings

    def answer(self, report: Report) -> Decision:
        """Answer from the journal while it has decisions, else from the study.

        Args:
            report: The trial's values, and whether to decide.

        Returns:
            The decision. While the journal is replayed, the study receives the values but is not asked.

        Raises:
            JournalBroken: If the journal has a decision on another trial.
        """
        known = self._known.popleft() if report.ask and self._known else None
        if known is not None and known["trial"] != report.trial:
            raise JournalBroken(f"the journal has a decision on trial {known['trial']!r} where {report.trial!r} is judged")
        decision = Decision.carry_on("not asked")
        if self._study is not None:
            decision = self._study.answer(replace(report, ask=report.ask and known is None))
        if known is not None:
            decision = _decision_of(known)
            if isinstance(self._study, Study):  # a server has a log of its own
                question = self._study.question(report.trial, report.target_epoch, report.value_to_beat)
                self._study.restore(report.trial, question, decision)
        elif report.ask and self._journal is not None:
            # A stop must not be forgotten, as it cannot be taken back; to continue can be decided again.
            self._journal.append(_entry_of(report.trial, decision), durable=decision.stop)
        return decision

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        """Predict from the journal while it has predictions, else by the study.

        Args:
            values: `(tau,)` metric after epochs 1..tau.
            configuration: Hyperparameters, by name. Default: none.
            target_epoch: Epoch to predict. Default: max_epochs.

        Returns:
            The forecast; None without a model or without a study.
        """
        if self._predicted:
            return _prediction_of(self._predicted.popleft()["prediction"])
        if self._study is None:
            return None
        prediction = self._study.predict(values, configuration=configuration, target_epoch=target_epoch)
        if self._journal is not None:
            self._journal.append({"kind": "prediction", "prediction": _as_entry(prediction)}, durable=False)
        return prediction

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        """End a trial and return the state that it now has.

        Args:
            trial: Name of the trial.
            state: How it ended.
        """
        return state if self._study is None else self._study.finish(trial, state)

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the chances of the journal while it has some, else those of the study.

        Args:
            n: Most trials to return, >= 1.

        Returns:
            The most promising first; none once a server did not answer.
        """
        if self._chances:
            # The configurations are those of the run's trials.
            return [SecondChance(trial, {}, *chance) for trial, *chance in self._chances.popleft()["chances"]]
        chances: list[SecondChance] = []
        if self._study is not None and self._states_chances:
            try:
                chances = self._study.second_chances(n)
            except OSError as error:
                # Not asked again: a server that hangs would hold the training up each time.
                self._states_chances = False
                _log.warning("no second chances from now on: %s", error)
        if self._journal is not None:
            entry = {"kind": "chances", "chances": [[c.trial, c.next_epoch, c.chance] for c in chances]}
            self._journal.append(entry, durable=False)
        return chances

    def resume(self, trial: str) -> None:
        """Let a stopped trial continue in the study; a server that does not answer is not waited for.

        Args:
            trial: Name of the trial.
        """
        known = self._resumed.popleft() if self._resumed else None
        # A server has a log of its own, and the trial may have been stopped again since.
        if self._study is not None and (known is None or isinstance(self._study, Study)):
            try:
                self._study.resume(trial)
            except (OSError, ValueError) as error:  # of a run that was killed: the server had resumed it already
                _log.warning("trial %s trains on, but the study did not resume it: %s", trial, error)
        if known is None and self._journal is not None:
            self._journal.append({"kind": "resume", "trial": trial}, durable=False)

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials of the study; none without one."""
        return () if self._study is None else self._study.trials()


class Resumable(Scheduler, Protocol):
    """A scheduler that knows what a killed run left open."""

    def jobs_to_end(self) -> Iterable[str]:
        """Return the trials that were stopped and whose job was not over."""
        ...

    def jobs_to_resume(self) -> Iterable[Job]:
        """Return the jobs that were running, from their next epoch on."""
        ...


R = TypeVar("R", bound=Resumable)


class JournaledScheduler(Generic[R]):
    """A scheduler whose calls are kept in a journal.

    Args:
        scheduler: A new scheduler; the journal is replayed to it.
        journal: The journal of the run.

    Attributes:
        scheduler: The scheduler.
        utilization: How busy the workers were.
        completion_order: The order in which a reproducible run takes the workers' values.
    """

    def __init__(self, scheduler: R, journal: Journal) -> None:
        self.scheduler, self._journal = scheduler, journal
        self.utilization, self._began = utilization_of(journal.entries), time.monotonic()
        self.completion_order = CompletionOrder()
        # First the replay, then the jobs that it left open: a stop whose job had not ended is ended now.
        replay(scheduler, journal.entries, self.completion_order)
        for trial in scheduler.jobs_to_end():
            self.job_over(trial)
        self._interrupted = deque(scheduler.jobs_to_resume())

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.scheduler.finished

    def take_events(self) -> tuple[Event, ...]:
        """Return what happened since the last call."""
        return self.scheduler.take_events()

    def begin(self, n_workers: int) -> None:
        """Note that the workers are ready: times count from now.

        Args:
            n_workers: Number of workers, idle ones included; the utilization is a share of their time.
        """
        self._began = time.monotonic()
        self._keep({"kind": "session", "workers": n_workers, "versions": versions()}, durable=False)

    def ask(self) -> Job | None:
        """Return the next job; first those that were running when the run was killed, from where they were."""
        if self._interrupted:
            return self._interrupted.popleft()
        job = self.scheduler.ask()
        # Also when there is no job: `ask` may have stopped a promoted trial at once, and the replay must do that, too.
        drawn = {} if job is None else {"configuration": dict(job.configuration)}
        self._keep({"kind": "ask", "trial": None if job is None else job.trial, **drawn}, durable=False)
        if job is not None:
            self.completion_order.started(job.trial)
        return job

    def report(self, trial: str, value: float, *, seconds: float = 0.0) -> Decision:
        """Report the metric of a trial's next epoch, which took `seconds`, and return the decision.

        Args:
            trial: Name of a trial that is training.
            value: The metric after the epoch.
            seconds: Training time of the epoch; 0 if unknown.
        """
        self._keep({"kind": "report", "trial": trial, "value": value, "seconds": round(seconds, 6), "at": self._now()})
        decision = self.scheduler.report(trial, value, seconds=seconds)
        self.completion_order.measured(trial, stop=decision.stop)
        return decision

    def job_over(self, trial: str, *, failure: str | None = None) -> None:
        """Report that a trial's worker is free again; `failure` says why it failed.

        Args:
            trial: Name of the trial.
            failure: The cause on one line; None if `train` returned or was stopped.
        """
        # "tell" is the kind's name in journals of all versions.
        self._keep({"kind": "tell", "trial": trial, "failure": failure, "at": self._now()})
        self.scheduler.job_over(trial, failure=failure)
        self.completion_order.over(trial)

    def _now(self) -> float:
        """Seconds since the workers were ready."""
        return round(time.monotonic() - self._began, 6)

    def _keep(self, entry: Entry, *, durable: bool = True) -> None:
        self._journal.append(entry, durable=durable)
        self.utilization.add(entry)


def utilization_of(entries: Sequence[Entry]) -> UtilizationTracker:
    """Return how busy the workers were in a run with these entries.

    Args:
        entries: All entries of a journal, in order: an entry counts for the session before it.
    """
    utilization = UtilizationTracker()
    for entry in entries:
        utilization.add(entry)
    return utilization


def configurations_of(entries: Sequence[Entry]) -> dict[str, Configuration]:
    """Return the configurations that a journal has, by trial; journals of earlier versions have none.

    Args:
        entries: All entries of a journal.
    """
    return {entry["trial"]: entry["configuration"] for entry in entries if "configuration" in entry}


def versions() -> dict[str, str]:
    """Return the versions that the configurations of a run depend on, and ours."""
    packages = {name: version(name) for name in ("numpy", "optuna")}
    return {"python": platform.python_version(), "curvestop": __version__, **packages}


def replay(
    scheduler: Scheduler,
    entries: Sequence[Entry],
    order: CompletionOrder | None = None,
    *,
    checks_configurations: bool = True,
) -> None:
    """Replay a journal to a new scheduler.

    Args:
        scheduler: The new scheduler.
        entries: The journal.
        order: Completion order that is replayed too; None if it does not matter.
        checks_configurations: Whether a trial must have the configuration that the journal has.

    Raises:
        JournalBroken: If the scheduler starts another trial than the journal has, or with another configuration.
    """
    order = CompletionOrder() if order is None else order
    for entry in entries:
        match entry:
            case {"kind": "ask", "trial": trial}:
                job = scheduler.ask()
                if (None if job is None else job.trial) != trial:
                    raise JournalBroken(f"the journal has trial {trial!r} where the scheduler starts {job and job.trial!r}")
                if job is not None:
                    if checks_configurations:
                        _check_configuration(job, entry.get("configuration"), entries)
                    order.started(job.trial)
            # Journals of earlier versions may lack the seconds.
            case {"kind": "report", "trial": trial, "value": value, **more}:
                decision = scheduler.report(trial, value, seconds=more.get("seconds", 0.0))
                order.measured(trial, stop=decision.stop)
            case {"kind": "tell", "trial": trial, "failure": failure}:
                scheduler.job_over(trial, failure=failure)
                order.over(trial)


def _check_configuration(job: Job, kept: Configuration | None, entries: Sequence[Entry]) -> None:
    """Check that a trial has the configuration that it was trained with; journals of earlier versions have none."""
    drawn = json.loads(json.dumps(dict(job.configuration)))
    if kept is None or drawn == kept:
        return
    differing = [name for name in {**kept, **drawn} if kept.get(name) != drawn.get(name)]
    values = "; ".join(f"{name} = {kept.get(name)!r}, now {drawn.get(name)!r}" for name in differing[:3])
    then: Mapping[str, str] = next((entry["versions"] for entry in reversed(entries) if "versions" in entry), {})
    changed = [f"{name} {then[name]} (now {now})" for name, now in versions().items() if then.get(name, now) != now]
    cause = f"with {', '.join(changed)}" if changed else "with another search space, sampler or seed"
    raise JournalBroken(
        f"trial {job.trial} was trained with another configuration than is drawn now ({values}); the run was started {cause}: "
        "restore that to continue, or start a new run"
    )


def _entry_of(trial: str, decision: Decision) -> Entry:
    return {
        "kind": "decision",
        "trial": trial,
        "stop": decision.stop,
        "reason": decision.reason,
        "probability": decision.probability,
        "prediction": _as_entry(decision.prediction),
        "n_curves": decision.n_curves,
        "model_epoch": decision.model_epoch,
        "would_stop": decision.would_stop,
        "chance": decision.chance,
    }


def _decision_of(entry: Entry) -> Decision:
    prediction = _prediction_of(entry["prediction"])
    return Decision(
        stop=entry["stop"],
        reason=entry["reason"],
        probability=entry["probability"],
        prediction=prediction,
        n_curves=entry["n_curves"],
        model_epoch=entry["model_epoch"],
        would_stop=entry.get("would_stop", False),  # journals of earlier versions lack these two
        chance=entry.get("chance"),
    )


def _as_entry(prediction: Prediction | None) -> list[float] | None:
    return None if prediction is None else [prediction.mean, prediction.sigma]


def _prediction_of(entry: Sequence[float] | None) -> Prediction | None:
    return None if entry is None else Prediction(*entry)
