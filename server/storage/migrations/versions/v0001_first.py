"""The tables of the first version: a row for each log entry, keyed by tenant, study and trial."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKeyConstraint, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "studies",
        Column("tenant", Text, primary_key=True),
        Column("study", Text, primary_key=True),
        Column("settings", JSON, nullable=False),
        Column("last_sequence", BigInteger, nullable=False),
    )
    _log_table("trials", _trial(), _sequence(), Column("configuration", JSON, nullable=False))
    _log_table(
        "observations",
        _trial(),
        Column("epoch", BigInteger, primary_key=True, autoincrement=False),
        _sequence(),
        Column("value", Double, nullable=False),
    )
    _log_table(
        "decisions",
        # A question may be asked again, so trial and epoch do not tell decisions apart.
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
    _log_table("finishes", _trial(), _sequence(), Column("state", Text, nullable=False), Column("diverged_at", BigInteger))


# Written out here, not imported from schema.py: a revision must give the same tables whatever comes later.
def _log_table(name: str, *columns: sa.Column) -> None:  # type: ignore[type-arg]
    op.create_table(
        name,
        Column("tenant", Text, primary_key=True),
        Column("study", Text, primary_key=True),
        *columns,
        # Names as keys; the next revision gave studies a number, which takes less space in every row.
        ForeignKeyConstraint(["tenant", "study"], ["studies.tenant", "studies.study"]),
    )


def _sequence(*, key: bool = False) -> sa.Column[int]:
    return Column("sequence", BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _trial(*, key: bool = True) -> sa.Column[str]:
    return Column("trial", Text, primary_key=key, nullable=False)
