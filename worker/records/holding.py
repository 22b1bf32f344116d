"""Rows that one worker at a time works on, jobs and predictions alike: taken, renewed, given up, and freed by others.

These are the statements; what else a change of a job or a prediction means stands in `lease` and `predictions`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Update, select, update
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now
from worker.records.tables import Dataset, Job, Prediction, Weights

Row = TypeVar("Row", Job, Prediction)
Table = type[Job] | type[Prediction]

HELD = ("running", "pausing", "cancelling")
"The states in which a row has an owner; a prediction knows only the first of them."
FINAL = ("succeeded", "failed", "cancelled")
"The states that nothing changes any more."
CRASHES_LIMIT = 3


def take(
    session: Session,
    table: type[Row],
    row_id: str,
    *,
    owner: str,
    pid: int | None,
    lease_seconds: float,
    **values: Any,
) -> Row | None:
    """Take a queued row, under the next attempt; None if it is not queued."""
    queued = update(table).where(table.id == row_id, table.status == "queued")
    row = session.scalars(
        queued.values(
            status="running",
            attempt=table.attempt + 1,
            owner=owner,
            owner_pid=pid,
            lease_until=seconds_from_now(lease_seconds),
            heartbeat_at=now(),
            **values,
        ).returning(table)
    ).one_or_none()
    if row is not None and row.started_at is None:
        row.started_at = now()
        session.flush()
        session.refresh(row, ["started_at"])
    return row


def held_by(table: type[Row], row_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    """The condition of every write and look of an attempt: it still holds the row."""
    return table.id == row_id, table.attempt == attempt, table.status.in_(HELD)


def renewal(table: type[Row], row_id: str, attempt: int, *, lease_seconds: float) -> Update:
    """The statement that renews the lease if it is still held; the caller adds what it sets and returns."""
    return (
        update(table)
        .where(*held_by(table, row_id, attempt))
        .values(lease_until=seconds_from_now(lease_seconds), heartbeat_at=now())
    )


def give_up(session: Session, row: Job | Prediction, status: str, **values: Any) -> None:
    """Nobody's from now on, in this status, with these values. The caller holds the row."""
    row.status = status
    row.owner = row.owner_pid = None
    row.lease_until = None
    if status == "queued":
        row.dispatched_at = now()
    for name, value in values.items():
        setattr(row, name, value)
    if status in FINAL:
        row.finished_at = now()
    session.flush()
    session.refresh(row)


def expire(session: Session, table: Table, *, owner: str, pid: int, crash: str) -> None:
    """End the leases that a worker's process held, now that its parent has seen it die."""
    held = update(table).where(table.owner == owner, table.owner_pid == pid, table.status.in_(HELD))
    session.execute(held.values(lease_until=seconds_from_now(-1), crash=crash))


def holds(session: Session, table: Table, owner: str) -> bool:
    held = select(table.id).where(table.owner == owner, table.status.in_(HELD))
    return session.scalar(held.limit(1)) is not None


def expired(session: Session, table: type[Row], *, after: str, limit: int) -> Sequence[tuple[str, int]]:
    """(id, attempt) of rows whose lease has run out, in order of id."""
    found = select(table.id, table.attempt).where(table.status.in_(HELD), table.lease_until < now(), table.id > after)
    return [(row_id, attempt) for row_id, attempt in session.execute(found.order_by(table.id).limit(limit))]


def held_expired(session: Session, table: type[Row], row_id: str, attempt: int) -> Row | None:
    """The row, held until the commit, if its lease still is expired; None if not, or if another holds it."""
    # the claim's condition again: between the look and this write the worker may have come back
    still = (*held_by(table, row_id, attempt), table.lease_until < now())
    # a worker that froze in the middle of a write has the row locked: the next look tries again, others go on
    if session.scalar(select(table.id).where(*still).with_for_update(skip_locked=True)) is None:
        return None
    return session.scalars(update(table).where(*still).values(heartbeat_at=now()).returning(table)).one_or_none()


def crashed(row: Job | Prediction, crashes: int, done: str, epoch: int | None) -> dict[str, Any]:
    """The error of a row whose workers died too often. done: what none of them came to."""
    message = f"the worker died {crashes} times without {done}"
    message += f", the last time of {row.crash}" if row.crash else ""
    return {"code": "crashed", "message": message, "epoch": epoch}


def undelivered(session: Session, table: Table, *, older_than_seconds: float, limit: int) -> list[str]:
    """Queued rows that were rung for some time ago and that no worker has taken, oldest first."""
    found = select(table.id).where(
        table.status == "queued", table.dispatched_at < seconds_from_now(-older_than_seconds)
    )
    return list(session.scalars(found.order_by(table.id).limit(limit)))


def is_there(session: Session, table: type[Weights] | type[Dataset], row_id: str) -> bool:
    """Whether what a new row will refer to is there, held until the commit against its deletion."""
    held = select(table.id).where(table.id == row_id).with_for_update(read=True, key_share=True)
    return session.scalar(held) is not None
