"""Brings a database to this version's schema, and checks which schema it has."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from worker.errors import StartError

# an arbitrary number; two upgrades at the same time wait for each other
ADVISORY_LOCK = 7_238_150_941


def upgrade(engine: Engine) -> tuple[str | None, str | None]:
    """Run the missing migrations in one transaction. Return the revisions before (None if no schema existed) and after.

    Raises StartError if the database is of a newer version.
    """
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            # longer than another's migration takes
            connection.execute(text("SET LOCAL lock_timeout = '60s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        _refuse_newer(connection)
        before = MigrationContext.configure(connection).get_current_revision()
        command.upgrade(configuration(connection), "head")
    return before, _scripts().get_current_head()


def check_not_newer(engine: Engine) -> None:
    """Raise StartError if the database has a schema that this version does not know."""
    with engine.connect() as connection:
        _refuse_newer(connection)


def is_current(connection: Connection) -> bool:
    return MigrationContext.configure(connection).get_current_revision() == _scripts().get_current_head()


def configuration(connection: Connection) -> Config:
    """Return Alembic's Config for an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def _refuse_newer(connection: Connection) -> None:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in {script.revision for script in _scripts().walk_revisions()}:
        raise StartError(
            f"the database is at revision {revision}, which this version of gradmill does not know: upgrade gradmill"
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))
