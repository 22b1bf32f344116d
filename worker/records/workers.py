"""Workers' signs of life, and the state of the queue that they share."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now, seconds_since
from worker.records.holding import LEASED, end_leases
from worker.records.states import HELD
from worker.records.tables import Worker

FORGOTTEN_SECONDS = 86_400


@dataclass(frozen=True)
class QueueFigures:
    """Figures of jobs and predictions together.

    depth: how many are queued.
    oldest_seconds: the age of the oldest of these; None if none is queued.
    running: how many are held by a worker.
    """

    depth: int
    oldest_seconds: float | None
    running: int


def beat(session: Session, worker_id: str, *, hostname: str, pid: int, processes: int, version: str) -> None:
    """Record that this worker is alive, and forget workers that have been silent for a day."""
    row = session.get(Worker, worker_id)
    if row is None:
        session.add(Worker(id=worker_id, hostname=hostname, pid=pid, processes=processes, version=version))
    else:
        row.heartbeat_at = now()
    session.execute(delete(Worker).where(Worker.heartbeat_at < seconds_from_now(-FORGOTTEN_SECONDS)))


def leave(session: Session, worker_id: str) -> None:
    session.execute(delete(Worker).where(Worker.id == worker_id))


def list_workers(session: Session) -> list[tuple[Worker, float]]:
    """Return each worker with the seconds since its last sign of life."""
    rows = session.execute(select(Worker, seconds_since(Worker.heartbeat_at)).order_by(Worker.id))
    return [(worker, seconds) for worker, seconds in rows]


def queue_figures(session: Session) -> QueueFigures:
    """Return the figures of jobs and predictions together: an autoscaler needs both."""
    depth = running = 0
    oldest: list[float] = []
    for table in LEASED:
        waiting = select(func.count(), func.max(seconds_since(table.created_at))).where(table.status == "queued")
        count, age = session.execute(waiting).one()
        depth += count
        oldest += [age] if age is not None else []
        running += session.scalar(select(func.count()).where(table.status.in_(HELD))) or 0
    return QueueFigures(depth, max(oldest, default=None), running)


def waiting_rows(session: Session) -> int:
    """Return how many jobs and predictions are queued. The broker should have as many messages."""
    counts = [select(func.count()).select_from(table).where(table.status == "queued") for table in LEASED]
    return sum(session.scalar(count) or 0 for count in counts)


def undelivered(session: Session, *, older_than_seconds: float, limit: int) -> list[str]:
    """Return the ids of jobs and predictions that are still queued some time after a worker was rung for them.

    They are in the order of their ids, jobs first.
    older_than_seconds: how long ago the worker was rung for them, at least.
    """
    found: list[str] = []
    for table in LEASED:
        lost = select(table.id).where(
            table.status == "queued", table.dispatched_at < seconds_from_now(-older_than_seconds)
        )
        found += session.scalars(lost.order_by(table.id).limit(limit))
    return found[:limit]


def expire_leases(session: Session, *, owner: str, pid: int, crash: str) -> None:
    """End the leases of a worker's process that has died, so that rescue can free the rows at once.

    crash: how the process ended, for the error of a row that crashes too often.
    """
    for table in LEASED:
        end_leases(session, table, owner=owner, pid=pid, crash=crash)


def holds_any(session: Session, owner: str) -> bool:
    """Return whether a worker holds any job or prediction."""
    held = [select(table.id).where(table.owner == owner, table.status.in_(HELD)) for table in LEASED]
    return any(session.scalar(one.limit(1)) is not None for one in held)
