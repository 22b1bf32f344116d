"""Signs of life of worker processes, and figures of the queue."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from worker.records import holding
from worker.records.clock import now, seconds_from_now, seconds_since
from worker.records.tables import Job, Prediction, Worker

FORGOTTEN_SECONDS = 86_400
LEASED: tuple[holding.Table, ...] = (Job, Prediction)


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
    """Of jobs and predictions together: whoever adds workers by them must see both."""
    depth = running = 0
    oldest: list[float] = []
    for table in LEASED:
        waiting = select(func.count(), func.max(seconds_since(table.created_at))).where(table.status == "queued")
        count, age = session.execute(waiting).one()
        depth += count
        oldest += [age] if age is not None else []
        running += session.scalar(select(func.count()).where(table.status.in_(holding.HELD))) or 0
    return QueueFigures(depth, max(oldest, default=None), running)


def waiting_rows(session: Session) -> int:
    """How many jobs and predictions wait: so many messages should be in the queue."""
    counts = [select(func.count()).select_from(table).where(table.status == "queued") for table in LEASED]
    return sum(session.scalar(count) or 0 for count in counts)


def undelivered_jobs(session: Session, *, older_than_seconds: float, limit: int) -> list[str]:
    """Queued jobs that were rung for some time ago and that no worker has taken, oldest first."""
    return holding.undelivered(session, Job, older_than_seconds=older_than_seconds, limit=limit)


def undelivered(session: Session, *, older_than_seconds: float, limit: int) -> list[str]:
    """The same of jobs and predictions."""
    lost = [holding.undelivered(session, table, older_than_seconds=older_than_seconds, limit=limit) for table in LEASED]
    return [row_id for rows in lost for row_id in rows][:limit]


def expire_leases(session: Session, *, owner: str, pid: int, crash: str) -> None:
    """End the leases that a worker's process held, now that its parent has seen it die. Rescue does the rest."""
    for table in LEASED:
        holding.expire(session, table, owner=owner, pid=pid, crash=crash)


def holds_any(session: Session, owner: str) -> bool:
    """Whether a worker has a job or a prediction at all."""
    return any(holding.holds(session, table, owner) for table in LEASED)
