"""The SQL of leases, for jobs and predictions alike: claim a row, renew its lease, release it, and rescue it.

What else such a change does to a job or to a prediction is in `lease` and in `predictions`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Update, func, literal, or_, select, update
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError
from worker.records.clock import now, seconds_from_now
from worker.records.states import FINAL, HELD, MOVES, Status
from worker.records.tables import Dataset, Job, Prediction, Weights

Row = TypeVar("Row", Job, Prediction)
Table = type[Job] | type[Prediction]

LEASED: tuple[Table, ...] = (Job, Prediction)
CRASHES_LIMIT = 3


def queued(table: Table) -> ColumnElement[bool]:
    """Return the condition of a row that is queued, in the words of the index that has only these rows."""
    # written out, not bound: so PostgreSQL sees in every plan that the partial index has all of these rows
    return table.status == literal("queued", literal_execute=True)


def held(table: Table) -> ColumnElement[bool]:
    """Return the condition of a row that a worker has, in the words of the index that has only these rows."""
    return table.owner.is_not(None)


def waits(table: Table) -> tuple[ColumnElement[bool], ...]:
    """Return the condition of a row that can be claimed now: it is queued, and its rest is over."""
    return queued(table), or_(table.dispatched_at.is_(None), table.dispatched_at <= now())


def oldest_waiting(table: Table) -> Select[Any]:
    """Return the statement that finds the id of the oldest row that can be claimed now."""
    return select(table.id).where(*waits(table)).order_by(table.id).limit(1)


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
    """Claim a queued row for a new attempt, and return it. Return None if there is none.

    row_id: the only row that may be claimed, even while it rests; None: claim the oldest whose rest is over. On
    PostgreSQL a row that another transaction has locked is passed over; on SQLite the caller is the only writer.
    owner: the worker's id. pid: the id of its process. values: other columns to set.
    """
    oldest = oldest_waiting(table).with_for_update(skip_locked=True, key_share=True).scalar_subquery()
    waiting = update(table).where(table.id == (oldest if row_id is None else row_id), table.status == "queued")
    return session.scalars(
        waiting.values(
            status=MOVES["queued"].claimed,
            attempt=table.attempt + 1,
            owner=owner,
            owner_pid=pid,
            lease_until=seconds_from_now(lease_seconds),
            heartbeat_at=now(),
            started_at=func.coalesce(table.started_at, now()),
            **values,
        ).returning(table)
    ).one_or_none()


def is_held(table: type[Row], row_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that an attempt still holds the row, for every read and write of the attempt."""
    return table.id == row_id, table.attempt == attempt, table.status.in_(HELD)


def renewal(table: type[Row], row_id: str, attempt: int, *, lease_seconds: float) -> Update:
    """Return the statement that renews a lease if it is still held. The caller adds other values and what to return."""
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


def release_row(session: Session, table: type[Row], row_id: str, status: Status, **values: Any) -> Row:
    """End the owner's hold on the row, set its status and values, and return it. The caller has locked the row."""
    values = {"owner": None, "owner_pid": None, "lease_until": None} | values
    if status == "queued":
        values = {"dispatched_at": now()} | values
    if status in FINAL:
        values["finished_at"] = now()
    released = update(table).where(table.id == row_id).values(status=status, **values).returning(table)
    return session.scalars(released, execution_options={"populate_existing": True}).one()


def end_leases(session: Session, table: Table, *, owner: str, pid: int, crash: str) -> None:
    """End the leases of a worker's process that has died. crash: how it ended."""
    leases = update(table).where(table.owner == owner, table.owner_pid == pid)
    session.execute(leases.values(lease_until=seconds_from_now(-1), crash=crash))


def expired_rows(session: Session, table: type[Row], *, after: str, limit: int) -> Sequence[tuple[str, int]]:
    """Return (id, attempt) of rows whose lease has expired, in order of id. after: an id; later ones only."""
    found = select(table.id, table.attempt).where(held(table), table.lease_until < now(), table.id > after)
    return [(row_id, attempt) for row_id, attempt in session.execute(found.order_by(table.id).limit(limit))]


def lock_expired(session: Session, table: type[Row], row_id: str, attempt: int) -> Row | None:
    """Lock and return the row if its lease is still expired. Return None if not, or if it is already locked."""
    # check again: the worker may have renewed its lease since the caller looked
    still = (*is_held(table, row_id, attempt), table.lease_until < now())
    # a worker that froze during a write still has the row locked: skip it now, and the next round tries again
    if session.scalar(select(table.id).where(*still).with_for_update(skip_locked=True)) is None:
        return None
    return session.scalars(update(table).where(*still).values(heartbeat_at=now()).returning(table)).one_or_none()


def after_expiry(row: Job | Prediction, *, goal: str, epoch: int | None) -> tuple[Status, dict[str, Any]]:
    """Return the status of a row whose lease has expired, and the values to write with it.

    A row that would be queued again counts the crash, and fails at the third.
    goal: what none of the attempts achieved, for the error.
    epoch: the last epoch of a job, for the error; None for a prediction.
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
    """Return whether a row exists, and keep it from being deleted before the commit. A new row will refer to it."""
    locked = select(table.id).where(table.id == row_id).with_for_update(read=True, key_share=True)
    return session.scalar(locked) is not None
