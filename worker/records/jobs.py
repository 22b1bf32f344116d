"""Reads jobs for pages and lists, and deletes them."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from worker.errors import NotFoundError, StateError
from worker.records.blobs import delete_blobs
from worker.records.paging import read_page
from worker.records.predictions import check_unused
from worker.records.states import FINAL, HELD, Status
from worker.records.tables import Checkpoint, IdempotencyKey, Job, JobSource, JobTag, KeptStep, ModelVersion, Weights


def get_job(session: Session, project_id: str, job_id: str, *, lock: bool = False) -> Job:
    """Return the job. Raises NotFoundError. lock: keep other writers from changing it until the commit."""
    found = select(Job).where(Job.id == job_id, Job.project_id == project_id)
    job = session.scalar(found.with_for_update() if lock else found)
    if job is None:
        raise NotFoundError("there is no such job")
    return job


def list_jobs(
    session: Session,
    project_id: str,
    *,
    statuses: Sequence[Status] = (),
    name: str | None = None,
    tag: str | None = None,
    before: str | None = None,
    limit: int,
) -> tuple[list[Job], bool]:
    """Return a page of jobs, newest first, and whether there are more.

    statuses, name, tag: if given, only jobs with one of these statuses, this name, this tag.
    before: an id; only older jobs are returned.
    """
    found = select(Job).where(Job.project_id == project_id)
    if statuses:
        found = found.where(Job.status.in_(statuses))
    if name is not None:
        found = found.where(Job.name == name)
    if tag is not None:
        found = found.join(JobTag, JobTag.job_id == Job.id).where(JobTag.tag == tag)
    return read_page(session, found, Job.id, before=before, limit=limit)


def count_by_status(session: Session, project_id: str) -> dict[Status, int]:
    """Return how many jobs each status has; a status without jobs is left out."""
    rows = session.execute(select(Job.status, func.count()).where(Job.project_id == project_id).group_by(Job.status))
    return dict(rows.all())


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """Return the place in the queue of each of these jobs that is queued: 1 for the next one to run."""
    waiting = [job.id for job in jobs if job.status == "queued"]
    before = aliased(Job)
    ahead = select(func.count()).where(before.status == "queued", before.id <= Job.id).scalar_subquery()
    found = select(Job.id, ahead).where(Job.id.in_(waiting), Job.status == "queued")
    return dict(session.execute(found).all()) if waiting else {}


def source_of(session: Session, job_id: str) -> str | None:
    """Return the id of the weights that this job starts from. None if it starts from none, or they were deleted."""
    return session.scalar(select(JobSource.weights_id).where(JobSource.job_id == job_id))


def are_needed(session: Session, weights_ids: Sequence[str]) -> bool:
    """Return whether a job that has not ended starts from one of these weights, so may still have to read them."""
    waiting = (
        select(JobSource.job_id)
        .join(Job, Job.id == JobSource.job_id)
        .where(JobSource.weights_id.in_(weights_ids), Job.status.not_in(FINAL))
    )
    return session.scalar(waiting.limit(1)) is not None


def delete_job(session: Session, project_id: str, job_id: str) -> None:
    """Delete a job and everything that it recorded.

    Raises NotFoundError; StateError while a worker has the job, or while a version, a prediction or another job needs
    its weights.
    """
    job = get_job(session, project_id, job_id, lock=True)
    if job.status in HELD:
        raise StateError(f"a job that is {job.status} can't be deleted; cancel it first")
    # locked, so that no job that starts from them can be submitted before the commit
    locked = select(Weights.id, Weights.blob_id).where(Weights.job_id == job_id).with_for_update()
    weights = session.execute(locked).all()
    _check_weights(session, [row.id for row in weights])
    checkpoints = session.scalars(select(Checkpoint.blob_id).where(Checkpoint.job_id == job_id)).all()
    steps = session.scalars(select(KeptStep.blob_id).where(KeptStep.job_id == job_id)).all()
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id == job_id))
    for table in (Weights, Checkpoint, KeptStep):
        session.execute(delete(table).where(table.job_id == job_id))
    session.delete(job)
    session.flush()
    delete_blobs(session, [row.blob_id for row in weights] + [*checkpoints, *steps])


def _check_weights(session: Session, weights_ids: list[str]) -> None:
    """Raise StateError if anything needs a job's weights."""
    if are_needed(session, weights_ids):
        raise StateError("a job that has not ended starts from this job's weights")
    in_use = select(ModelVersion.version).where(ModelVersion.weights_id.in_(weights_ids))
    if session.scalar(in_use.limit(1)) is not None:
        raise StateError("a model version has this job's weights; delete that first")
    check_unused(session, weights_ids)
