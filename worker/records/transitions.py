"""The changes of status that a client asks for, and those that a worker makes at the end of its attempt."""

from typing import Any

from sqlalchemy.orm import Session

from worker.errors import StateError
from worker.records.events import add_event
from worker.records.jobs import get_job
from worker.records.lease import Claim, held_job, release_job
from worker.records.states import HELD, MOVES, Change, Status, ended
from worker.records.tables import Job


def change_status(session: Session, project_id: str, job_id: str, change: Change) -> Job:
    """Carry out a client's change; asked again, it changes nothing. Raises NotFoundError, StateError."""
    job = get_job(session, project_id, job_id, lock=True)
    status = MOVES[job.status].asked.get(change)
    if status is None:
        raise StateError(f"a job that is {job.status} can't be asked to {change}")
    if status == job.status:
        return job
    if status in HELD:
        # its worker keeps it, and acts on the new status when it next looks
        job.status = status
        add_event(session, job, "status")
    else:
        release_job(session, job, status)
    return job


def end_attempt(session: Session, claim: Claim, status: Status, **values: Any) -> Status:
    """End a worker's attempt with this status and these figures; return the status that the job then has.

    If a client has asked for a pause or a cancel, a release becomes that: see `states.MOVES`.
    Raises LeaseLostError, and ValueError for an end that the table does not allow.
    """
    job = held_job(session, claim)
    status = ended(job.status, status)
    release_job(session, job, status, **values)
    return status
