"""Leases of jobs: which attempt may work on a job, and until when.

The attempt number fences every write: a write of an attempt that no longer holds the job changes no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from worker.records.clock import now
from worker.records.events import Kind, show_job, write_event
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
    values = {"progress_at": now(), "seq": Job.seq + 1}
    job = claim_row(session, Job, job_id, owner=owner, pid=pid, lease_seconds=lease_seconds, **values)
    if job is None:
        return None
    show_job(session, job, "status")
    return Claim(job.id, job.project_id, job.attempt, job.epoch, job.spec, lease_seconds, job.request_id)


def guard(
    session: Session, claim: Claim, *, recorded: int | None = None, sequence_numbers: int = 0, **values: Any
) -> Guarded:
    """Renew the lease, set values and allot sequence numbers. Every write of a running job begins with this statement.

    recorded: the job's last epoch so far, if the caller adds epochs after it. The row's epoch may be another if a
        commit succeeded whose answer was lost: then these epochs must not be added again.
    sequence_numbers: how many the caller needs for epochs and events; the last of them is returned.
    Raises LeaseLostError if the claim no longer holds the job, or if the row has another last epoch; the caller's
    transaction is then rolled back.
    """
    renewed = renewal(Job, claim.job_id, claim.attempt, lease_seconds=claim.lease_seconds)
    if recorded is not None:
        renewed = renewed.where(Job.epoch == recorded)
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


def release_job(session: Session, job_id: str, status: Status, **values: Any) -> Job:
    """End the owner's hold on the job, set its status and values, add the event, and return the job.

    The caller has locked the row.
    """
    job = release_row(session, Job, job_id, status, eta_seconds=None, seq=Job.seq + 1, **values)
    show_job(session, job, "end" if status in FINAL else "status")
    return job


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
    release_job(session, job_id, status, **values)
    return status
