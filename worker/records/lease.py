"""Leases of jobs: which attempt may work on a job, and until when.

The attempt number fences every write: a write of an attempt that no longer holds the job changes no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.records.clock import now
from worker.records.events import Kind, add_event, write_event
from worker.records.holding import (
    after_expiry,
    claim_row,
    expired_rows,
    lease_lost,
    lock_expired,
    read_held_status,
    release_row,
    renewal,
)
from worker.records.states import FINAL, Status
from worker.records.tables import Job


@dataclass(frozen=True)
class Claim:
    """One attempt at one job. epoch, spec: the row's values when it was claimed."""

    job_id: str
    project_id: str
    attempt: int
    epoch: int
    spec: dict[str, Any]
    lease_seconds: float
    request_id: str | None


class Guarded(NamedTuple):
    """The result of a guarded write.

    status: the job's status now.
    seq: the last sequence number that was allotted.
    """

    status: Status
    seq: int


def claim_job(
    session: Session, job_id: str | None, *, owner: str, lease_seconds: float, pid: int | None = None
) -> Claim | None:
    """Claim a queued job. Return None if there is none: another worker has it, it is paused, or it has ended.

    job_id: the only job that may be claimed; None: claim the oldest that waits.
    owner: the worker's id.
    pid: the id of its process that will run the job.
    """
    job = claim_row(session, Job, job_id, owner=owner, pid=pid, lease_seconds=lease_seconds, progress_at=now())
    if job is None:
        return None
    add_event(session, job, "status")
    return Claim(job.id, job.project_id, job.attempt, job.epoch, job.spec, lease_seconds, job.request_id)


def guard(session: Session, claim: Claim, *, sequence_numbers: int = 0, **values: Any) -> Guarded:
    """Renew the lease, set values and allot sequence numbers. Every write of a running job begins with this statement.

    sequence_numbers: how many the caller needs for epochs and events; the last of them is returned.
    Raises LeaseLostError if the claim no longer holds the job; the caller's transaction is then rolled back.
    """
    renewed = renewal(Job, claim.job_id, claim.attempt, lease_seconds=claim.lease_seconds)
    row = session.execute(
        renewed.values(seq=Job.seq + sequence_numbers, **values).returning(Job.status, Job.seq)
    ).one_or_none()
    if row is None:
        raise lease_lost(claim.job_id, claim.attempt)
    return Guarded(*row)


def record_event(session: Session, claim: Claim, kind: Kind, payload: dict[str, Any]) -> None:
    """Add an event to a running job, with a sequence number of its own. Raises LeaseLostError."""
    seq = guard(session, claim, sequence_numbers=1).seq
    write_event(session, project_id=claim.project_id, job_id=claim.job_id, seq=seq, kind=kind, payload=payload)


def held_status(session: Session, claim: Claim) -> Status:
    """Return the job's status, without a write. Raises LeaseLostError."""
    return read_held_status(session, Job, claim.job_id, claim.attempt)


def held_job(session: Session, claim: Claim, **values: Any) -> Job:
    """Guard the job and return its whole row. Raises LeaseLostError."""
    guard(session, claim, **values)
    return session.scalars(
        select(Job).where(Job.id == claim.job_id), execution_options={"populate_existing": True}
    ).one()


def release_job(session: Session, job: Job, status: Status, **values: Any) -> None:
    """End the owner's hold on the job, set its status and values, and add the event. The caller has locked the row."""
    release_row(session, job, status, eta_seconds=None, **values)
    add_event(session, job, "end" if status in FINAL else "status")


def expired_jobs(session: Session, *, after: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
    """Return (id, attempt) of the jobs whose lease has expired, in order of id."""
    return expired_rows(session, Job, after=after, limit=limit)


def rescue_job(session: Session, job_id: str, attempt: int) -> Status | None:
    """Free a job whose lease has expired, and return its new status; None if its lease is no longer expired.

    A running job is queued again, or fails at the third crash without a new epoch; a pausing job is paused and a
    cancelling one is cancelled.
    """
    job = lock_expired(session, Job, job_id, attempt)
    if job is None:
        return None
    status, values = after_expiry(job, goal="completing another epoch", epoch=job.epoch)
    release_job(session, job, status, **values)
    return status
