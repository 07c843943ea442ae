"""Migrations: bring a database, empty or of any earlier version, to the tables of this version, in one transaction."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

HEAD = "0006"
"""The revision of this version's tables."""

# The first version did not use Alembic: it kept its number, 1, in this table.
FIRST_VERSION_TABLE = "curvestop_schema"


class UnknownVersion(ValueError):
    """The database has tables of another version of curvestop."""


def migrate(connection: Connection) -> None:
    """Create or upgrade the tables.

    Args:
        connection: A connection with a transaction begun, which holds a lock against other migrations.

    Raises:
        UnknownVersion: If a later version of curvestop made the tables.
    """
    version = _version(connection)
    if version == HEAD:
        return
    from alembic import command  # imported only when there is work to do: it is slow to load
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    # A percent sign in the path would be taken for an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        if version is None and sa.inspect(connection).has_table(FIRST_VERSION_TABLE):
            command.stamp(config, "0001")
        command.upgrade(config, HEAD)
    except CommandError:
        raise _too_new(version) from None


def check_version(connection: Connection) -> None:
    """Check that the tables are those of this version.

    Args:
        connection: Connection to the database.

    Raises:
        UnknownVersion: If another version of curvestop made them, or there are none.
    """
    version = _version(connection)
    if version == HEAD:
        return
    if version is None and not sa.inspect(connection).has_table(FIRST_VERSION_TABLE):
        raise UnknownVersion("the store is not a database of curvestop: it has no table of studies")
    if version is not None and version > HEAD:  # revisions are numbered: 0001, 0002, ...
        raise _too_new(version)
    raise UnknownVersion(f"the store has schema {version or '0001'}, but schema {HEAD} is needed: `curvestop serve` upgrades it")


def _too_new(version: str | None) -> UnknownVersion:
    return UnknownVersion(
        f"the store has schema {version}, but this version of curvestop knows {HEAD} and earlier: upgrade curvestop"
    )


def _version(connection: Connection) -> str | None:
    inspector = sa.inspect(connection)
    if not inspector.has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return version
