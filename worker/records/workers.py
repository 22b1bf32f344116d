"""Signs of life of worker processes, and figures of the queue."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now, seconds_since
from worker.records.tables import Job, Worker

FORGOTTEN_SECONDS = 86_400


@dataclass(frozen=True)
class QueueFigures:
    depth: int
    oldest_seconds: float | None
    running: int


def beat(session: Session, worker_id: str, *, hostname: str, pid: int, processes: int, version: str) -> None:
    """Note that this worker lives, and forget those silent for a day."""
    row = session.get(Worker, worker_id)
    if row is None:
        session.add(Worker(id=worker_id, hostname=hostname, pid=pid, processes=processes, version=version))
    else:
        row.heartbeat_at = now()
    session.execute(delete(Worker).where(Worker.heartbeat_at < seconds_from_now(-FORGOTTEN_SECONDS)))


def leave(session: Session, worker_id: str) -> None:
    session.execute(delete(Worker).where(Worker.id == worker_id))


def list_workers(session: Session) -> list[tuple[Worker, float]]:
    """Each worker, and seconds since its last sign of life."""
    rows = session.execute(select(Worker, seconds_since(Worker.heartbeat_at)).order_by(Worker.id))
    return [(worker, seconds) for worker, seconds in rows]


def queue_figures(session: Session) -> QueueFigures:
    waiting = select(func.count(), func.max(seconds_since(Job.created_at))).where(Job.status == "queued")
    depth, oldest = session.execute(waiting).one()
    running = session.scalar(select(func.count()).where(Job.status.in_(("running", "pausing", "cancelling"))))
    return QueueFigures(depth, oldest, running or 0)


def undelivered_jobs(session: Session, *, older_than_seconds: float, limit: int) -> list[str]:
    """Queued jobs that were rung for some time ago and that no worker has taken, oldest first."""
    found = select(Job.id).where(Job.status == "queued", Job.dispatched_at < seconds_from_now(-older_than_seconds))
    return list(session.scalars(found.order_by(Job.id).limit(limit)))
