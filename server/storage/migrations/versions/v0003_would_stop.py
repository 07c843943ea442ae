"""Shadow stops and brackets get a column each, and study settings get this version's names.

Earlier versions marked a shadow stop only by how its reason began.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

PREFIXES = ("shadow mode, would have stopped: ", "held out, would have stopped: ")


def upgrade() -> None:
    """Add the columns, mark the shadow stops, then rename policies and directions in all study settings."""
    op.add_column("decision", sa.Column("would_stop", sa.Boolean, nullable=False, server_default=sa.false()))
    decision = sa.table("decision", sa.column("reason", sa.Text), sa.column("would_stop", sa.Boolean))
    begins = sa.or_(*(decision.c.reason.startswith(prefix, autoescape=True) for prefix in PREFIXES))
    op.execute(decision.update().where(begins).values(would_stop=sa.true()))
    op.add_column("decision", sa.Column("chance", sa.Double, nullable=True))
    op.add_column("trial", sa.Column("bracket", sa.JSON, nullable=True))
    study = sa.table("study", sa.column("id", sa.BigInteger), sa.column("settings", sa.JSON))
    connection = op.get_bind()
    for row in connection.execute(sa.select(study)).all():
        settings = with_current_names(row.settings)
        if settings != row.settings:
            connection.execute(study.update().where(study.c.id == row.id).values(settings=settings))


def with_current_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Return study settings of an earlier version with this version's names of policies and directions.

    Args:
        settings: Settings as they are stored.
    """
    name, options = settings.get("policy", "predictive-rank"), settings.get("policy_settings", {})
    policy = _with_current_policy_names({**options, "name": name})
    direction = {"maximise": "maximize", "minimise": "minimize"}.get(settings["direction"], settings["direction"])
    new_options = {key: value for key, value in policy.items() if key != "name"}
    # Settings without a policy get the one that was the default then: a study is decided by one policy all along.
    return {**settings, "direction": direction, "policy": policy["name"], "policy_settings": new_options}


def _with_current_policy_names(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_current_policy_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    # The ranking of "risk" and "saving" was called their place.
    renamed = {"ranking" if key == "place" else key: _with_current_policy_names(item) for key, item in value.items()}
    if renamed.get("name") == "watched":
        renamed["name"] = "shadow"
    # With a pool of 1 the two names were one rule; with a larger pool only "successive-halving" is.
    if renamed.get("name") == "successive-halving" and renamed.get("pool", 1) == 1:
        renamed = {key: item for key, item in renamed.items() if key != "pool"} | {"name": "asha"}
    return renamed
