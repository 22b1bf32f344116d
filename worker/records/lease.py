"""Who may work on a job, and until when. A claim's attempt is the fencing number of all that it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError
from worker.records.clock import now, seconds_from_now
from worker.records.events import add_event, write_event
from worker.records.tables import Job

HELD = ("running", "pausing", "cancelling")
"The states in which a job has an owner."
FINAL = ("succeeded", "failed", "cancelled")
"The states that nothing changes any more."
CRASHES_LIMIT = 3


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
    claimed = update(Job).where(Job.id == job_id, Job.status == "queued")
    job = session.scalars(
        claimed.values(
            status="running",
            attempt=Job.attempt + 1,
            owner=owner,
            owner_pid=pid,
            lease_until=seconds_from_now(lease_seconds),
            heartbeat_at=now(),
            progress_at=now(),
        ).returning(Job)
    ).one_or_none()
    if job is None:
        return None
    if job.started_at is None:
        job.started_at = now()
        session.flush()
        session.refresh(job, ["started_at"])
    add_event(session, job, "status")
    return Claim(job.id, job.project_id, job.attempt, job.epoch, job.spec, lease_seconds, job.request_id)


def guard(session: Session, claim: Claim, *, numbers: int = 0, **values: Any) -> Guarded:
    """Renew the lease, set values and allot numbers, if the claim still holds: the first statement of every write.

    Raises LeaseLostError if it does not; the caller's transaction then ends without a trace.
    """
    held = update(Job).where(Job.id == claim.job_id, Job.attempt == claim.attempt, Job.status.in_(HELD))
    row = session.execute(
        held.values(
            lease_until=seconds_from_now(claim.lease_seconds),
            heartbeat_at=now(),
            seq=Job.seq + numbers,
            **values,
        ).returning(Job.status, Job.seq)
    ).one_or_none()
    if row is None:
        raise LeaseLostError(f"attempt {claim.attempt} no longer holds job {claim.job_id}")
    return Guarded(*row)


def add_note(session: Session, claim: Claim, kind: str, payload: dict[str, Any]) -> None:
    """An event of a running job, under a number of its own. Raises LeaseLostError."""
    seq = guard(session, claim, numbers=1).seq
    write_event(session, project_id=claim.project_id, job_id=claim.job_id, seq=seq, kind=kind, payload=payload)


def held_status(session: Session, claim: Claim) -> str:
    """The job's status, by a look that writes nothing. Raises LeaseLostError."""
    held = select(Job.status).where(Job.id == claim.job_id, Job.attempt == claim.attempt, Job.status.in_(HELD))
    status = session.scalar(held)
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
    final = status in FINAL
    job.status = status
    job.owner = job.owner_pid = None
    job.lease_until = None
    job.eta_seconds = None
    for name, value in values.items():
        setattr(job, name, value)
    if status == "queued":
        job.dispatched_at = now()
    if final:
        job.finished_at = now()
    session.flush()
    session.refresh(job)
    add_event(session, job, "end" if final else "status")


def expire_leases(session: Session, *, owner: str, pid: int, crash: str) -> None:
    """End the leases that a worker's process held, now that its parent has seen it die. Rescue does the rest."""
    held = update(Job).where(Job.owner == owner, Job.owner_pid == pid, Job.status.in_(HELD))
    session.execute(held.values(lease_until=seconds_from_now(-1), crash=crash))


def holds_any(session: Session, owner: str) -> bool:
    """Whether a worker has a job at all."""
    return session.scalar(select(Job.id).where(Job.owner == owner, Job.status.in_(HELD)).limit(1)) is not None


def expired_jobs(session: Session, *, after: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
    """(id, attempt) of jobs whose lease has run out, in order of id."""
    found = select(Job.id, Job.attempt).where(Job.status.in_(HELD), Job.lease_until < now(), Job.id > after)
    return [(job_id, attempt) for job_id, attempt in session.execute(found.order_by(Job.id).limit(limit))]


def rescue_job(session: Session, job_id: str, attempt: int) -> str | None:
    """Free one expired lease, if it still is expired; the job's new status, or None.

    running -> queued, or failed at the third crash without a new epoch; pausing -> paused; cancelling -> cancelled.
    """
    # the claim's condition again: between the look and this write the worker may have come back
    expired = (Job.id == job_id, Job.attempt == attempt, Job.status.in_(HELD), Job.lease_until < now())
    # a worker that froze in the middle of a write has the row locked: the next look tries again, others go on
    if session.scalar(select(Job.id).where(*expired).with_for_update(skip_locked=True)) is None:
        return None
    job = session.scalars(update(Job).where(*expired).values(heartbeat_at=now()).returning(Job)).one_or_none()
    if job is None:
        return None
    crashes = job.crashes + 1
    if job.status == "pausing":
        release_job(session, job, "paused")
    elif job.status == "cancelling":
        release_job(session, job, "cancelled")
    elif crashes >= CRASHES_LIMIT:
        error = {
            "code": "crashed",
            "message": f"the worker died {crashes} times without completing another epoch"
            + (f", the last time of {job.crash}" if job.crash else ""),
            "epoch": job.epoch,
        }
        release_job(session, job, "failed", crashes=crashes, error=error)
    else:
        release_job(session, job, "queued", crashes=crashes)
    return job.status
