"""The tables of the store and the translation between their rows and log entries.

Every row of a study has a place in its log: `sequence` is 1, 2, ... without a gap over the four tables together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKeyConstraint, MetaData, Row, Table, Text

from curvestop.server.log import Decided, Ended, Entry, Observed, TrialAdded
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.stopping import StoppingRule
from curvestop.srm.study import Question, StudySettings

SCHEMA_VERSION = 1

metadata = MetaData()

schema = Table("curvestop_schema", metadata, Column("version", BigInteger, primary_key=True, autoincrement=False))

studies = Table(
    "studies",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("study", Text, primary_key=True),
    Column("settings", JSON, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
)


def _log_table(name: str, *columns: Column[Any]) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant", Text, primary_key=True),
        Column("study", Text, primary_key=True),
        *columns,
        ForeignKeyConstraint(["tenant", "study"], ["studies.tenant", "studies.study"]),
    )


def _sequence(*, key: bool = False) -> Column[int]:
    return Column("sequence", BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _trial(*, key: bool = True) -> Column[str]:
    return Column("trial", Text, primary_key=key, nullable=False)


trials = _log_table("trials", _trial(), _sequence(), Column("configuration", JSON, nullable=False))

observations = _log_table(
    "observations",
    _trial(),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _sequence(),
    Column("value", Double, nullable=False),
)

decisions = _log_table(
    "decisions",
    _sequence(key=True),
    _trial(key=False),
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
)

finishes = _log_table(
    "finishes", _trial(), _sequence(), Column("state", Text, nullable=False), Column("diverged_at", BigInteger)
)

TABLE_OF: Mapping[type[Entry], Table] = {
    TrialAdded: trials,
    Observed: observations,
    Decided: decisions,
    Ended: finishes,
}


def columns_of(entry: Entry) -> dict[str, Any]:
    """The entry's own columns: all but tenant, study and sequence."""
    match entry:
        case Decided(trial, question, decision):
            prediction = decision.prediction
            return {
                "trial": trial,
                **asdict(question),
                "stop": decision.stop,
                "reason": decision.reason,
                "probability": decision.probability,
                "mean": None if prediction is None else prediction.mean,
                "sigma": None if prediction is None else prediction.sigma,
                "n_curves": decision.n_curves,
                "model_epoch": decision.model_epoch,
            }
        case TrialAdded(trial, configuration):
            return {"trial": trial, "configuration": dict(configuration)}
        case _:
            return dict(vars(entry))


def _decided(row: Row[Any]) -> Decided:
    prediction = None if row.mean is None else Prediction(row.mean, row.sigma)
    decision = Decision(row.stop, row.reason, row.probability, prediction, row.n_curves, row.model_epoch)
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
