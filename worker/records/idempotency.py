"""Idempotency keys: a request that is sent again with the same key gets the same answer."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy.orm import Session

from worker.errors import IdempotencyError
from worker.records.snapshots import Snapshot
from worker.records.tables import IdempotencyKey


@dataclass(frozen=True)
class Request:
    """A client's idempotency key and its request. sha256: the digest of method, path and body, in hex."""

    key: str
    sha256: str


class Answered(NamedTuple):
    """An answer.

    replayed: it was stored for an earlier request with the same key.
    new: whether the request created something.
    """

    answer: Snapshot
    replayed: bool = False
    new: bool = True


def answer_once(
    session: Session, project_id: str, request: Request | None, make: Callable[[], tuple[Snapshot, str]]
) -> Answered:
    """Return the answer to an earlier request with this key. If there is none, call `make` and store its answer.

    make: creates a resource in this transaction, and returns the answer and the id of the resource. The stored answer
        is deleted with the resource.
    Raises IdempotencyError if the key was used with another request.
    """
    if request is not None and (earlier := find_answer(session, project_id, request)) is not None:
        return Answered(earlier, replayed=True)
    answer, resource_id = make()
    if request is not None:
        session.add(
            IdempotencyKey(
                project_id=project_id,
                key=request.key,
                request_sha256=request.sha256,
                resource_id=resource_id,
                answer=answer,
            )
        )
    return Answered(answer)


def find_answer(session: Session, project_id: str, request: Request) -> Snapshot | None:
    """Return the answer to an earlier request with this key. Raises IdempotencyError if that was another request."""
    row = session.get(IdempotencyKey, (project_id, request.key))
    if row is None:
        return None
    if not hmac.compare_digest(row.request_sha256, request.sha256):
        raise IdempotencyError("this Idempotency-Key was used with another request")
    answer: Snapshot = row.answer
    return answer
