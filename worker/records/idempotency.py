"""Requests that were answered once, and are answered alike when they are sent again."""

import hmac
from dataclasses import dataclass

from sqlalchemy.orm import Session

from worker.errors import IdempotencyError
from worker.records.snapshots import Snapshot
from worker.records.tables import IdempotencyKey


@dataclass(frozen=True)
class Request:
    """The client's idempotency key, and what it was sent with. sha256: hex, of the method, path and body."""

    key: str
    sha256: str


def find_answer(session: Session, project_id: str, request: Request) -> Snapshot | None:
    """The answer to an earlier request with this key. Raises IdempotencyError if that was another request."""
    row = session.get(IdempotencyKey, (project_id, request.key))
    if row is None:
        return None
    if not hmac.compare_digest(row.request_sha256, request.sha256):
        raise IdempotencyError("this Idempotency-Key was used with another request")
    answer: Snapshot = row.answer
    return answer


def keep_answer(
    session: Session, project_id: str, request: Request, answer: Snapshot, *, resource_id: str | None = None
) -> None:
    """Keep what is answered, in the transaction that makes it true. resource_id: unless it is the answer's own id."""
    session.add(
        IdempotencyKey(
            project_id=project_id,
            key=request.key,
            request_sha256=request.sha256,
            resource_id=resource_id or answer["id"],
            answer=answer,
        )
    )
