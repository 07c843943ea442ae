"""Stopped trials may be resumed: a table for it, and a trial may end more than once."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Text, UniqueConstraint

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table of resumes, and drop the key by which a trial could end only once."""
    key = Column("key", Text, nullable=False)
    # Without row numbers, SQLite stores a table in the order of its primary key.
    op.create_table("resume", *_log_columns(), key, _once("resume", "trial", "key"), sqlite_with_rowid=False)
    # SQLite cannot drop a constraint: Alembic makes the table anew there, as it is written here.
    finish = sa.Table(
        "finish",
        sa.MetaData(),
        *_log_columns(),
        Column("state", Text, nullable=False),
        Column("diverged_at", BigInteger),
        _once("finish", "trial"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("finish", copy_from=finish) as batch:
        batch.drop_constraint("finish_once", type_="unique")


def _log_columns() -> list[sa.Column]:  # type: ignore[type-arg]
    return [
        Column("study", BigInteger, ForeignKey("study.id"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
        Column("trial", Text, nullable=False),
    ]


def _once(table: str, *columns: str) -> UniqueConstraint:
    return UniqueConstraint("study", *columns, name=f"{table}_once")
