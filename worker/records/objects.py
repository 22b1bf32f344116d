"""The rows of stored objects: written before the bytes, kept by the row that refers to them, else abandoned."""

from collections.abc import Collection, Sequence
from typing import Literal

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from worker.errors import UnavailableError
from worker.records.clock import seconds_from_now
from worker.records.identifiers import new_id
from worker.records.tables import Dataset, Prediction, StoredObject

State = Literal["writing", "kept", "abandoned"]
"""writing: no row refers to the object yet. kept: one does. abandoned: none will, so its bytes may be deleted.

An object never leaves the state abandoned, and its key is never used again.
"""

WRITING_SECONDS = 3600
"After this long an object that is still being written counts as abandoned: its writer died."


def start_object(
    session: Session, project_id: str, kind: Literal["dst", "prd"], *, content_bytes: int, sha256: str | None = None
) -> str:
    """Add the row of an object whose bytes are about to be written, and return its key, which is a new id."""
    # made here, so that a transaction that is run again adds another row
    key = new_id(kind)
    session.execute(
        insert(StoredObject).values(key=key, project_id=project_id, bytes=content_bytes, sha256=sha256, state="writing")
    )
    return key


def keep_object(session: Session, key: str) -> None:
    """Keep the object. Call this in the transaction that writes the row that refers to it.

    Raises UnavailableError if its bytes took so long that it was abandoned: the whole request must be repeated.
    """
    # it is kept already if the first run of this transaction was committed, and only its answer was lost
    kept = update(StoredObject).where(StoredObject.key == key, StoredObject.state != "abandoned")
    if session.scalar(kept.values(state="kept").returning(StoredObject.key)) is None:
        raise UnavailableError(f"{key} was abandoned: writing it took more than {WRITING_SECONDS} s")


def abandon_objects(session: Session, keys: Collection[str]) -> None:
    """Let the objects be swept. Call this in the transaction that deletes the rows that referred to them."""
    session.execute(update(StoredObject).where(StoredObject.key.in_(keys)).values(state="abandoned"))


def abandon_unfinished(session: Session) -> None:
    """Abandon the objects whose writers have died."""
    started = StoredObject.created_at < seconds_from_now(-WRITING_SECONDS)
    session.execute(update(StoredObject).where(StoredObject.state == "writing", started).values(state="abandoned"))


def abandoned_keys(session: Session, *, after: str, limit: int) -> Sequence[str]:
    """Return the keys of abandoned objects in their order. after: a key; only those behind it."""
    found = select(StoredObject.key).where(StoredObject.state == "abandoned", StoredObject.key > after)
    return session.scalars(found.order_by(StoredObject.key).limit(limit)).all()


def forget_objects(session: Session, keys: Collection[str]) -> None:
    """Delete the rows of abandoned objects whose bytes are gone."""
    session.execute(delete(StoredObject).where(StoredObject.key.in_(keys), StoredObject.state == "abandoned"))


def known_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Return those of the keys that the database knows.

    Besides the rows of objects this looks at what refers to them: a version of gradmill from before these rows may
    still be running beside this one.
    """
    columns = (StoredObject.key, Dataset.storage_key, Prediction.storage_key)
    return {key for column in columns for key in session.scalars(select(column).where(column.in_(keys))) if key}
