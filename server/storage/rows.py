"""A study as flat rows, for tables of any format: its settings, then every entry of its log, in order.

The column `kind` says what a row is: study (settings as JSON in `configuration`), trial, value, decision (after the first
`epoch` epochs), end (`epoch`: the one whose value was not finite, if any) or resume (`reason`: the key of the call that resumed
the trial). Columns that a kind does not use are None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.storage.schema import bracket_from_json, bracket_to_json, settings_from_json, settings_to_json
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.settings import StudySettings

Row = Mapping[str, Any]
"""The value, or None, of every column in `COLUMNS`."""

# A CSV file may lack columns that later versions added; a Parquet file must have them all.
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
    "chance": float,
    "bracket": str,
}
STUDY = "study"


def settings_to_row(settings: StudySettings) -> Row:
    """Return a study's settings as a row, the first one of a table."""
    # The settings share the column of configurations: both are JSON, and no row has both.
    return _row(kind=STUDY, configuration=json.dumps(settings_to_json(settings)))


def settings_from_row(row: Row) -> StudySettings:
    """Return the settings in the first row of a table.

    Args:
        row: The row.

    Raises:
        ValueError: If the row is of another kind, or this version does not understand the settings.
    """
    if row["kind"] != STUDY:
        raise ValueError(f"the first row must be of kind 'study', but is {row['kind']!r}")
    try:
        stored = json.loads(row["configuration"] or "")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the column configuration must hold the study's settings as JSON, but does not: {error}") from None
    if not isinstance(stored, dict):
        raise ValueError(f"the study's settings must be a JSON object, but got {row['configuration']!r}")
    return settings_from_json(stored)


def entry_to_row(entry: Entry) -> Row:
    """Return a log entry as a row.

    Args:
        entry: Any entry. Its number is not part of the row: rows are in the order of the log.
    """
    match entry:
        case TrialAdded(trial, configuration, bracket):
            # As text: names and types differ from trial to trial, and a table has fixed columns.
            configuration_json = json.dumps(dict(configuration))
            return _row(kind="trial", trial=trial, configuration=configuration_json, bracket=bracket_to_json(bracket))
        case Observed(trial, epoch, value):
            return _row(kind="value", trial=trial, epoch=epoch, value=value)
        case Ended(trial, state, diverged_at):
            # The epoch whose value was not finite, if that ended the trial.
            return _row(kind="end", trial=trial, state=state, epoch=diverged_at)
        case Resumed(trial, key):
            # No column of its own: a Parquet file of an earlier version would lack it.
            return _row(kind="resume", trial=trial, reason=key)
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
                chance=decision.chance,
            )


def entry_from_row(row: Row) -> Entry:
    """Return the log entry in a row.

    Args:
        row: The row.

    Raises:
        ValueError: If its kind is unknown, or a column that its kind needs is None.
    """
    kind = row["kind"]
    if kind not in _DECODERS:
        raise ValueError(f"kind must be one of {', '.join(_DECODERS)}, but got {kind!r}")
    decode, required = _DECODERS[kind]
    # A table may have been edited; an entry without its epoch would fail much later.
    for column in required:
        if row[column] is None:
            raise ValueError(f"a row of kind {kind!r} needs a value in column {column}")
    return decode(row)


def _row(**values: Any) -> Row:
    return {column: values.get(column) for column in COLUMNS}


def _decided(row: Row) -> Decided:
    # They are written together, so one of them tells whether there is a prediction.
    if (row["mean"] is None) != (row["sigma"] is None):
        raise ValueError(f"a decision has both a mean and a sigma or neither, but got {row['mean']} and {row['sigma']}")
    prediction = None if row["mean"] is None else Prediction(row["mean"], row["sigma"])
    decision = Decision(
        stop=row["stop"],
        reason=row["reason"] or "",  # a CSV file does not distinguish an empty text from None
        probability=row["probability"],
        prediction=prediction,
        n_curves=row["n_curves"] or 0,
        model_epoch=row["model_epoch"] or 0,
        would_stop=bool(row["would_stop"]),
        chance=row["chance"],
    )
    return Decided(row["trial"], Question(row["epoch"], row["target_epoch"], row["value_to_beat"]), decision)


def _trial_added(row: Row) -> TrialAdded:
    configuration = json.loads(row["configuration"] or "{}")
    if not isinstance(configuration, dict):
        raise ValueError(f"a configuration must be a JSON object, but got {row['configuration']!r}")
    return TrialAdded(row["trial"], configuration, bracket_from_json(row["bracket"]))


# By kind: what makes the entry, and the columns that must not be None.
_DECODERS: Mapping[str, tuple[Callable[[Row], Entry], tuple[str, ...]]] = {
    "trial": (_trial_added, ("trial",)),
    "value": (lambda row: Observed(row["trial"], row["epoch"], row["value"]), ("trial", "epoch", "value")),
    "decision": (_decided, ("trial", "epoch", "target_epoch", "stop")),
    "end": (lambda row: Ended(row["trial"], row["state"], row["epoch"]), ("trial", "state")),
    "resume": (lambda row: Resumed(row["trial"], row["reason"]), ("trial", "reason")),
}
