"""Migrations: submit a database, empty or of any earlier version, to the tables of this one, in one transaction."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

HEAD = "0003"
BEFORE_ALEMBIC = "curvestop_schema"  # the table in which the first version kept its number, 1


class UnknownVersion(ValueError):
    """Another version of curvestop made the database."""


def migrate(connection: Connection) -> None:
    """Make or upgrade the tables. The caller holds a lock against others who do, and a transaction.

    Raises UnknownVersion when a later version of curvestop was here before.
    """
    version = _version(connection)
    if version == HEAD:
        return
    from alembic import command  # imported when there is work: it is slow to load
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        if version is None and sa.inspect(connection).has_table(BEFORE_ALEMBIC):
            command.stamp(config, "0001")
        command.upgrade(config, HEAD)
    except CommandError:
        raise UnknownVersion(f"the store has schema {version}, but this version of curvestop knows {HEAD} and earlier") from None


def check(connection: Connection) -> None:
    """Raises UnknownVersion unless the tables are those of this version."""
    version = _version(connection)
    if version != HEAD:
        raise UnknownVersion(f"the store has schema {version}, but this needs {HEAD}: `curvestop serve` upgrades it")


def _version(connection: Connection) -> str | None:
    inspector = sa.inspect(connection)
    if not inspector.has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return version
