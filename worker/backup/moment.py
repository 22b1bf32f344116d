"""One moment of a database, read for as long as it takes while others write."""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from migrations.schema import check_not_newer
from worker.errors import StartError
from worker.records.sessions import Database, make_engine

LOCKED_SECONDS = 60


@contextmanager
def moment(database: Database, folder: Path | None = None) -> Iterator[Connection]:
    """Yield a connection all of whose queries see the same moment.

    folder: where SQLite's copy is kept meanwhile; None for the system's folder of temporary files.
    """
    if database.engine.dialect.name == "sqlite":
        with _copied(database, folder) as connection:
            yield connection
        return
    with database.engine.connect() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # the reader may be busy with its own disk between two batches
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


@contextmanager
def _copied(database: Database, folder: Path | None) -> Iterator[Connection]:
    """Copy the database and connect to the copy: without WAL a reader of SQLite keeps every writer waiting.

    The copy is made in one step. In several it would begin again at each write of another process, and never end.
    Raises StartError if a writer keeps the database locked.
    """
    until = time.monotonic() + LOCKED_SECONDS

    def give_up_late(status: int, _remaining: int, _total: int) -> None:
        # without this it would try for ever
        if status == sqlite3.SQLITE_BUSY and time.monotonic() > until:
            raise StartError(f"The database was locked by a writer for {LOCKED_SECONDS} s: try again.")

    with tempfile.TemporaryDirectory(dir=folder, prefix="moment-") as copies:
        copy = Path(copies) / "gradmill.db"
        with (
            closing(sqlite3.connect(str(database.engine.url.database))) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target, progress=give_up_late)
        engine = make_engine(f"sqlite:///{copy}")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def check_there(database: Database) -> None:
    """Raises StartError if there is no database of ours, or one of a version that this code does not know."""
    path = database.engine.url.database
    # to look into a file of SQLite that is not there would make it
    if database.engine.dialect.name == "sqlite" and not Path(str(path)).exists():
        raise StartError(f"There is no database at {path}.")
    check_not_newer(database.engine)
    with database.engine.connect() as connection:
        if revision_of(connection) is None:
            raise StartError("The database has no tables of gradmill's.")


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the database's schema; None if it has none of ours."""
    return MigrationContext.configure(connection).get_current_revision()
