"""Rows that one worker at a time works on, both jobs and predictions: claimed, renewed, released and rescued.

These are the statements. What else a change means for a job or a prediction is in `lease` and `predictions`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Update, literal, or_, select, update
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError
from worker.records.clock import now, seconds_from_now
from worker.records.states import FINAL, HELD, MOVES, Status
from worker.records.tables import Dataset, Job, Prediction, Weights

Row = TypeVar("Row", Job, Prediction)
Table = type[Job] | type[Prediction]

LEASED: tuple[Table, ...] = (Job, Prediction)
CRASHES_LIMIT = 3


def oldest_waiting(table: Table) -> Select[Any]:
    """Return the statement that finds the id of the oldest queued row whose rest is over."""
    # written out, not bound: so PostgreSQL sees in every plan that the partial index has all of these rows
    queued = table.status == literal("queued", literal_execute=True)
    rested = or_(table.dispatched_at.is_(None), table.dispatched_at <= now())
    return select(table.id).where(queued, rested).order_by(table.id).limit(1)


def claim_row(
    session: Session,
    table: type[Row],
    row_id: str | None,
    *,
    owner: str,
    pid: int | None,
    lease_seconds: float,
    **values: Any,
) -> Row | None:
    """Claim a queued row under the next attempt; return None if there is none.

    row_id: claim this row only, even while it rests; None: the oldest one whose rest is over. On PostgreSQL a row that
    another transaction has locked is passed over; on SQLite the caller is the only writer.
    """
    oldest = oldest_waiting(table).with_for_update(skip_locked=True, key_share=True).scalar_subquery()
    queued = update(table).where(table.id == (oldest if row_id is None else row_id), table.status == "queued")
    row = session.scalars(
        queued.values(
            status=MOVES["queued"].claimed,
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


def is_held(table: type[Row], row_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    """Return the condition of every read and write of an attempt: it still holds the row."""
    return table.id == row_id, table.attempt == attempt, table.status.in_(HELD)


def renewal(table: type[Row], row_id: str, attempt: int, *, lease_seconds: float) -> Update:
    """Return the statement that renews a lease that is still held; the caller adds what it sets and returns."""
    return (
        update(table)
        .where(*is_held(table, row_id, attempt))
        .values(lease_until=seconds_from_now(lease_seconds), heartbeat_at=now())
    )


def read_held_status(session: Session, table: type[Row], row_id: str, attempt: int) -> Status:
    """Return the status of a row that this attempt holds, without a write. Raises LeaseLostError."""
    status = session.scalar(select(table.status).where(*is_held(table, row_id, attempt)))
    if status is None:
        raise lease_lost(row_id, attempt)
    return status


def lease_lost(row_id: str, attempt: int) -> LeaseLostError:
    return LeaseLostError(f"attempt {attempt} no longer holds {row_id}")


def release_row(session: Session, row: Job | Prediction, status: Status, **values: Any) -> None:
    """Take the row from its owner, with this status and these values. The caller has locked the row."""
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


def end_leases(session: Session, table: Table, *, owner: str, pid: int, crash: str) -> None:
    """End the leases of a worker's process that its parent has seen die."""
    held = update(table).where(table.owner == owner, table.owner_pid == pid, table.status.in_(HELD))
    session.execute(held.values(lease_until=seconds_from_now(-1), crash=crash))


def expired_rows(session: Session, table: type[Row], *, after: str, limit: int) -> Sequence[tuple[str, int]]:
    """Return (id, attempt) of the rows whose lease has expired, in order of id. after: an id; only later ones."""
    found = select(table.id, table.attempt).where(table.status.in_(HELD), table.lease_until < now(), table.id > after)
    return [(row_id, attempt) for row_id, attempt in session.execute(found.order_by(table.id).limit(limit))]


def lock_expired(session: Session, table: type[Row], row_id: str, attempt: int) -> Row | None:
    """Lock and return the row if its lease is still expired; return None if not, or if another has locked it."""
    # the condition again: since the caller looked, the worker may have renewed its lease
    still = (*is_held(table, row_id, attempt), table.lease_until < now())
    # a worker that froze in the middle of a write has the row locked: the next look tries again, others go on
    if session.scalar(select(table.id).where(*still).with_for_update(skip_locked=True)) is None:
        return None
    return session.scalars(update(table).where(*still).values(heartbeat_at=now()).returning(table)).one_or_none()


def after_expiry(row: Job | Prediction, *, goal: str, epoch: int | None) -> tuple[Status, dict[str, Any]]:
    """Return the status of a row whose lease has expired, and the values to write with it.

    A row that would wait again counts the crash; at the third it fails. goal: what none of its workers reached.
    epoch: the last epoch of a job, for the error.
    """
    status = MOVES[row.status].expired
    if status is None:
        raise ValueError(f"a row that is {row.status} has no lease")
    if status != "queued":
        return status, {}
    crashes = row.crashes + 1
    if crashes < CRASHES_LIMIT:
        return status, {"crashes": crashes}
    message = f"the worker died {crashes} times without {goal}"
    message += f", the last time of {row.crash}" if row.crash else ""
    return "failed", {"crashes": crashes, "error": {"code": "crashed", "message": message, "epoch": epoch}}


def lock_reference(session: Session, table: type[Weights] | type[Dataset], row_id: str) -> bool:
    """Return whether a row that a new row will refer to exists. It can't be deleted before the commit."""
    locked = select(table.id).where(table.id == row_id).with_for_update(read=True, key_share=True)
    return session.scalar(locked) is not None
