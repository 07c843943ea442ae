"""A study as flat rows, for tables of any kind: its settings, then every entry of its log, in order.

`kind` says what a row is: study (settings as JSON in `configuration`), trial, value, decision (of the first `epoch` epochs), or
end (`epoch`: whose value was not finite). Columns that say nothing about it are None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from curvestop.server.storage.schema import settings_from_json, settings_to_json
from curvestop.server.studies.log_replay import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.study import Question, StudySettings

Row = Mapping[str, Any]

COLUMNS: Mapping[str, type] = {
    "kind": str,
    "trial": str,
    "epoch": int,
    "value": float,
    "configuration": str,
    "state": str,
    "target_epoch": int,
    "value_to_beat": float,
    "stop": bool,
    "probability": float,
    "mean": float,
    "sigma": float,
    "n_curves": int,
    "model_epoch": int,
    "reason": str,
    "would_stop": bool,
}
STUDY = "study"


def row_of_settings(settings: StudySettings) -> Row:
    return _row(kind=STUDY, configuration=json.dumps(settings_to_json(settings)))


def settings_of_row(row: Row) -> StudySettings:
    """Raises ValueError."""
    if row["kind"] != STUDY:
        raise ValueError(f"the first row must be of kind 'study', but is {row['kind']!r}")
    return settings_from_json(json.loads(row["configuration"]))


def row_of(entry: Entry) -> Row:
    match entry:
        case TrialAdded(trial, configuration):
            return _row(kind="trial", trial=trial, configuration=json.dumps(dict(configuration)))
        case Observed(trial, epoch, value):
            return _row(kind="value", trial=trial, epoch=epoch, value=value)
        case Ended(trial, state, diverged_at):
            return _row(kind="end", trial=trial, state=state, epoch=diverged_at)
        case Decided(trial, question, decision):
            prediction = decision.prediction
            return _row(
                kind="decision",
                trial=trial,
                epoch=question.tau,
                target_epoch=question.target_epoch,
                value_to_beat=question.value_to_beat,
                stop=decision.stop,
                probability=decision.probability,
                mean=None if prediction is None else prediction.mean,
                sigma=None if prediction is None else prediction.sigma,
                n_curves=decision.n_curves,
                model_epoch=decision.model_epoch,
                reason=decision.reason,
                would_stop=decision.would_stop,
            )


def entry_of(row: Row) -> Entry:
    """Raises ValueError for a row that is none, or lacks what its kind needs."""
    kind = row["kind"]
    if kind not in _ENTRY_OF:
        raise ValueError(f"kind must be one of {', '.join(_ENTRY_OF)}, but got {kind!r}")
    make, needed = _ENTRY_OF[kind]
    for column in needed:
        if row[column] is None:
            raise ValueError(f"a row of kind {kind!r} needs {column}")
    return make(row)


def _row(**known: Any) -> Row:
    return {column: known.get(column) for column in COLUMNS}


def _decided(row: Row) -> Decided:
    prediction = None if row["mean"] is None else Prediction(row["mean"], row["sigma"])
    decision = Decision(
        stop=row["stop"],
        reason=row["reason"] or "",
        probability=row["probability"],
        prediction=prediction,
        n_curves=row["n_curves"] or 0,
        model_epoch=row["model_epoch"] or 0,
        would_stop=bool(row["would_stop"]),
    )
    return Decided(row["trial"], Question(row["epoch"], row["target_epoch"], row["value_to_beat"]), decision)


def _trial_added(row: Row) -> TrialAdded:
    configuration = json.loads(row["configuration"] or "{}")
    if not isinstance(configuration, dict):
        raise ValueError(f"a configuration must be a JSON object, but got {row['configuration']!r}")
    return TrialAdded(row["trial"], configuration)


_ENTRY_OF: Mapping[str, tuple[Callable[[Row], Entry], tuple[str, ...]]] = {
    "trial": (_trial_added, ("trial",)),
    "value": (lambda row: Observed(row["trial"], row["epoch"], row["value"]), ("trial", "epoch", "value")),
    "decision": (_decided, ("trial", "epoch", "target_epoch", "stop")),
    "end": (lambda row: Ended(row["trial"], row["state"], row["epoch"]), ("trial", "state")),
}
