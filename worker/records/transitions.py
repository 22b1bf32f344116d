"""The changes of state that a client asks for, and those that a worker makes at the end."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError, StateError
from worker.records.events import add_event
from worker.records.lease import Claim, held_job, release_job
from worker.records.tables import Job

CHANGES: dict[str, dict[str, str]] = {
    "cancel": {
        "queued": "cancelled",
        "paused": "cancelled",
        "running": "cancelling",
        "pausing": "cancelling",
        "cancelling": "cancelling",
        "cancelled": "cancelled",
    },
    "pause": {"queued": "paused", "running": "pausing", "pausing": "pausing", "paused": "paused"},
    "resume": {"paused": "queued", "queued": "queued", "running": "running"},
}
"What a client may ask for: from each state the state it leads to; the same state where there is nothing to do."


def locked_job(session: Session, project_id: str, job_id: str) -> Job:
    """The job, held against other writers until the commit. Raises NotFoundError."""
    found = select(Job).where(Job.id == job_id, Job.project_id == project_id).with_for_update()
    job = session.scalars(found).one_or_none()
    if job is None:
        raise NotFoundError("there is no such job")
    return job


def ask(session: Session, project_id: str, job_id: str, change: str) -> Job:
    """Carry out `cancel`, `pause` or `resume`; idempotent. Raises NotFoundError, StateError."""
    job = locked_job(session, project_id, job_id)
    status = CHANGES[change].get(job.status)
    if status is None:
        raise StateError(f"a job that is {job.status} can't be asked to {change}")
    if status == job.status:
        return job
    if status in ("cancelling", "pausing"):
        job.status = status
        add_event(session, job, "status")
    else:
        release_job(session, job, status)
    return job


def end_attempt(session: Session, claim: Claim, status: str, **values: Any) -> str:
    """A worker gives its job up, to this status, with these figures; the status that the job then has.

    What a client asked for meanwhile goes before: a release or a pause of a job that is cancelling cancels it, and a
    release of one that is pausing pauses it. Raises LeaseLostError.
    """
    job = held_job(session, claim)
    if status in ("queued", "paused") and job.status == "cancelling":
        status = "cancelled"
    if status == "queued" and job.status == "pausing":
        status = "paused"
    release_job(session, job, status, **values)
    return status
