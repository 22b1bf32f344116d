"""Checks before an API or a worker starts: a database with this version's schema, and a shared storage."""

from collections.abc import Callable

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from migrations.schema import check_not_newer, is_current, upgrade
from worker.data.storage import Storage
from worker.errors import StartError
from worker.records.connections import find_room
from worker.records.datasets import newest_storage_keys
from worker.records.sessions import Database
from worker.settings import Settings

log = structlog.get_logger()

WAIT_SECONDS = 3.0
OBJECTS_LOOKED_FOR = 20


def migrate(engine: Engine) -> str:
    """Bring the database to this version's schema. Return a sentence that says what was done. Raises StartError."""
    try:
        before, after = upgrade(engine)
    except SQLAlchemyError as error:
        raise StartError(f"The database can't be used: {type(error).__name__}. Check GRADMILL_DATABASE_URL.") from error
    if before is None:
        return f"Made the schema, revision {after}."
    if before == after:
        return f"The database has this version's schema already, revision {after}."
    return f"Migrated the database from revision {before} to {after}."


def wait_until_usable(settings: Settings, stopped: Callable[[float], bool], *, connections: int) -> bool:
    """Wait until the database answers and has this version's schema. Return False if asked to stop meanwhile.

    The parts of an installation may start in any order, so a line every few seconds says what this waits for.
    connections: how many the process may open to PostgreSQL.
    stopped: waits for the given seconds, and returns whether the process was asked to stop.
    Raises StartError if waiting would not help: the schema is newer than this version, or no broker is named.
    """
    if not settings.redis_url:
        raise StartError("GRADMILL_REDIS_URL must name the broker that all APIs and workers share")
    database = Database(settings.database, pool_size=1)
    try:
        while (obstacle := _obstacle(database.engine)) is not None:
            log.warning("waiting_for_database", why=obstacle)
            if stopped(WAIT_SECONDS):
                return False
        warn_of_few_connections(database, connections)
        _warn_of_missing_bytes(database, Storage(settings.storage))
    finally:
        database.close()
    return True


def _obstacle(engine: Engine) -> str | None:
    """Return why the database can't be used yet; None if it can. Raises StartError."""
    try:
        check_not_newer(engine)
        with engine.connect() as connection:
            if is_current(connection):
                return None
    except SQLAlchemyError as error:
        # a driver's message may have several lines, or none
        cause = next(iter(str(getattr(error, "orig", "")).strip().splitlines()), type(error).__name__)
        return f"the database that GRADMILL_DATABASE_URL names can't be reached: {cause}"
    return "the database has no schema, or an older one: run `gradmill migrate`"


def warn_of_few_connections(database: Database, wanted: int) -> None:
    """Say so in one line if the server of the database has hardly room, or none, for this many more connections."""
    room = find_room(database)
    if room is not None and room.is_scarce(wanted):
        log.warning(
            "few_connections_left",
            max_connections=room.most,
            reserved=room.reserved,
            in_use=room.used,
            this_may_open=wanted,
            advice="raise max_connections of PostgreSQL, put pgbouncer before it, or lower GRADMILL_WORKERS or "
            "GRADMILL_API_CONNECTIONS",
        )


def _warn_of_missing_bytes(database: Database, storage: Storage) -> None:
    """Say so in one line if the newest uploads are not all in this storage: then it is not the one that others use."""
    try:
        with database.reading() as session:
            recorded = newest_storage_keys(session, limit=OBJECTS_LOOKED_FOR)
        missing = [key for key in recorded if not storage.has(key)]
    except Exception as error:  # noqa: BLE001 - each kind of storage has errors of its own; jobs will meet them in words
        log.warning("storage_not_checked", error=repr(error))
        return
    if missing:
        log.warning(
            "storage_not_shared",
            missing=len(missing),
            of=len(recorded),
            example=missing[0],
            advice="point GRADMILL_STORAGE_URL of every API and worker at the same folder or bucket",
        )
