"""The script that Alembic runs: it applies the migrations on the connection that `migrate` gave it."""

from alembic import context

# All revisions in the one transaction of the caller: if any fails, the tables stay as they were.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
