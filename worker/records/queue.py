"""The queue of jobs and predictions: which is claimed next, which have waited without a message, and its figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.records.clock import seconds_from_now, seconds_since
from worker.records.holding import LEASED, Table, held, oldest_waiting, queued, waits
from worker.records.identifiers import age_key
from worker.records.lease import Claim, claim_job
from worker.records.predictions import PredictionClaim, claim_prediction
from worker.records.tables import Job, Prediction

CLAIMS: Mapping[Table, Callable[..., Claim | PredictionClaim | None]] = {
    Job: claim_job,
    Prediction: claim_prediction,
}


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


def claim_oldest(
    session: Session, *, owner: str, lease_seconds: float, pid: int | None = None
) -> Claim | PredictionClaim | None:
    """Claim the job or prediction that has waited longest; return None if nothing waits.

    A row that rests until a later moment does not wait. On PostgreSQL a row that another transaction has locked is
    passed over; if that leaves none, the row is rung for again. owner, pid: see `lease.claim_job`.
    """
    waiting = [(row_id, table) for table in LEASED if (row_id := session.scalar(oldest_waiting(table))) is not None]
    for _, table in sorted(waiting, key=lambda found: age_key(found[0])):
        # not by the id that was found: another worker may claim that row meanwhile
        claim = CLAIMS[table](session, None, owner=owner, pid=pid, lease_seconds=lease_seconds)
        if claim is not None:
            return claim
    return None


def queue_figures(session: Session) -> QueueFigures:
    """Return the figures of jobs and predictions together: an autoscaler needs both."""
    depth = running = 0
    oldest: list[float] = []
    for table in LEASED:
        # every id is greater: without a range SQLite reads an index of all rows, not the one that has only these
        every = table.id > ""
        waiting = select(func.count()).where(queued(table), every)
        # ids are in the order of time
        age = select(seconds_since(table.created_at)).where(queued(table)).order_by(table.id).limit(1)
        taken = select(func.count()).where(held(table), every)
        found = session.execute(select(*(one.scalar_subquery() for one in (waiting, age, taken)))).one()
        depth += found[0]
        oldest += [] if found[1] is None else [found[1]]
        running += found[2]
    return QueueFigures(depth, max(oldest, default=None), running)


def waiting_rows(session: Session, *, limit: int) -> int:
    """Return how many jobs and predictions could be claimed now. The broker should have as many messages.

    limit: count no more than this many of each.
    """
    rows = [select(table.id).where(*waits(table)).limit(limit).subquery() for table in LEASED]
    return sum(session.scalar(select(func.count()).select_from(found)) or 0 for found in rows)


def undelivered(session: Session, *, older_than_seconds: float, limit: int) -> list[str]:
    """Return the ids of jobs and predictions that are still queued some time after a worker was rung for them.

    They are in the order of their age, the oldest first. None of them rests.
    older_than_seconds: how long ago the worker was rung for them, at least.
    """
    found: list[str] = []
    for table in LEASED:
        lost = select(table.id).where(queued(table), table.dispatched_at < seconds_from_now(-older_than_seconds))
        found += session.scalars(lost.order_by(table.id).limit(limit))
    return sorted(found, key=age_key)[:limit]
