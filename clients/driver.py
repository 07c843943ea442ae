"""A study as the driver of a whole search sees it: trials report at steps of their own, and all of it can be saved and restored.

The study itself is never saved: it is a function of what it was told, or a server remembers it.
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
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.interpolation import linear_fill
from curvestop.srm.study import EndState, Study, StudyLike, StudySettings, UnknownTrial
from curvestop.srm.validation import LARGEST_VALUE, is_name

Event = Mapping[str, Any]
"""{"trial", "first_epoch", "values", "configuration" (once), "decision" (when it was asked for)} or {"trial", "end"}."""


@dataclass(frozen=True)
class Steps:
    """size: > 0, what makes one epoch in the unit that trials count in. Other counts go to the nearest of 1..max_epochs."""

    max_epochs: int
    size: float = 1.0

    def __post_init__(self) -> None:
        if not (self.size > 0 and math.isfinite(self.size)):
            raise ValueError(f"the step of an epoch must be finite and > 0, but got {self.size!r}")

    def epoch(self, count: float) -> int:
        return min(max(math.floor(count / self.size + 0.5), 1), self.max_epochs)


class TrialDriver:
    """A study in this process, on a server, or any `StudyLike`, told of trials by one driver; not for several threads.

    study: HOST:PORT of a server, None for one in this process, or a study that is used as it is.
    settings: of the first two; those of a given study are its own. token, deadline_s: for a server, as of `connect`.
    grace: epochs before which nothing is stopped.
    Pickled, it is a log of what was told: unpickled, a study in process stands where it stood, models and stops included; on a
    server the study is looked up again. Neither a token nor a model is in a pickle.
    """

    def __init__(
        self,
        settings: StudySettings,
        *,
        study: str | StudyLike | None = None,
        token: str | None = None,
        deadline_s: float = 1.0,
        step: float = 1.0,
        grace: int = 1,
    ) -> None:
        self.settings = settings if study is None or isinstance(study, str) else study.settings
        self.steps, self._grace = Steps(self.settings.max_epochs, step), grace
        self._target = study if study is None or isinstance(study, str) else getattr(study, "address", None)
        self._token, self._deadline_s = token, deadline_s
        self._study = None if study is None or isinstance(study, str) else study
        self._file: Path | None = None
        self._forget()
        if isinstance(study, Study):  # what it knows goes with what it is told
            for event in _told_before(study):
                self._note(event)

    # What happens.

    def report(self, trial: str, count: float, value: float, configuration: Mapping[str, Any] | None = None) -> Decision:
        """A trial has come to this count of its steps, with this value there.

        Counts between its reports lie on a straight line; one that is no further than the last adds nothing. A value that is
        not finite is a trial that diverged. A stop is for good.
        """
        if trial in self.stops:
            return self.stops[trial]
        study = self._open()
        epoch, known = self.steps.epoch(count), self.curves.get(trial, ())
        if math.isfinite(value) and abs(value) <= LARGEST_VALUE:
            values, first_epoch = linear_fill(known, epoch, value), min(len(known) + 1, self.steps.max_epochs)
        else:
            values, first_epoch = [math.nan], epoch
        event: dict[str, Any] = {"trial": trial, "first_epoch": first_epoch, "values": values}
        if trial not in self.curves:
            event["configuration"] = plain(configuration or {})
        ask = epoch >= self._grace or not all(map(math.isfinite, values))
        decision = study.report(trial, values, configuration=event.get("configuration"), first_epoch=first_epoch, ask=ask)
        if ask:
            event["decision"] = _to_json(decision)
            self._note(event, decision)
        else:
            self._note(event)
            decision = Decision.carry_on(f"nothing is stopped before epoch {self._grace}")
        return decision

    def end(self, trial: str, state: EndState = "finished") -> None:
        """A trial is over, stopped when it was told to be; one that never reported is not known."""
        if trial not in self.curves or trial in self.ended:
            return
        state = "stopped" if trial in self.stops else state
        _finish(self._open(), trial, state)
        self._note({"trial": trial, "end": state})

    # Keeping it.

    def save(self, path: Path) -> None:
        """Write all that was told, all or nothing."""
        part = path.with_name(path.name + ".part")
        part.write_text("".join(map(_line, self._events)), encoding="utf-8")
        os.replace(part, path)

    def restore(self, path: Path) -> None:
        """Take in what was saved, in place of what was told. A last line that was cut off is left out."""
        text = path.read_text(encoding="utf-8")
        self._study = None
        self._forget()
        for line in text[: text.rfind("\n") + 1].splitlines():
            self._note(json.loads(line))

    def keep_in(self, path: Path) -> None:
        """Save now, and from now on add to the file what happens, as it happens."""
        self.save(path)
        self._file = path

    # The study.

    def _open(self) -> StudyLike:
        if self._study is None:
            study = connect(self._target, self.settings, token=self._token, deadline_s=self._deadline_s)
            self._tell(study)
            self._study = study
        return self._study

    def _tell(self, study: StudyLike) -> None:
        """A study in process is told everything in its order; for others, each trial is one report of what may be missing."""
        if isinstance(study, Study):
            for event in self._events:
                _tell_again(study, event)
            return
        for trial, curve in self.curves.items():
            study.report(trial, curve, configuration=self._configurations[trial], ask=False)
            if trial in self.ended:
                _finish(study, trial, self.ended[trial])

    def _note(self, event: Event, decision: Decision | None = None) -> None:
        self._events.append(event)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_line(event))
        trial = event["trial"]
        if "end" in event:
            self.ended[trial] = event["end"]
            return
        if "configuration" in event:
            self._configurations[trial] = event["configuration"]
        curve = self.curves.setdefault(trial, [])
        curve += [value for value in event["values"] if math.isfinite(value)]
        if decision is None and event.get("decision") is not None:
            decision = _from_json(event["decision"])
        if decision is not None:
            self.decisions[trial] = decision
            if decision.stop:
                self.stops[trial] = decision

    def _forget(self) -> None:
        self._events: list[Event] = []
        self._configurations: dict[str, Configuration] = {}
        self.curves: dict[str, list[float]] = {}
        self.decisions: dict[str, Decision] = {}  # the last one on each trial
        self.stops: dict[str, Decision] = {}
        self.ended: dict[str, EndState] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_study": None, "_token": None, "_file": None}


def plain(configuration: Mapping[str, Any]) -> Configuration:
    """Its numbers, texts and truths, those of nested dictionaries as "outer/inner"; None and lists by their text."""
    return dict(_flat(configuration, ""))


def _flat(configuration: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, bool | int | float | str]]:
    for key, value in configuration.items():
        name = f"{prefix}{key}"
        value = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value  # numpy's scalars
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
        elif is_name(name) and isinstance(value, bool | str):
            yield name, value
        elif is_name(name) and isinstance(value, int | float):
            yield name, value if abs(value) <= LARGEST_VALUE else str(value)
        elif is_name(name) and (value is None or isinstance(value, list | tuple)):
            yield name, str(value)


def _told_before(study: Study) -> Iterator[Event]:
    for trial in study.trials():
        yield {
            "trial": trial.trial,
            "first_epoch": 1,
            "values": list(trial.values),
            "configuration": dict(trial.configuration),
        }
        if trial.state != "running":
            yield {"trial": trial.trial, "end": trial.state}


def _tell_again(study: Study, event: Event) -> None:
    trial = event["trial"]
    if "end" in event:
        _finish(study, trial, event["end"])
        return
    study.record(trial, event["values"], configuration=event.get("configuration"), first_epoch=event["first_epoch"])
    if "decision" in event and study.state_of(trial) == "running":
        study.restore(trial, study.question(trial, None, None), _from_json(event["decision"]))


def _finish(study: StudyLike, trial: str, state: EndState) -> None:
    with suppress(UnknownTrial):  # a server with a new store
        study.finish(trial, state)


def _line(event: Event) -> str:
    return json.dumps(event) + "\n"


def _to_json(decision: Decision) -> Mapping[str, Any] | None:
    """Why a trial was stopped; None for one that went on."""
    return {"reason": decision.reason, "probability": decision.probability} if decision.stop else None


def _from_json(stored: Mapping[str, Any] | None) -> Decision:
    return Decision.carry_on("it went on") if stored is None else Decision(stop=True, **stored)
