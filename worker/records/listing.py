"""Reads of job rows for pages and lists, and their removal."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from worker.errors import NotFoundError, StateError
from worker.records.blobs import delete_blobs
from worker.records.paging import read_page
from worker.records.predictions import check_unused
from worker.records.sources import are_needed
from worker.records.states import HELD, Status
from worker.records.tables import Checkpoint, IdempotencyKey, Job, JobTag, KeptStep, ModelVersion, Weights
from worker.records.transitions import lock_job


def get_job(session: Session, project_id: str, job_id: str) -> Job:
    """Raises NotFoundError, alike for a foreign, a deleted and an unknown id."""
    job = session.scalar(select(Job).where(Job.id == job_id, Job.project_id == project_id))
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
    """Return a page of jobs, newest first, and whether there are more. before: an id; only older jobs."""
    found = select(Job).where(Job.project_id == project_id)
    if statuses:
        found = found.where(Job.status.in_(statuses))
    if name is not None:
        found = found.where(Job.name == name)
    if tag is not None:
        found = found.join(JobTag, JobTag.job_id == Job.id).where(JobTag.tag == tag)
    return read_page(session, found, Job.id, before=before, limit=limit)


def count_by_status(session: Session, project_id: str) -> dict[Status, int]:
    rows = session.execute(select(Job.status, func.count()).where(Job.project_id == project_id).group_by(Job.status))
    return dict(rows.all())


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """1 for the job that is next, of those among `jobs` that wait."""
    waiting = [job.id for job in jobs if job.status == "queued"]
    before = aliased(Job)
    ahead = select(func.count()).where(before.status == "queued", before.id <= Job.id).scalar_subquery()
    found = select(Job.id, ahead).where(Job.id.in_(waiting), Job.status == "queued")
    return dict(session.execute(found).all()) if waiting else {}


def delete_job(session: Session, project_id: str, job_id: str) -> None:
    """Remove a job and all that it recorded. Raises StateError while it runs, or while a version or a job needs it."""
    job = lock_job(session, project_id, job_id)
    if job.status in HELD:
        raise StateError(f"a job that is {job.status} can't be deleted; cancel it first")
    # held, so that no job is submitted meanwhile that starts from them
    held = select(Weights.id, Weights.blob_id).where(Weights.job_id == job_id).with_for_update()
    weights = session.execute(held).all()
    weights_ids = [row.id for row in weights]
    if are_needed(session, weights_ids):
        raise StateError("a job that is not over starts from this job's weights")
    in_use = select(ModelVersion.version).where(ModelVersion.weights_id.in_(weights_ids))
    if session.scalar(in_use.limit(1)) is not None:
        raise StateError("a model version has this job's weights; delete that first")
    check_unused(session, weights_ids)
    checkpoints = session.scalars(select(Checkpoint.blob_id).where(Checkpoint.job_id == job_id)).all()
    steps = session.scalars(select(KeptStep.blob_id).where(KeptStep.job_id == job_id)).all()
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id == job_id))
    session.execute(delete(Weights).where(Weights.job_id == job_id))
    session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id))
    session.execute(delete(KeptStep).where(KeptStep.job_id == job_id))
    session.delete(job)
    session.flush()
    delete_blobs(session, [row.blob_id for row in weights] + [*checkpoints, *steps])
