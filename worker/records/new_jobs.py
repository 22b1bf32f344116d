"""Accepts a job: writes its row, its idempotency key and its first event in one transaction."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from worker.errors import SpecError
from worker.records.clock import now
from worker.records.events import write_event
from worker.records.holding import lock_reference
from worker.records.idempotency import Answered, Made, Request, answer_once
from worker.records.identifiers import new_id
from worker.records.jobs import queue_positions
from worker.records.queue_room import QueueRoom
from worker.records.snapshots import brief, job_snapshot
from worker.records.tables import Dataset, Job, JobDataset, JobSource, JobTag, Weights
from worker.specs.dataset import StoredDataset
from worker.specs.job import Job as JobSpec


@dataclass(frozen=True)
class JobColumns:
    """The columns of a job's row that follow from its specification, and its source.

    features: name and type of each feature.
    classes: the classes of a categorical target; None for other targets.
    parameters: how many numbers are trained in one member.
    layers: the shape of each layer, as in `intake.cost.Cost`.
    source: the id of the weights that the job starts from; None for random weights.
    remarks: about the columns that it uses; None if there are none.
    """

    features: list[dict[str, Any]]
    classes: list[str] | None
    parameters: int
    layers: list[dict[str, Any]]
    source: str | None = None
    remarks: list[dict[str, Any]] | None = None


def submit_job(
    session: Session,
    project_id: str,
    spec: JobSpec,
    columns: JobColumns,
    *,
    room: QueueRoom,
    request: Request | None = None,
    request_id: str | None = None,
    retry_of: str | None = None,
) -> Answered:
    """Store a job, its idempotency key and its first event. Return the answer for the client.

    room: checks that the project's queue is not full.
    Raises IdempotencyError; StateError(queue_full) if too many are queued; SpecError if the table or the weights that
    the job needs have been deleted.
    """

    def make() -> Made:
        room.take(session, project_id)
        job = _job(project_id, spec, columns, request_id=request_id, retry_of=retry_of)
        session.add(job)
        session.flush()
        _refer(session, job, spec, columns)
        snapshot = job_snapshot(job) | {"queue_position": queue_positions(session, [job]).get(job.id)}
        write_event(session, project_id=project_id, job_id=job.id, seq=job.seq, kind="status", payload=brief(snapshot))
        return Made(snapshot, job.id)

    return answer_once(session, project_id, request, make)


def _job(project_id: str, spec: JobSpec, columns: JobColumns, *, request_id: str | None, retry_of: str | None) -> Job:
    return Job(
        id=new_id("job"),
        project_id=project_id,
        name=spec.name,
        status="queued",
        spec=spec.model_dump(mode="json"),
        features=columns.features,
        classes=columns.classes,
        parameters=columns.parameters,
        layers=columns.layers,
        remarks=columns.remarks,
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


def _refer(session: Session, job: Job, spec: JobSpec, columns: JobColumns) -> None:
    """Write the job's tags, and references to the table and weights that it needs. Raises SpecError if one is gone."""
    known = {"job_id": job.id, "project_id": job.project_id}
    session.add_all(JobTag(**known, tag=tag) for tag in spec.tags)
    datasets = {"": spec.dataset} | {f"/training/{part}": own for part, own in spec.training.own_tables.items()}
    stored = {dataset.id: place for place, dataset in datasets.items() if isinstance(dataset, StoredDataset)}
    # in one order, so that no two transactions wait for each other
    for dataset_id, place in sorted(stored.items()):
        if not lock_reference(session, Dataset, dataset_id):
            raise SpecError(f"{place}/dataset/id", "there is no such dataset")
        session.add(JobDataset(**known, dataset_id=dataset_id))
    if columns.source is not None:
        if not lock_reference(session, Weights, columns.source):
            raise SpecError("/start_from", "its weights have been deleted")
        session.add(JobSource(**known, weights_id=columns.source))
