"""Accepts a job: writes its row, its idempotency key and its first event in one transaction."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.errors import SpecError, StateError
from worker.records.clock import now
from worker.records.events import write_event
from worker.records.holding import lock_reference
from worker.records.idempotency import Answered, Request, answer_once
from worker.records.identifiers import new_id
from worker.records.jobs import queue_positions
from worker.records.snapshots import Snapshot, brief, job_snapshot
from worker.records.tables import Dataset, Job, JobDataset, JobSource, JobTag, Weights
from worker.specs.dataset import StoredDataset
from worker.specs.job import Job as JobSpec


@dataclass(frozen=True)
class Plan:
    """What follows from the specification, worked out before anything is stored. parameters: how many numbers train."""

    features: list[dict[str, Any]]
    classes: list[str] | None
    parameters: int
    layers: list[dict[str, Any]]
    source: str | None = None
    "The id of the weights that the job starts from."


def submit_job(
    session: Session,
    project_id: str,
    spec: JobSpec,
    plan: Plan,
    *,
    queued_limit: int,
    request: Request | None = None,
    request_id: str | None = None,
    retry_of: str | None = None,
) -> Answered:
    """Store a job, its key and its first event; return the job as the client is answered.

    queued_limit: how many jobs of the project may be queued.
    Raises IdempotencyError; StateError when too many are queued; SpecError if the table or the weights that the job
    needs have been deleted.
    """

    def make() -> tuple[Snapshot, str]:
        _check_queue(session, project_id, queued_limit)
        job = _job(project_id, spec, plan, request_id=request_id, retry_of=retry_of)
        session.add(job)
        session.flush()
        _refer(session, job, spec, plan)
        snapshot = job_snapshot(job) | {"queue_position": queue_positions(session, [job]).get(job.id)}
        write_event(session, project_id=project_id, job_id=job.id, seq=job.seq, kind="status", payload=brief(snapshot))
        return snapshot, job.id

    return answer_once(session, project_id, request, make)


def _check_queue(session: Session, project_id: str, queued_limit: int) -> None:
    waiting = session.scalar(
        select(func.count()).select_from(Job).where(Job.project_id == project_id, Job.status == "queued")
    )
    if (waiting or 0) >= queued_limit:
        raise StateError(f"{waiting} jobs are waiting already; the limit is {queued_limit}", code="queue_full")


def _job(project_id: str, spec: JobSpec, plan: Plan, *, request_id: str | None, retry_of: str | None) -> Job:
    return Job(
        id=new_id("job"),
        project_id=project_id,
        name=spec.name,
        status="queued",
        spec=spec.model_dump(mode="json"),
        features=plan.features,
        classes=plan.classes,
        parameters=plan.parameters,
        layers=plan.layers,
        meta=spec.metadata,
        tags=list(spec.tags),
        epochs=spec.training.epochs,
        request_id=request_id,
        retry_of=retry_of,
        # the number of its first event
        seq=1,
        attempt=0,
        crashes=0,
        epoch=0,
        # the caller rings right after the commit; rescue rings again if no worker claims the job
        dispatched_at=now(),
    )


def _refer(session: Session, job: Job, spec: JobSpec, plan: Plan) -> None:
    """Write the job's tags, and what it needs until its end. Raises SpecError if that is gone."""
    known = {"job_id": job.id, "project_id": job.project_id}
    session.add_all(JobTag(**known, tag=tag) for tag in spec.tags)
    if isinstance(spec.dataset, StoredDataset):
        if not lock_reference(session, Dataset, spec.dataset.id):
            raise SpecError("/dataset/id", "there is no such dataset")
        session.add(JobDataset(**known, dataset_id=spec.dataset.id))
    if plan.source is not None:
        if not lock_reference(session, Weights, plan.source):
            raise SpecError("/start_from", "its weights have been deleted")
        session.add(JobSource(**known, weights_id=plan.source))
