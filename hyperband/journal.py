"""The journal of a run: what happened to its scheduler, on disk before it counts, so that a killed run goes on where it was.

A line for each call made of the scheduler and for each decision of the study. Given the same calls and decisions a scheduler
does the same, so a new one that is told the lines again stands where the old one stood.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from curvestop.hyperband.driving import Scheduler
from curvestop.hyperband.trials import Event, Job
from curvestop.srm.curve import Configuration, Decision, Prediction
from curvestop.srm.study import EndState, Study, StudyLike, StudySettings, Trial, TrialState

Entry = Mapping[str, Any]


class JournalBroken(ValueError):
    """The lines do not fit the run: its settings or its script's search space are not those that it was started with."""


def read(path: Path) -> tuple[Entry, ...]:
    """The entries of a journal, without a last line that was cut off; none without a file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return tuple(json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines())


class Journal:
    """The journal of one run, open for writing by one process. Raises ValueError when another has it open."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ValueError(f"{path.parent}: a run can be driven by one process only, and another does") from None
        self.entries = read(path)
        self._file.truncate(path.read_bytes().rfind(b"\n") + 1)

    def append(self, entry: Entry, *, durable: bool = True) -> None:
        """durable: return when it is on disk; what is lost otherwise happens again in the same way."""
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        if durable:
            os.fdatasync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


class JournaledStudy:
    """A `StudyLike` whose decisions are kept in a journal, and given again while what is there is told again.

    study: None to tell a journal again only. journal: None to keep nothing.
    """

    def __init__(
        self, study: StudyLike | None, settings: StudySettings, entries: Sequence[Entry], journal: Journal | None
    ) -> None:
        self._study, self._settings, self._journal = study, settings, journal
        self._known = deque(entry for entry in entries if entry["kind"] == "decision")

    @property
    def settings(self) -> StudySettings:
        return self._settings

    def report(
        self,
        trial: str,
        values: Sequence[float],
        *,
        configuration: Configuration | None = None,
        first_epoch: int = 1,
        target_epoch: int | None = None,
        value_to_beat: float | None = None,
        ask: bool = True,
    ) -> Decision:
        known = self._known.popleft() if ask and self._known else None
        if known is not None and known["trial"] != trial:
            raise JournalBroken(f"the journal has a decision on trial {known['trial']!r} where {trial!r} is judged")
        decision = Decision.carry_on("not asked")
        if self._study is not None:
            decision = self._study.report(
                trial,
                values,
                configuration=configuration,
                first_epoch=first_epoch,
                target_epoch=target_epoch,
                value_to_beat=value_to_beat,
                ask=ask and known is None,
            )
        if known is not None:
            decision = _decision_of(known)
            if isinstance(self._study, Study):
                self._study.restore(trial, self._study.question(trial, target_epoch, value_to_beat), decision)
        elif ask and self._journal is not None:
            self._journal.append(_entry_of(trial, decision), durable=decision.stop)
        return decision

    def predict(
        self, values: Sequence[float], *, configuration: Configuration | None = None, target_epoch: int | None = None
    ) -> Prediction | None:
        return (
            None if self._study is None else self._study.predict(values, configuration=configuration, target_epoch=target_epoch)
        )

    def finish(self, trial: str, state: EndState = "finished") -> TrialState:
        return state if self._study is None else self._study.finish(trial, state)

    def trials(self) -> tuple[Trial, ...]:
        return () if self._study is None else self._study.trials()


class Resumable(Scheduler, Protocol):
    """A scheduler that says what a killed run left open."""

    def jobs_to_end(self) -> Iterable[str]:
        """Trials that were told to stop, and whose job was not over."""
        ...

    def jobs_to_go_on(self) -> Iterable[Job]:
        """What was training, from the next epoch on."""
        ...


R = TypeVar("R", bound=Resumable)


class JournaledScheduler(Generic[R]):
    """A scheduler whose calls are kept in a journal."""

    def __init__(self, scheduler: R, journal: Journal) -> None:
        self.scheduler, self._journal = scheduler, journal
        replay(scheduler, journal.entries)
        for trial in scheduler.jobs_to_end():
            self.tell(trial)
        self._interrupted = deque(scheduler.jobs_to_go_on())

    @property
    def finished(self) -> bool:
        return self.scheduler.finished

    def take_events(self) -> tuple[Event, ...]:
        return self.scheduler.take_events()

    def ask(self) -> Job | None:
        """The next job; first those that were running when the run was killed, from where they were."""
        if self._interrupted:
            return self._interrupted.popleft()
        job = self.scheduler.ask()
        self._journal.append({"kind": "ask", "trial": None if job is None else job.trial}, durable=False)
        return job

    def report(self, trial: str, value: float) -> Decision:
        self._journal.append({"kind": "report", "trial": trial, "value": value})
        return self.scheduler.report(trial, value)

    def tell(self, trial: str, *, failure: str | None = None) -> None:
        self._journal.append({"kind": "tell", "trial": trial, "failure": failure})
        self.scheduler.tell(trial, failure=failure)


def replay(scheduler: Scheduler, entries: Sequence[Entry]) -> None:
    """Tell a new scheduler what is in a journal. Raises JournalBroken when it does something else."""
    for entry in entries:
        match entry:
            case {"kind": "ask", "trial": trial}:
                job = scheduler.ask()
                if (None if job is None else job.trial) != trial:
                    raise JournalBroken(f"the journal has trial {trial!r} where the scheduler starts {job and job.trial!r}")
            case {"kind": "report", "trial": trial, "value": value}:
                scheduler.report(trial, value)
            case {"kind": "tell", "trial": trial, "failure": failure}:
                scheduler.tell(trial, failure=failure)


def _entry_of(trial: str, decision: Decision) -> Entry:
    prediction = decision.prediction
    return {
        "kind": "decision",
        "trial": trial,
        "stop": decision.stop,
        "reason": decision.reason,
        "probability": decision.probability,
        "prediction": None if prediction is None else [prediction.mean, prediction.sigma],
        "n_curves": decision.n_curves,
        "model_epoch": decision.model_epoch,
    }


def _decision_of(entry: Entry) -> Decision:
    prediction = None if entry["prediction"] is None else Prediction(*entry["prediction"])
    return Decision(entry["stop"], entry["reason"], entry["probability"], prediction, entry["n_curves"], entry["model_epoch"])
