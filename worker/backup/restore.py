"""Restore a backup into an empty database and a storage. What ran when it was made waits to be claimed again."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, inspect, literal, select, text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from migrations.schema import ADVISORY_LOCK, configuration
from worker.backup.back_up import LEFT_OUT
from worker.backup.manifest import OBJECTS, TABLES, Manifest, damaged_files, read_manifest
from worker.backup.moment import revision_of
from worker.backup.objects import has_object, put_object
from worker.backup.rows import insert_rows
from worker.data.storage import Storage
from worker.errors import StartError
from worker.records.clock import seconds_since
from worker.records.holding import release_row
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.lease import release_job
from worker.records.sessions import Database
from worker.records.states import HELD, MOVES
from worker.records.tables import Base, Job, LoginToken, Prediction, Project, StoredObject, UiSession, Worker

RELEASED = {status: moves.expired for status, moves in MOVES.items() if moves.expired is not None}
"The status of a row whose worker is not here: as when its lease expires, but no crash is counted."


@dataclass(frozen=True)
class Restored:
    """What a restore did. released: jobs and predictions that ran when the backup was made. present: objects that the
    storage had already."""

    manifest: Manifest
    released: int
    present: int


def restore(database: Database, storage: Storage, folder: Path, *, lease_seconds: float) -> Restored:
    """Restore a backup. Raises StartError; no row has been written then, and it can be tried again.

    The objects come first, then every row in one transaction. lease_seconds: for how long a worker must have been
    silent to count as stopped.
    """
    manifest = read_manifest(folder)
    with database.engine.connect() as connection:
        _check_target(connection, manifest, lease_seconds)
    check_files(folder, manifest)
    present = _put_objects(storage, folder, manifest)
    released = write_database(database, folder, manifest, lease_seconds=lease_seconds)
    return Restored(manifest, released, present)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises StartError if a file of the backup is not as the manifest says."""
    if damaged := [f"{path} {reason}" for path, reason in damaged_files(folder, manifest)]:
        raise StartError(f"The backup is damaged, and nothing was restored: {'; '.join(damaged)}.")


def write_database(database: Database, folder: Path, manifest: Manifest, *, lease_seconds: float) -> int:
    """Write every row in one transaction, and release the jobs and predictions that ran; return how many there were."""
    with database.engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            # this transaction reads files between its statements; no migration or other restore begins meanwhile
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        command.upgrade(configuration(connection), manifest.revision)
        _lock_tables(connection)
        # once more, now that nobody else can write
        _check_target(connection, manifest, lease_seconds)
        # the first migration made a project; logins of the target are not those of the backup
        for table in (LoginToken, UiSession, Project):
            if inspect(connection).has_table(table.__tablename__):
                connection.execute(delete(table))
        for stored in manifest.tables:
            _insert(connection, stored.name, folder / TABLES / f"{stored.name}.arrows")
        command.upgrade(configuration(connection), "head")
        # what was being written or deleted then may be in use by now, where the storage is the same: leave it unknown
        connection.execute(delete(StoredObject).where(StoredObject.state != "kept"))
        return _release(connection)


def _insert(connection: Connection, table: str, path: Path) -> None:
    try:
        is_same = insert_rows(connection, table, path)
    except (DataError, IntegrityError) as error:
        # the text of these errors would show values
        cause = type(error.orig).__name__
        raise StartError(f"The database does not take the rows of {table}: {cause}. Nothing was restored.") from error
    if not is_same:
        raise StartError(f"The database does not hold the rows of {table} as they were written. Nothing was restored.")


def _lock_tables(connection: Connection) -> None:
    """Keep other writers out until the commit; on SQLite the transaction itself does."""
    if connection.dialect.name == "postgresql":
        ours = set(inspect(connection).get_table_names()) & Base.metadata.tables.keys()
        connection.execute(text(f"LOCK TABLE {', '.join(sorted(ours))} IN EXCLUSIVE MODE"))


def _check_target(connection: Connection, manifest: Manifest, lease_seconds: float) -> None:
    """Raises StartError if the backup can't be restored into this database."""
    known = {script.revision for script in ScriptDirectory.from_config(configuration(connection)).walk_revisions()}
    if manifest.revision not in known:
        raise StartError(f"The backup was made by gradmill {manifest.gradmill}, which is newer: upgrade gradmill.")
    revision = revision_of(connection)
    if revision is None:
        return
    if revision != manifest.revision:
        raise StartError(
            f"The database is at revision {revision}, the backup at {manifest.revision}: restore into a database "
            "without tables, which is then brought to this version's schema."
        )
    if (table := _table_with_rows(connection)) is not None:
        raise StartError(f"The database is not empty: it has rows in {table}. Restore into an empty one.")
    alive = select(Worker.hostname).where(seconds_since(Worker.heartbeat_at) < lease_seconds)
    if (hostname := connection.scalar(alive.limit(1))) is not None:
        raise StartError(f"A worker on {hostname} uses this database: stop it first.")


def _table_with_rows(connection: Connection) -> str | None:
    """Return a table that holds more than a new database does; None if there is none."""
    present = set(inspect(connection).get_table_names()) - LEFT_OUT
    for table in Base.metadata.sorted_tables:
        found = select(literal(1)).select_from(table).limit(1)
        if table.name == Project.__tablename__:
            found = found.where(Project.id != DEFAULT_PROJECT)
        if table.name in present and connection.scalar(found) is not None:
            return table.name
    return None


def _put_objects(storage: Storage, folder: Path, manifest: Manifest) -> int:
    """Store every object that the storage does not have yet; return how many it had."""
    try:
        present = {stored.name for stored in manifest.objects if has_object(storage, stored)}
    except FileExistsError as error:
        raise StartError(f"The storage has other bytes under the key {error}: restore into another one.") from error
    for stored in manifest.objects:
        if stored.name not in present:
            put_object(storage, folder / OBJECTS / stored.name, stored)
    return len(present)


def _release(connection: Connection) -> int:
    """Release the jobs and predictions that ran; return how many. Their workers write into another database.

    The attempt numbers stay, and the next claim raises them.
    """
    with Session(connection) as session:
        jobs = session.scalars(select(Job).where(Job.status.in_(HELD))).all()
        for job in jobs:
            release_job(session, job.id, RELEASED[job.status])
        predictions = session.scalars(select(Prediction).where(Prediction.status.in_(HELD))).all()
        for prediction in predictions:
            release_row(session, Prediction, prediction.id, RELEASED[prediction.status])
        return len(jobs) + len(predictions)
