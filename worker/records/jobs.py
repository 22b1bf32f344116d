"""Reads jobs for pages and lists, and deletes them."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Subquery, delete, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.errors import NotFoundError, StateError
from worker.records.blobs import delete_blobs
from worker.records.holding import queued
from worker.records.predictions import check_unused
from worker.records.states import FINAL, HELD, STATUSES, Status
from worker.records.tables import (
    Checkpoint,
    HeldOut,
    IdempotencyKey,
    Job,
    JobSource,
    JobTag,
    KeptStep,
    ModelVersion,
    Weights,
)

POSITIONS_LIMIT = 1000
"The highest place in the queue that is told. Telling more would cost more the longer the queue is."
LOOKED_AT = 1000


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
) -> tuple[list[Job], str | None]:
    """Return a page of jobs, newest first, and the id before which the next page begins; None if there are no more.

    statuses, name, tag: if given, only jobs with one of these statuses, this name, this tag. A page of a tag and
        something else may be short, or empty, though there are more: it looks at LOOKED_AT jobs with the tag.
    before: an id; only older jobs are returned.
    """
    if tag is not None:
        return _list_tagged(session, project_id, tag, statuses=statuses, name=name, before=before, limit=limit)
    filters = [Job.project_id == project_id] + ([Job.name == name] if name is not None else [])
    # each status has its part of an index, which is in the order of ids
    each: Sequence[Status | None] = statuses or (STATUSES if name is not None else (None,))
    parts = [
        _ids(Job.id, *filters, *([] if status is None else [Job.status == status]), before=before, limit=limit + 1)
        for status in each
    ]
    ids = union_all(*(select(part.c.id) for part in parts)).subquery()
    rows = list(session.scalars(select(Job).join(ids, ids.c.id == Job.id).order_by(Job.id.desc()).limit(limit + 1)))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def count_newer(session: Session, project_id: str, job_id: str, *, status: Status | None = None, limit: int) -> int:
    """Return how many jobs, with this status if one is given, are newer than this one; no more than `limit`."""
    filters = [Job.project_id == project_id, *([] if status is None else [Job.status == status])]
    newer = select(Job.id).where(*filters, Job.id > job_id).order_by(Job.id).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(newer)) or 0


def _list_tagged(
    session: Session,
    project_id: str,
    tag: str,
    *,
    statuses: Sequence[Status],
    name: str | None,
    before: str | None,
    limit: int,
) -> tuple[list[Job], str | None]:
    filters = ([Job.status.in_(statuses)] if statuses else []) + ([Job.name == name] if name is not None else [])
    looked_at = LOOKED_AT if filters else limit + 1
    of_tag = JobTag.project_id == project_id, JobTag.tag == tag
    ids = _ids(JobTag.job_id, *of_tag, before=before, limit=looked_at)
    found = select(Job).join(ids, ids.c.job_id == Job.id).where(*filters)
    rows = list(session.scalars(found.order_by(Job.id.desc()).limit(limit + 1)))
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1].id
    if not filters:
        return rows, None
    count, last = session.execute(select(func.count(), func.min(ids.c.job_id))).one()
    return rows, last if count == looked_at else None


def _ids(key: InstrumentedAttribute[str], *filters: ColumnElement[bool], before: str | None, limit: int) -> Subquery:
    """Return the newest ids that fit the filters."""
    found = select(key).where(*filters)
    if before is not None:
        found = found.where(key < before)
    return found.order_by(key.desc()).limit(limit).subquery()


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """Return the place in the queue of each of these jobs that is queued: 1 for the next one to run.

    No place is above POSITIONS_LIMIT: that many jobs, or more, run before.
    """
    waiting = [job.id for job in jobs if job.status == "queued"]
    if not waiting:
        return {}
    first = select(Job.id).where(queued(Job)).order_by(Job.id).limit(POSITIONS_LIMIT - 1).subquery()
    places = select(first.c.id, func.row_number().over(order_by=first.c.id).label("place")).subquery()
    found = select(Job.id, func.coalesce(places.c.place, POSITIONS_LIMIT)).outerjoin(places, places.c.id == Job.id)
    return dict(session.execute(found.where(Job.id.in_(waiting), queued(Job))).all())


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
    held_out = session.scalars(select(HeldOut.blob_id).where(HeldOut.job_id == job_id)).all()
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id == job_id))
    for table in (Weights, Checkpoint, KeptStep, HeldOut):
        session.execute(delete(table).where(table.job_id == job_id))
    session.delete(job)
    session.flush()
    delete_blobs(session, [row.blob_id for row in weights] + [*checkpoints, *steps, *held_out])


def _check_weights(session: Session, weights_ids: list[str]) -> None:
    """Raise StateError if anything needs a job's weights."""
    if are_needed(session, weights_ids):
        raise StateError("a job that has not ended starts from this job's weights")
    in_use = select(ModelVersion.version).where(ModelVersion.weights_id.in_(weights_ids))
    if session.scalar(in_use.limit(1)) is not None:
        raise StateError("a model version has this job's weights; delete that first")
    check_unused(session, weights_ids)
