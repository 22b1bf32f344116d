"""Blobs: bytes in chunks. They are written in small transactions, and published by the one that refers to them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.clock import fixed, seconds_from_now
from worker.records.identifiers import new_id
from worker.records.sessions import Database
from worker.records.tables import Blob, Chunk

CHUNK_BYTES = 4 * 2**20
UNPUBLISHED_SECONDS = 3600
SWEPT_AT_ONCE = 100


def start_blob(session: Session, project_id: str, content: bytes) -> str:
    """Add a blob without its chunks and return its id. It is swept after an hour unless it is published."""
    blob_id = new_id("blb")
    sha256 = hashlib.sha256(content).hexdigest()
    session.execute(
        insert(Blob).values(id=blob_id, project_id=project_id, bytes=len(content), sha256=sha256, published=False)
    )
    return blob_id


def chunks_of(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (position, bytes) of each chunk of the content, at most 4 MiB each."""
    for position, start in enumerate(range(0, len(content), CHUNK_BYTES)):
        yield position, content[start : start + CHUNK_BYTES]


def add_chunk(session: Session, project_id: str, blob_id: str, position: int, content: bytes) -> None:
    session.execute(insert(Chunk).values(blob_id=blob_id, project_id=project_id, position=position, content=content))


def put_blob(session: Session, project_id: str, content: bytes) -> str:
    """Write a whole blob in this transaction and return its id.

    Use it only for content of few chunks, since a long transaction delays other writers.
    """
    blob_id = start_blob(session, project_id, content)
    for position, chunk in chunks_of(content):
        add_chunk(session, project_id, blob_id, position, chunk)
    return blob_id


def put_blobs(session: Session, project_id: str, contents: Sequence[bytes]) -> list[str]:
    """Write published blobs, and return their ids. The same transaction writes the rows that refer to them.

    However many there are, it takes two statements. Each content has one chunk.
    """
    if not contents:
        return []
    ids = [new_id("blb") for _ in contents]
    found = list(zip(ids, contents, strict=True))
    known = {"project_id": project_id, "published": True}
    session.execute(
        insert(Blob),
        [
            known | {"id": blob_id, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for blob_id, content in found
        ],
    )
    chunks = [{"blob_id": blob_id, "position": 0, "content": content} for blob_id, content in found]
    session.execute(insert(Chunk), [{"project_id": project_id} | chunk for chunk in chunks])
    return ids


def write_blob(database: Database, project_id: str, content: bytes) -> str:
    """Write a blob of any size in small transactions and return its id. The caller publishes it."""
    blob_id = database.write(lambda session: start_blob(session, project_id, content))
    for position, chunk in chunks_of(content):
        database.write(partial(_add, project_id, blob_id, position, chunk))
    return blob_id


def _add(project_id: str, blob_id: str, position: int, content: bytes, session: Session) -> None:
    add_chunk(session, project_id, blob_id, position, content)


def publish_blob(session: Session, blob_id: str) -> None:
    """Keep the blob. Call this in the transaction that writes the row that refers to it."""
    session.execute(update(Blob).where(Blob.id == blob_id).values(published=True))


def read_blob(session: Session, blob_id: str) -> bytes:
    """Return the whole content. Raises NotFoundError if any of it is missing or damaged."""
    blob = session.get(Blob, blob_id)
    chunks = session.scalars(select(Chunk.content).where(Chunk.blob_id == blob_id).order_by(Chunk.position))
    content = b"".join(chunks)
    if blob is None or len(content) != blob.bytes or hashlib.sha256(content).hexdigest() != blob.sha256:
        raise NotFoundError(f"blob {blob_id} is missing or damaged")
    return content


def iterate_blob(database: Database, blob_id: str) -> Iterator[bytes]:
    """Yield the content in parts, each read in a transaction of its own.

    Raises NotFoundError for one that is missing or damaged; if only its content is, in place of the last part.
    """

    def read(statement: Select[Any]) -> Any:
        with database.reading() as session:
            return session.scalar(statement)

    return _parts(read, blob_id)


def read_parts(session: Session, blob_id: str) -> Iterator[bytes]:
    """Yield the content in parts, all read in this transaction. Raises NotFoundError as `iterate_blob` does."""
    return _parts(session.scalar, blob_id)


def _parts(read: Callable[[Select[Any]], Any], blob_id: str) -> Iterator[bytes]:
    blob = read(select(Blob).where(Blob.id == blob_id))
    if blob is None:
        raise NotFoundError(f"blob {blob_id} is missing or damaged")
    digest, last = hashlib.sha256(), max(0, -(-blob.bytes // CHUNK_BYTES) - 1)
    for position in range(last + 1):
        content = read(select(Chunk.content).where(Chunk.blob_id == blob_id, Chunk.position == position)) or b""
        digest.update(content)
        if position == last and digest.hexdigest() != blob.sha256:
            raise NotFoundError(f"blob {blob_id} is missing or damaged")
        yield content


def delete_blobs(session: Session, blob_ids: list[str]) -> None:
    session.execute(delete(Chunk).where(Chunk.blob_id.in_(blob_ids)))
    session.execute(delete(Blob).where(Blob.id.in_(blob_ids)))


def sweep_blobs(session: Session) -> int:
    """Delete blobs that were not published within an hour, and return how many."""
    abandoned = select(Blob.id).where(~Blob.published, Blob.created_at < fixed(seconds_from_now(-UNPUBLISHED_SECONDS)))
    # in the order of the index, so that PostgreSQL reads no more of it than it needs
    blob_ids = list(session.scalars(abandoned.order_by(Blob.created_at).limit(SWEPT_AT_ONCE)))
    if blob_ids:
        delete_blobs(session, blob_ids)
    return len(blob_ids)
