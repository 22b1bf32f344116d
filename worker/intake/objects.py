"""Stored objects as the database knows them: written after their rows, swept when abandoned, else left alone."""

import math
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Literal

import structlog

from worker.data.storage import Storage
from worker.errors import StorageFullError, UnavailableError
from worker.records.objects import (
    abandon_objects,
    abandon_unfinished,
    abandoned_keys,
    forget_objects,
    known_keys,
    start_object,
)
from worker.records.sessions import Database, is_disk_full

log = structlog.get_logger()

SWEEP_SECONDS = 2.0
SWEPT_AT_ONCE = 100
ASKED_AT_ONCE = 500
COUNTED = 1000
LOOK_SECONDS = 60.0


def write_object(
    database: Database,
    storage: Storage,
    project_id: str,
    kind: Literal["dst", "prd"],
    content: bytes,
    *,
    sha256: str | None = None,
) -> str:
    """Write an object, its row first, and return its key. Unless it is kept, it is swept after an hour.

    Raises StorageFullError and UnavailableError.
    """
    size = len(content)
    try:
        key = database.write(lambda session: start_object(session, project_id, kind, content_bytes=size, sha256=sha256))
    except UnavailableError as error:
        # on one machine both are on one disk
        if is_disk_full(error):
            raise StorageFullError("there is no room left for uploads") from error
        raise
    storage.write(key, content)
    return key


def discard_object(database: Database, storage: Storage, key: str) -> None:
    """Delete an object that was written for nothing. What fails of it, and the row, is left to a sweep."""
    with suppress(UnavailableError):
        database.write(lambda session: abandon_objects(session, [key]))
        delete_bytes(storage, key)


def sweep_objects(database: Database, storage: Storage, *, seconds: float = SWEEP_SECONDS) -> int:
    """Delete the abandoned objects, the bytes before the row, and return how many.

    seconds: look for no more of them after this long.
    An object without a row is never deleted: this may be an empty or an older database beside a full storage.
    """
    database.write(abandon_unfinished)
    ends = time.monotonic() + seconds
    swept, after = 0, ""
    while time.monotonic() < ends:
        with database.reading() as session:
            keys = abandoned_keys(session, after=after, limit=SWEPT_AT_ONCE)
        if not keys:
            break
        deleted = [key for key in keys if delete_bytes(storage, key)]
        database.write(partial(forget_objects, keys=deleted))
        swept, after = swept + len(deleted), keys[-1]
    return swept


def delete_bytes(storage: Storage, key: str) -> bool:
    """Delete the bytes of an abandoned object, and return whether they are gone. What fails is logged."""
    try:
        storage.delete(key)
    except Exception as error:  # noqa: BLE001 - each kind of storage has errors of its own; the next sweep tries again
        log.warning("object_not_deleted", key=key, error=repr(error))
        return False
    return True


def unknown_objects(database: Database, storage: Storage, *, limit: int | None = None) -> list[str]:
    """Return the keys of stored objects that the database does not know, in their order. Nothing is deleted.

    limit: how many to find at most; None: all.
    """
    # the storage before the database: an object's row is older than its bytes
    stored = sorted(storage.list_keys())
    unknown: list[str] = []
    for start in range(0, len(stored), ASKED_AT_ONCE):
        batch = stored[start : start + ASKED_AT_ONCE]
        with database.reading() as session:
            known = known_keys(session, batch)
        unknown += [key for key in batch if key not in known]
        if limit is not None and len(unknown) >= limit:
            break
    if not unknown:
        return []
    # an object that was deleted meanwhile lost its row too
    still_stored = set(storage.list_keys())
    return [key for key in unknown if key in still_stored][:limit]


class UnknownCount:
    """How many stored objects the database does not know. A process looks at most once in LOOK_SECONDS."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database, self._storage = database, storage
        self._lock = threading.Lock()
        self._count: int | None = None
        self._looked_at = -math.inf

    def read(self) -> int | None:
        """Return the count, at most COUNTED; None if the storage can't be listed, or is being listed the first time."""
        # a storage that is slow to list holds up one caller only
        if self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._looked_at >= LOOK_SECONDS:
                    self._count = self._look()
                    self._looked_at = time.monotonic()
            finally:
                self._lock.release()
        return self._count

    def _look(self) -> int | None:
        try:
            return len(unknown_objects(self._database, self._storage, limit=COUNTED))
        except Exception as error:  # noqa: BLE001 - each kind of storage has errors of its own; the other figures are shown
            log.warning("storage_not_listed", error=repr(error))
            return None
