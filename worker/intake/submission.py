"""Accepts a job, or a table to predict: checks and stores it, and rings for a worker after the commit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sqlalchemy.orm import Session

from worker.data.encoders import Encoders, NumberTarget
from worker.errors import SpecError
from worker.intake.datasets import Datasets
from worker.intake.design import Design, design_job
from worker.records.idempotency import Answered, Request
from worker.records.new_jobs import submit_job
from worker.records.predictions import submit_prediction
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.tables import Job as JobRow
from worker.records.tables import Prediction
from worker.settings import Limits
from worker.specs.dataset import BuiltinDataset, GeneratedDataset, StoredDataset
from worker.specs.job import Job
from worker.specs.prediction import PredictionOptions


class ServedWeights(NamedTuple):
    """The weights that predict a table, and their names.

    name, version: those of the model; None if a job was named.
    job_id: the job that made the weights; None if they were imported.
    """

    weights_id: str
    encoders: Encoders
    name: str | None
    version: int | None
    job_id: str | None


@dataclass(frozen=True)
class Intake:
    """Accepts jobs and table predictions.

    ring: called after the commit with the id of the job or prediction. If the broker is away, a worker rings later.
    """

    database: Database
    datasets: Datasets
    limits: Limits
    ring: Callable[[str], object]

    @cached_property
    def _job_room(self) -> QueueRoom:
        return QueueRoom(JobRow, self.limits.queued_jobs)

    @cached_property
    def _prediction_room(self) -> QueueRoom:
        return QueueRoom(Prediction, self.limits.queued_jobs)

    def design(self, project_id: str, spec: Job) -> Design:
        """Return the design of a job and store nothing. Raises SpecError."""
        return design_job(spec, project_id, self.datasets, self.limits)

    def submit(
        self,
        project_id: str,
        spec: Job,
        *,
        request: Request | None = None,
        request_id: str | None = None,
        retry_of: str | None = None,
    ) -> Answered:
        """Store and queue a job. Inline rows become a stored dataset, which the job's specification then names.

        request: the client's idempotency key and the request that it came with.
        request_id: an id for the log lines of every process that works on the job.
        retry_of: the id of the job that this one repeats.
        Raises SpecError, IdempotencyError, and StateError(queue_full).
        """
        design = self.design(project_id, spec)
        spec = design.spec
        if design.rows is not None:
            stored = self.datasets.store_rows(project_id, f"rows of {spec.name}"[:200], design.rows)
            spec = spec.model_copy(update={"dataset": stored})
        return self._commit(
            lambda session: submit_job(
                session,
                project_id,
                spec,
                design.job_columns,
                room=self._job_room,
                request=request,
                request_id=request_id,
                retry_of=retry_of,
            )
        )

    def submit_prediction(
        self,
        project_id: str,
        served: ServedWeights,
        dataset: StoredDataset | BuiltinDataset | GeneratedDataset,
        options: PredictionOptions,
        *,
        request: Request | None = None,
        request_id: str | None = None,
    ) -> Answered:
        """Store and queue the prediction of a whole table. Raises the errors of `submit`, and NotFoundError.

        What can be checked without opening the table is checked now; the worker checks the rest.
        """
        profile = self.datasets.profile(project_id, dataset)
        for code in served.encoders.features:
            if profile.column(code.name) is None:
                raise SpecError("/dataset", f"has no column {code.name!r}, which is a feature of this model")
        if options.top_k is not None and isinstance(served.encoders.target, NumberTarget):
            raise SpecError("/top_k", "is for classes; this model predicts numbers")
        return self._commit(
            lambda session: submit_prediction(
                session,
                project_id,
                weights_id=served.weights_id,
                served={"name": served.name, "version": served.version, "job_id": served.job_id},
                dataset=dataset.model_dump(mode="json"),
                options=options.model_dump(mode="json"),
                room=self._prediction_room,
                request=request,
                request_id=request_id,
            )
        )

    def _commit(self, work: Callable[[Session], Answered]) -> Answered:
        answered = self.database.write(work)
        if not answered.replayed:
            self.ring(answered.answer["id"])
        return answered
