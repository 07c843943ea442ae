"""Rows are stored in the order of the log and name their study by a number, so restarts read them in one pass."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Integer, Text, UniqueConstraint

revision = "0002"
down_revision = "0001"

DECISION_COLUMNS = "tau, target_epoch, value_to_beat, stop, reason, probability, mean, sigma, n_curves, model_epoch"


def upgrade() -> None:
    """Create the new tables, move all rows, drop the old tables."""
    op.create_table(
        "study",
        # SQLite numbers rows by itself only in a column of type INTEGER.
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("tenant", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("settings", JSON, nullable=False),
        Column("last_sequence", BigInteger, nullable=False),
        UniqueConstraint("tenant", "name", name="study_name"),
    )
    _log_table("trial", Column("configuration", JSON, nullable=False), unique=("trial",))
    _log_table(
        "observation",
        Column("epoch", BigInteger, nullable=False),
        Column("value", Double, nullable=False),
        unique=("trial", "epoch"),
    )
    _log_table(
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
    )
    _log_table("finish", Column("state", Text, nullable=False), Column("diverged_at", BigInteger), unique=("trial",))

    # First the studies, whose new ids the other tables refer to.
    op.execute(
        "INSERT INTO study (tenant, name, settings, last_sequence) "
        "SELECT tenant, study, settings, last_sequence FROM studies ORDER BY tenant, study"
    )
    _move("trials", "trial", "configuration")
    _move("observations", "observation", "epoch, value")
    _move("decisions", "decision", DECISION_COLUMNS)
    _move("finishes", "finish", "state, diverged_at")
    for old in ("trials", "observations", "decisions", "finishes", "studies"):
        op.drop_table(old)
    # The number of the first version, which Alembic's own table replaces.
    op.execute(sa.text("DROP TABLE IF EXISTS curvestop_schema"))


def _log_table(name: str, *columns: sa.Column, unique: tuple[str, ...] = ()) -> None:  # type: ignore[type-arg]
    op.create_table(
        name,
        Column("study", BigInteger, ForeignKey("study.id"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("trial", Text, nullable=False),
        *columns,
        *([UniqueConstraint("study", *unique, name=f"{name}_once")] if unique else []),
        sqlite_with_rowid=False,  # stored in the order of the primary key
    )


# In SQL, so that a large database is not read into memory.
def _move(old: str, new: str, columns: str) -> None:
    op.execute(
        f"INSERT INTO {new} (study, sequence, trial, {columns}) "
        f"SELECT study.id, old.sequence, old.trial, {', '.join(f'old.{column}' for column in columns.split(', '))} "
        f"FROM {old} AS old JOIN study ON study.tenant = old.tenant AND study.name = old.study ORDER BY study.id, old.sequence"
    )
