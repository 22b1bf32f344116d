"""Who may work on a job, and until when. A claim's attempt is the fencing number of all that it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError
from worker.records.clock import now
from worker.records.events import add_event, write_event
from worker.records.holding import (
    CRASHES_LIMIT,
    FINAL,
    crashed,
    expired,
    give_up,
    held_by,
    held_expired,
    renewal,
    take,
)
from worker.records.tables import Job


@dataclass(frozen=True)
class Claim:
    """One attempt at one job. `epoch`, `seq` and `spec` are the row's at the moment of the claim."""

    job_id: str
    project_id: str
    attempt: int
    epoch: int
    spec: dict[str, Any]
    lease_seconds: float
    request_id: str | None


class Guarded(NamedTuple):
    """What a guarded write learned: the status now, and the last number it was allotted."""

    status: str
    seq: int


def claim_job(
    session: Session, job_id: str, *, owner: str, lease_seconds: float, pid: int | None = None
) -> Claim | None:
    """Take a queued job; None if it is not queued, because another has it or it was ended.

    owner: the worker; pid: of its process that will run the job.
    """
    job = take(session, Job, job_id, owner=owner, pid=pid, lease_seconds=lease_seconds, progress_at=now())
    if job is None:
        return None
    add_event(session, job, "status")
    return Claim(job.id, job.project_id, job.attempt, job.epoch, job.spec, lease_seconds, job.request_id)


def guard(session: Session, claim: Claim, *, numbers: int = 0, **values: Any) -> Guarded:
    """Renew the lease, set values and allot numbers, if the claim still holds: the first statement of every write.

    Raises LeaseLostError if it does not; the caller's transaction then ends without a trace.
    """
    renewed = renewal(Job, claim.job_id, claim.attempt, lease_seconds=claim.lease_seconds)
    row = session.execute(renewed.values(seq=Job.seq + numbers, **values).returning(Job.status, Job.seq)).one_or_none()
    if row is None:
        raise LeaseLostError(f"attempt {claim.attempt} no longer holds job {claim.job_id}")
    return Guarded(*row)


def add_note(session: Session, claim: Claim, kind: str, payload: dict[str, Any]) -> None:
    """An event of a running job, under a number of its own. Raises LeaseLostError."""
    seq = guard(session, claim, numbers=1).seq
    write_event(session, project_id=claim.project_id, job_id=claim.job_id, seq=seq, kind=kind, payload=payload)


def held_status(session: Session, claim: Claim) -> str:
    """The job's status, by a look that writes nothing. Raises LeaseLostError."""
    status = session.scalar(select(Job.status).where(*held_by(Job, claim.job_id, claim.attempt)))
    if status is None:
        raise LeaseLostError(f"attempt {claim.attempt} no longer holds job {claim.job_id}")
    return status


def held_job(session: Session, claim: Claim, **values: Any) -> Job:
    """The guarded job itself, for a change that is more than numbers. Raises LeaseLostError."""
    guard(session, claim, **values)
    return session.scalars(
        select(Job).where(Job.id == claim.job_id), execution_options={"populate_existing": True}
    ).one()


def release_job(session: Session, job: Job, status: str, **values: Any) -> None:
    """Give the job up, to this status, and tell its watchers. The caller holds the row."""
    give_up(session, job, status, eta_seconds=None, **values)
    add_event(session, job, "end" if status in FINAL else "status")


def expired_jobs(session: Session, *, after: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
    """(id, attempt) of jobs whose lease has run out, in order of id."""
    return expired(session, Job, after=after, limit=limit)


def rescue_job(session: Session, job_id: str, attempt: int) -> str | None:
    """Free one expired lease, if it still is expired; the job's new status, or None.

    running -> queued, or failed at the third crash without a new epoch; pausing -> paused; cancelling -> cancelled.
    """
    job = held_expired(session, Job, job_id, attempt)
    if job is None:
        return None
    crashes = job.crashes + 1
    if job.status == "pausing":
        release_job(session, job, "paused")
    elif job.status == "cancelling":
        release_job(session, job, "cancelled")
    elif crashes >= CRASHES_LIMIT:
        error = crashed(job, crashes, "completing another epoch", job.epoch)
        release_job(session, job, "failed", crashes=crashes, error=error)
    else:
        release_job(session, job, "queued", crashes=crashes)
    return job.status
