"""Which weights a job starts from: they stay while a job that is not over may still have to read them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.records.states import FINAL
from worker.records.tables import Job, JobSource


def source_of(session: Session, job_id: str) -> str | None:
    """The id of the weights that this job starts from; None if it starts from none, or they are gone."""
    return session.scalar(select(JobSource.weights_id).where(JobSource.job_id == job_id))


def are_needed(session: Session, weights_ids: Sequence[str]) -> bool:
    """Whether a job that is not over starts from one of these weights."""
    waiting = (
        select(JobSource.job_id)
        .join(Job, Job.id == JobSource.job_id)
        .where(JobSource.weights_id.in_(weights_ids), Job.status.not_in(FINAL))
    )
    return session.scalar(waiting.limit(1)) is not None
