"""A shadow stop is a column of its own, and settings have the names of today.

Rows of earlier versions marked a shadow stop by how the reason began.
"""

from typing import Any

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
    study = sa.table("study", sa.column("id", sa.BigInteger), sa.column("settings", sa.JSON))
    connection = op.get_bind()
    for row in connection.execute(sa.select(study)).all():
        settings = with_names_of_today(row.settings)
        if settings != row.settings:
            connection.execute(study.update().where(study.c.id == row.id).values(settings=settings))


def with_names_of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """Study settings of an earlier version with the policies' names of this one."""
    name, its = settings.get("policy", "predictive-rank"), settings.get("policy_settings", {})
    policy = _policy_of_today({**its, "name": name})
    direction = {"maximise": "maximize", "minimise": "minimize"}.get(settings["direction"], settings["direction"])
    its_new = {key: value for key, value in policy.items() if key != "name"}
    renamed = {"policy": policy["name"], "policy_settings": its_new} if (policy["name"], its_new) != (name, its) else {}
    return {**settings, "direction": direction, **renamed}


def _policy_of_today(value: Any) -> Any:
    if isinstance(value, list):
        return [_policy_of_today(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _policy_of_today(item) for key, item in value.items()}
    if renamed.get("name") == "watched":
        renamed["name"] = "shadow"
    if renamed.get("name") == "successive-halving" and renamed.get("pool", 1) == 1:
        renamed = {key: item for key, item in renamed.items() if key != "pool"} | {"name": "asha"}
    return renamed
