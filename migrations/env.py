"""The script that Alembic runs. The connection, in an open transaction, comes from `migrations.schema`."""

from alembic import context

from worker.records.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
