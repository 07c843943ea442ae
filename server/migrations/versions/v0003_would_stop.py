"""A shadow stop is a column of its own: rows of earlier versions marked it by how the reason began."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

PREFIXES = ("shadow mode, would have stopped: ", "held out, would have stopped: ")


def upgrade() -> None:
    op.add_column("decision", sa.Column("would_stop", sa.Boolean, nullable=False, server_default=sa.false()))
    decision = sa.table("decision", sa.column("reason", sa.Text), sa.column("would_stop", sa.Boolean))
    begins = sa.or_(*(decision.c.reason.startswith(prefix, autoescape=True) for prefix in PREFIXES))
    op.execute(decision.update().where(begins).values(would_stop=sa.true()))
