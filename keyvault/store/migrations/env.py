"""Alembic runs this file. The connection comes from `keyvault.store.migrating`."""

from alembic import context

from keyvault.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite changes a column by copying its table
)
with context.begin_transaction():
    context.run_migrations()
