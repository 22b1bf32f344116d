"""The objects of the storage that rows name: uploaded tables, and the results of predictions."""

import hashlib
import io
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from worker.backup.manifest import Stored
from worker.data.storage import Storage
from worker.records.tables import Dataset, Prediction

PART_BYTES = 2**20
ASKED_AT_ONCE = 500


@dataclass(frozen=True)
class Named:
    """An object, by the row that names it. sha256: None for the result of a prediction, whose row has none."""

    key: str
    bytes: int
    sha256: str | None

    def difference(self, found: Stored) -> str | None:
        """Return how an object differs from what its row says; None if it does not."""
        if found.bytes != self.bytes:
            return f"has {found.bytes} bytes; its row says {self.bytes}"
        if self.sha256 not in (None, found.sha256):
            return "differs from the sha256 in its row"
        return None


def named_objects(connection: Connection) -> Iterator[Named]:
    """Yield every object that a row names."""
    for row in connection.execute(select(Dataset.storage_key, Dataset.bytes, Dataset.sha256)):
        yield Named(*row)
    # a schema from before whole tables were predicted has no such rows
    if inspect(connection).has_table(Prediction.__tablename__):
        results = select(Prediction.storage_key, Prediction.result_bytes).where(Prediction.storage_key.is_not(None))
        for key, size in connection.execute(results):
            yield Named(str(key), size or 0, None)


def still_named(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return those of the keys that a row names."""
    return {named.key for named in named_objects(connection) if named.key in keys}


def read_object(storage: Storage, key: str, keep: Callable[[bytes], object] = lambda _part: None) -> Stored:
    """Read an object, a part at a time, for its size and sha256. keep: called with each part.

    Raises FileNotFoundError.
    """
    digest, size = hashlib.sha256(), 0
    with storage.open(key) as source:
        while part := source.read(PART_BYTES):
            digest.update(part)
            size += len(part)
            keep(part)
    return Stored(name=key, bytes=size, sha256=digest.hexdigest())


def copy_object(storage: Storage, key: str, path: Path) -> Stored:
    """Copy an object into a file, durable when it returns. Raises FileNotFoundError."""
    with path.open("wb") as file:
        found = read_object(storage, key, file.write)
        file.flush()
        os.fsync(file.fileno())
    return found


def has_object(storage: Storage, known: Stored) -> bool:
    """Return whether the storage has just this object. Raises FileExistsError if it has another one under its key."""
    try:
        found = read_object(storage, known.name)
    except FileNotFoundError:
        return False
    if found != known:
        raise FileExistsError(known.name)
    return True


def put_object(storage: Storage, path: Path, known: Stored) -> None:
    """Store a file as an object, which has its key only once it is whole.

    Raises OSError if what was written can't be read back.
    """
    coming = f"restoring-{known.name}"
    with path.open("rb") as source, storage.open(coming, "wb") as target:
        while part := source.read(PART_BYTES):
            target.write(part)
        target.flush()
        # the rows are committed after it; a bucket's file has no descriptor and is durable once it is closed
        with suppress(io.UnsupportedOperation, AttributeError):
            os.fsync(target.fileno())
    if read_object(storage, coming) != known.model_copy(update={"name": coming}):
        raise OSError(f"{known.name} can't be read back from the storage as it was written")
    storage.rename(coming, known.name)
