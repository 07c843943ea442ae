"""What was deleted, when and by whom."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table of deletions."""
    op.create_table(
        "deletion",
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
