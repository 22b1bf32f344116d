"""Predicts a whole table: predict it batch by batch, store the result, and end the attempt."""

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from worker.data.storage import Storage
from worker.errors import DataError
from worker.intake.datasets import Datasets
from worker.intake.objects import write_object
from worker.networks.predictor import Predictor
from worker.networks.trained import read_trained
from worker.records.predictions import (
    PredictionClaim,
    claim_prediction,
    end_prediction,
    guard_prediction,
    held_prediction,
)
from worker.records.sessions import Database
from worker.records.states import Status
from worker.running.attempt import Attempt, attempt_row, claim_for
from worker.running.stopping import Progress, Stopping
from worker.settings import Settings
from worker.specs.dataset import Dataset
from worker.specs.prediction import PredictionOptions

ROWS_AT_ONCE = 16_384
DATASET: TypeAdapter[Any] = TypeAdapter(Dataset)


@dataclass(frozen=True)
class TablePredictor:
    """What a process needs to predict whole tables: the parts of a `run.Runner`, and the storage for results."""

    database: Database
    datasets: Datasets
    storage: Storage
    settings: Settings
    shutdown: threading.Event
    owner: str
    progress: Progress = field(default_factory=Progress)

    def run_claim(self, claim: PredictionClaim) -> Status | None:
        """Predict the table that was claimed. Return the status that it then has; None if the lease was lost."""
        return attempt_row(claim, claim.prediction_id, PredictionAttempt(self, claim))

    def run_prediction(self, prediction_id: str) -> Status | None:
        """Predict this table. Return the status it then has; None if it is not queued, or the lease was lost."""
        claim = claim_for(self, partial(claim_prediction, prediction_id=prediction_id))
        return None if claim is None else self.run_claim(claim)


class PredictionAttempt(Attempt):
    """One attempt at one prediction. It starts from the first row, since results of earlier attempts are not kept."""

    def __init__(self, predictor: TablePredictor, claim: PredictionClaim) -> None:
        super().__init__(predictor, claim)
        self.predictor, self.claim = predictor, claim

    def renew(self, session: Session) -> Status:
        return guard_prediction(session, self.claim)

    def read_status(self, session: Session) -> Status:
        return held_prediction(session, self.claim)

    def write_end(self, session: Session, status: Status, **values: Any) -> Status:
        return end_prediction(session, self.claim, status, **values)

    def times_missing(self, session: Session) -> int:
        # a prediction has no events to count. It is short, so another reason for several attempts is rare
        return self.claim.attempt - 1

    def report_missing(self, session: Session, payload: dict[str, Any]) -> None:
        """Do nothing: a prediction has no watchers, and the worker's log has a line about it."""

    def work(self) -> Status | None:
        result = self._predict()
        if result is not None:
            # if this can't be written, the object is never kept, and is swept
            return self.end("succeeded", **result)
        return None if self.stopping.reason == "lease_lost" else self.end("queued")

    def _predict(self) -> dict[str, Any] | None:
        """Predict the table and store the result. Return the row's values; None if there was a reason to stop."""
        with self.database.reading() as session:
            predictor = Predictor(read_trained(session, self.claim.weights_id))
        spec = DATASET.validate_python(self.claim.dataset)
        table = self.predictor.datasets.load(self.claim.project_id, spec, text=predictor.categories)
        content = predict_table(predictor, table, PredictionOptions.model_validate(self.claim.options), self.stopping)
        if content is None:
            return None
        # each attempt has its own object, so that none overwrites another's bytes
        key = write_object(self.database, self.predictor.storage, self.claim.project_id, "prd", content)
        return {"rows": table.num_rows, "result_bytes": len(content), "storage_key": key}


def predict_table(
    predictor: Predictor, table: pa.Table, options: PredictionOptions, stopping: Stopping
) -> bytes | None:
    """Return the predictions as an Arrow IPC stream; None if there was a reason to stop.

    Raises DataError with the row's number in the whole table.
    """
    sink = pa.BufferOutputStream()
    writer = None
    for start in range(0, table.num_rows, ROWS_AT_ONCE):
        if stopping():
            return None
        try:
            outputs = predictor.predict(predictor.rows.encode_table(table.slice(start, ROWS_AT_ONCE)))
        except DataError as error:
            row = None if error.row is None else start + error.row
            raise DataError(error.detail, row=row, column=error.column) from error
        part = outputs.table(options)
        writer = writer or pa.ipc.new_stream(sink, part.schema)
        writer.write_table(part)
    if writer is not None:
        writer.close()
    return bytes(sink.getvalue().to_pybytes())
