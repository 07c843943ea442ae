"""The tables of the store, and the translation between their rows and log entries.

A study's log is spread over five tables: `sequence` numbers its entries 1, 2, ... without a gap over all of them together.
`curvestop.server.storage.migrations` creates and changes the tables; this is their state after the last migration.
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

from curvestop.proto import codec
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.report import BracketPosition, Question
from curvestop.srm.settings import StudySettings

metadata = MetaData()

studies = Table(
    "study",
    metadata,
    # SQLite numbers rows by itself only in a column of type INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    # The end of the log. Every append moves it, under the row's lock: so numbers have no gap, and a follower misses nothing.
    Column("last_sequence", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name", name="study_name"),
)


def _log_table(name: str, *columns: Column[Any], unique: tuple[str, ...] = ()) -> Table:
    # The primary key puts rows in the order of the log: appending touches the last page only, and reading is one pass.
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


trials = _log_table(
    "trial", Column("configuration", JSON, nullable=False), Column("bracket", JSON, nullable=True), unique=("trial",)
)

# Observations have no unique key, which took half the time of a commit: the first value of an epoch stays because whoever appends
# has read the whole log, and nobody else can append meanwhile (`Transaction.append`).
observations = _log_table("observation", Column("epoch", BigInteger, nullable=False), Column("value", Double, nullable=False))

# Decisions have no unique key: a question may be asked again after the models have changed.
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
    Column("chance", Double),
)

# Ends have no unique key either: a trial that was resumed ends again.
finishes = _log_table("finish", Column("state", Text, nullable=False), Column("diverged_at", BigInteger))

# A call that is sent twice resumes once, also through two servers: the key decides.
resumes = _log_table("resume", Column("key", Text, nullable=False), unique=("trial", "key"))

# Not part of any log: what was deleted is gone, and this says that it was.
deletions = Table(
    "deletion",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Text, nullable=False),
    Column("deleted_by", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("study", Text, nullable=True),
    Column("trial", Text, nullable=True),
    Column("n_studies", BigInteger, nullable=False),
    Column("n_trials", BigInteger, nullable=False),
    Column("n_entries", BigInteger, nullable=False),
)

# The tables of the log entries, and what makes an entry of a row of each.
TABLE_OF: Mapping[type[Entry], Table] = {
    TrialAdded: trials,
    Observed: observations,
    Decided: decisions,
    Ended: finishes,
    Resumed: resumes,
}


def entry_to_values(entry: Entry, study: int, sequence: int) -> tuple[Any, ...]:
    """Return a log entry as a row of its table, in the form that database drivers take.

    Args:
        entry: The entry.
        study: The study's id.
        sequence: The entry's number, >= 1.

    Returns:
        A value for each column of `TABLE_OF[type(entry)]`, in order.
    """
    match entry:
        case Observed(trial, epoch, value):
            return study, sequence, trial, epoch, value
        case Decided(trial, question, decision):
            # Both are NULL, or neither.
            mean, sigma = decision.prediction or (None, None)
            return (
                study, sequence, trial, question.tau, question.target_epoch, question.value_to_beat,
                decision.stop, decision.reason, decision.probability, mean, sigma, decision.n_curves, decision.model_epoch,
                decision.would_stop,
                decision.chance,
            )  # fmt: skip
        case TrialAdded(trial, configuration, bracket):
            return study, sequence, trial, json.dumps(dict(configuration)), bracket_to_json(bracket)
        case Ended(trial, state, diverged_at):
            return study, sequence, trial, state, diverged_at
        case Resumed(trial, key):
            return study, sequence, trial, key


def _decided(row: Row[Any]) -> Decided:
    prediction = None if row.mean is None else Prediction(row.mean, row.sigma)
    decision = Decision(
        row.stop,
        row.reason,
        row.probability,
        prediction,
        row.n_curves,
        row.model_epoch,
        would_stop=row.would_stop,
        chance=row.chance,
    )
    return Decided(row.trial, Question(row.tau, row.target_epoch, row.value_to_beat), decision)


DECODERS: Mapping[Table, Callable[[Row[Any]], Entry]] = {
    trials: lambda row: TrialAdded(row.trial, row.configuration, _bracket(row.bracket)),
    observations: lambda row: Observed(row.trial, row.epoch, row.value),
    decisions: _decided,
    finishes: lambda row: Ended(row.trial, row.state, row.diverged_at),
    resumes: lambda row: Resumed(row.trial, row.key),
}


def bracket_to_json(bracket: BracketPosition | None) -> str | None:
    """Return a bracket position as JSON text; None stays None."""
    return None if bracket is None else json.dumps([bracket.iteration, bracket.s, bracket.rungs])


def bracket_from_json(text: str | None) -> BracketPosition | None:
    """Return the bracket position of a JSON text.

    Args:
        text: What `bracket_to_json` returned; None outside Hyperband.

    Returns:
        The position; None for None.

    Raises:
        ValueError: If the text is no bracket position.
    """
    return None if text is None else _bracket(json.loads(text))


def _bracket(stored: Any) -> BracketPosition | None:
    if stored is None:
        return None
    try:
        # As the driver decoded it: JSON has lists where a rung was a tuple.
        iteration, s, rungs = stored
        return BracketPosition(int(iteration), int(s), tuple((int(n), int(epochs)) for n, epochs in rungs))
    except (TypeError, ValueError):
        raise ValueError(f"stored bracket {stored!r} is not understood") from None


def settings_to_json(settings: StudySettings) -> dict[str, Any]:
    """Return study settings in a form that JSON can hold."""
    return asdict(settings)  # the rule within it becomes a dict too


def settings_from_json(stored: Mapping[str, Any]) -> StudySettings:
    """Return the study settings that `settings_to_json` gave; settings that it lacks get their defaults.

    Args:
        stored: What was stored.

    Raises:
        ValueError: If this version of curvestop does not know some of the settings, or no client could be sent them.
    """
    try:
        # Before there were policies, studies had the rank policy.
        settings = StudySettings(**{"policy": "predictive-rank", **stored, "rule": StoppingRule(**stored["rule"])})
        _check_that_clients_can_have(settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this version of curvestop does not understand the stored study settings {stored!r}: {error}") from None
    return settings


def _check_that_clients_can_have(settings: StudySettings) -> None:
    """Refuse what no call could have created: one study that cannot be sent would fail each listing of all."""
    try:
        codec.settings_to_proto(settings)
    except ValueError as error:
        raise ValueError(f"study settings must have numbers of at most 64 bits and valid Unicode: {error}") from None
