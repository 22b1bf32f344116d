"""Changes of a job's status: those that a client asks for, and the one at the end of a worker's attempt."""

from typing import Any

from sqlalchemy.orm import Session

from worker.errors import StateError
from worker.records.events import show_job
from worker.records.jobs import get_job
from worker.records.lease import Claim, guard, release_job
from worker.records.states import HELD, MOVES, Change, Status, ended
from worker.records.tables import Job


def change_status(session: Session, project_id: str, job_id: str, change: Change) -> Job:
    """Carry out a client's change. A repeated request changes nothing. Raises NotFoundError and StateError."""
    job = get_job(session, project_id, job_id, lock=True)
    status = MOVES[job.status].asked.get(change)
    if status is None:
        raise StateError(f"a job that is {job.status} can't {change}")
    if status == job.status:
        return job
    if status in HELD:
        # the worker keeps the job, and acts on the new status when it next reads it
        job.status = status
        job.seq += 1
        session.flush()
        show_job(session, job, "status")
        return job
    return release_job(session, job_id, status)


def end_attempt(session: Session, claim: Claim, status: Status, **values: Any) -> Status:
    """End a worker's attempt, and return the status that the job then has.

    status: the status that the worker reports. If a client has asked for a pause or a cancel, `queued` becomes that:
        see `states.MOVES`.
    values: figures to store in the row.
    Raises LeaseLostError, and ValueError if the table of moves does not allow the status.
    """
    status = ended(guard(session, claim).status, status)
    release_job(session, claim.job_id, status, **values)
    return status
