"""The tables of the store and the translation between their rows and log entries.

Every row of a study has a place in its log: `sequence` is 1, 2, ... without a gap over the four tables together. The tables
are made, and changed, by `curvestop.server.storage.migrations`; here is what the last of them leaves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
)

from curvestop.server.studies.log_replay import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.study import Question, StudySettings

metadata = MetaData()

studies = Table(
    "study",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name", name="study_name"),
)


def _log_table(name: str, *columns: Column[Any], unique: tuple[str, ...] = ()) -> Table:
    """Rows lie in the order of the log, so appending touches the last page and reading is one pass."""
    return Table(
        name,
        metadata,
        Column("study", BigInteger, ForeignKey("study.id"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("trial", Text, nullable=False),
        *columns,
        *([UniqueConstraint("study", *unique, name=f"{name}_once")] if unique else []),
        sqlite_with_rowid=False,
    )


trials = _log_table("trial", Column("configuration", JSON, nullable=False), unique=("trial",))

observations = _log_table(
    "observation",
    Column("epoch", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    unique=("trial", "epoch"),
)

decisions = _log_table(
    "decision",
    Column("tau", BigInteger, nullable=False),
    Column("target_epoch", BigInteger, nullable=False),
    Column("value_to_beat", Double),
    Column("stop", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("probability", Double),
    Column("mean", Double),
    Column("sigma", Double),
    Column("n_curves", BigInteger, nullable=False),
    Column("model_epoch", BigInteger, nullable=False),
    Column("would_stop", Boolean, nullable=False),
)

finishes = _log_table("finish", Column("state", Text, nullable=False), Column("diverged_at", BigInteger), unique=("trial",))

TABLE_OF: Mapping[type[Entry], Table] = {
    TrialAdded: trials,
    Observed: observations,
    Decided: decisions,
    Ended: finishes,
}


def row_of(entry: Entry, study: int, sequence: int) -> tuple[Any, ...]:
    """The entry as a row of its table, as a driver takes it."""
    match entry:
        case Observed(trial, epoch, value):
            return study, sequence, trial, epoch, value
        case Decided(trial, question, decision):
            mean, sigma = decision.prediction or (None, None)
            return (
                study, sequence, trial, *_asked(question), decision.stop, decision.reason, decision.probability, mean, sigma,
                decision.n_curves, decision.model_epoch, decision.would_stop,
            )  # fmt: skip
        case TrialAdded(trial, configuration):
            return study, sequence, trial, json.dumps(dict(configuration))
        case Ended(trial, state, diverged_at):
            return study, sequence, trial, state, diverged_at


def _asked(question: Question) -> tuple[int, int, float | None]:
    return question.tau, question.target_epoch, question.value_to_beat


def _decided(row: Row[Any]) -> Decided:
    prediction = None if row.mean is None else Prediction(row.mean, row.sigma)
    decision = Decision(
        row.stop, row.reason, row.probability, prediction, row.n_curves, row.model_epoch, would_stop=row.would_stop
    )
    return Decided(row.trial, Question(row.tau, row.target_epoch, row.value_to_beat), decision)


ENTRY_OF: Mapping[Table, Callable[[Row[Any]], Entry]] = {
    trials: lambda row: TrialAdded(row.trial, row.configuration),
    observations: lambda row: Observed(row.trial, row.epoch, row.value),
    decisions: _decided,
    finishes: lambda row: Ended(row.trial, row.state, row.diverged_at),
}


def settings_to_json(settings: StudySettings) -> dict[str, Any]:
    return asdict(settings)


def settings_from_json(stored: Mapping[str, Any]) -> StudySettings:
    """Raises ValueError when this version does not know what is stored."""
    try:
        return StudySettings(**{**stored, "rule": StoppingRule(**stored["rule"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"stored study settings {stored!r} are not understood: {error}") from None
