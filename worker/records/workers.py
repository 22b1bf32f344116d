"""Signs of life of worker processes."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.records.clock import now, seconds_from_now, seconds_since
from worker.records.holding import LEASED, end_leases
from worker.records.tables import Worker

FORGOTTEN_SECONDS = 86_400


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


def forget(session: Session, *, hostname: str, pid: int) -> None:
    """Forget a worker whose process has ended, as its supervisor has seen: it is not alive for another lease."""
    session.execute(delete(Worker).where(Worker.hostname == hostname, Worker.pid == pid))


def any_alive(session: Session, *, lease_seconds: float) -> bool:
    """Return whether a worker has shown a sign of life within a lease."""
    alive = select(Worker.id).where(Worker.heartbeat_at > seconds_from_now(-lease_seconds))
    return session.scalar(alive.limit(1)) is not None


def list_workers(session: Session) -> list[tuple[Worker, float]]:
    """Return each worker with the seconds since its last sign of life."""
    rows = session.execute(select(Worker, seconds_since(Worker.heartbeat_at)).order_by(Worker.id))
    return [(worker, seconds) for worker, seconds in rows]


def expire_leases(session: Session, *, owner: str, pid: int, crash: str) -> None:
    """End the leases of a worker's process that has died, so that rescue can free the rows at once.

    crash: how the process ended, for the error of a row that crashes too often.
    """
    for table in LEASED:
        end_leases(session, table, owner=owner, pid=pid, crash=crash)


def holds_any(session: Session, owner: str) -> bool:
    """Return whether a worker holds any job or prediction."""
    found = [select(table.id).where(table.owner == owner) for table in LEASED]
    return any(session.scalar(one.limit(1)) is not None for one in found)
