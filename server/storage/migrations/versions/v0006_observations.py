"""Observations have no key by trial and epoch any more: it took most of the time of a commit and a third of the file."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, Double, ForeignKey, Text, UniqueConstraint

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Drop the key. Whoever appends knows the whole log, under a lock, so no value is stored twice."""
    # SQLite cannot drop a constraint: Alembic makes the table anew there, as it is written here.
    observation = sa.Table(
        "observation",
        sa.MetaData(),
        Column("study", BigInteger, ForeignKey("study.id"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("trial", Text, nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("value", Double, nullable=False),
        UniqueConstraint("study", "trial", "epoch", name="observation_once"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("observation", copy_from=observation) as batch:
        batch.drop_constraint("observation_once", type_="unique")
