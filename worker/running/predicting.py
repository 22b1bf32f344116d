"""Predict a whole table: claim it, work through it a batch at a time, store the result, and end it in one way."""

import math
import os
import re
import threading
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import structlog
from pydantic import TypeAdapter

from worker.data.storage import Storage
from worker.errors import (
    DataError,
    LeaseLostError,
    NotFoundError,
    SpecError,
    StorageFullError,
    UnavailableError,
)
from worker.intake.datasets import Datasets
from worker.networks.predictor import Predictor
from worker.networks.trained import read_trained
from worker.records.identifiers import new_id
from worker.records.predictions import (
    PredictionClaim,
    claim_prediction,
    end_prediction,
    guard_prediction,
    held_prediction,
)
from worker.records.sessions import Database
from worker.running.heartbeat import Heartbeat, Holding
from worker.running.stopping import Progress, Stopping
from worker.settings import Settings
from worker.specs.dataset import Dataset
from worker.specs.prediction import PredictionOptions

log = structlog.get_logger()

ROWS_AT_ONCE = 16_384
PREDICTION_ID = re.compile(r"^prd_[0-9a-f]{32}$")
DATASET: TypeAdapter[Any] = TypeAdapter(Dataset)


@dataclass(frozen=True)
class TablePredictor:
    """What a process needs to predict whole tables; as a Runner, and where results are stored."""

    database: Database
    datasets: Datasets
    storage: Storage
    settings: Settings
    shutdown: threading.Event
    owner: str
    progress: Progress = field(default_factory=Progress)

    def run_prediction(self, prediction_id: str) -> str | None:
        """Predict if it waits; the status it was left in, or None if it was not ours or the lease was lost.

        Never raises for what a table may hold: its end is in the record.
        """
        if not PREDICTION_ID.fullmatch(prediction_id):
            log.warning("not_a_prediction_id", length=len(prediction_id))
            return None
        lease = self.settings.lease_seconds
        claim = self.database.write(
            lambda session: claim_prediction(
                session, prediction_id, owner=self.owner, pid=os.getpid(), lease_seconds=lease
            )
        )
        if claim is None:
            return None
        known = {"job_id": prediction_id, "attempt": claim.attempt, "request_id": claim.request_id}
        with structlog.contextvars.bound_contextvars(**known):
            status = self._attempt(claim)
            log.info("attempt_ended", status=status)
            return status

    def _attempt(self, claim: PredictionClaim) -> str | None:
        stopping = Stopping(
            self.shutdown,
            self.progress,
            max_seconds=math.inf,
            checkpoint_seconds=math.inf,
            lease_seconds=claim.lease_seconds,
        )
        holding = Holding(
            claim.lease_seconds,
            renew=lambda session: guard_prediction(session, claim),
            look=lambda session: held_prediction(session, claim),
        )
        heartbeat = Heartbeat(self.database, stopping, holding)
        heartbeat.start()
        try:
            try:
                result = self._predict(claim, stopping)
            except (LeaseLostError, UnavailableError) as error:
                # if the lease was ours it runs out, and rescue gives the prediction to another
                log.warning("attempt_lost", error=str(error))
                return None
            except Exception as error:  # noqa: BLE001 - whatever a table holds, it ends in the record
                code, message = _translated(error)
                return self._end(claim, "failed", error={"code": code, "message": message, "epoch": None})
            if result is None:
                return None if stopping.reason == "lease_lost" else self._end(claim, "queued")
            return self._end(claim, "succeeded", **result)
        finally:
            heartbeat.end()

    def _predict(self, claim: PredictionClaim, stopping: Stopping) -> dict[str, Any] | None:
        """What the row is told of the stored result; None if there was a reason to stop."""
        with self.database.reading() as session:
            predictor = Predictor(read_trained(session, claim.weights_id))
        spec = DATASET.validate_python(claim.dataset)
        table = self.datasets.load(claim.project_id, spec, text=predictor.categories)
        content = _predicted(predictor, table, PredictionOptions.model_validate(claim.options), stopping)
        if content is None:
            return None
        # a key of this attempt's own: whatever another writes, nobody's bytes are overwritten
        key = new_id("prd")
        self.storage.write(key, content)
        return {"rows": table.num_rows, "result_bytes": len(content), "storage_key": key}

    def _end(self, claim: PredictionClaim, status: str, **values: Any) -> str | None:
        try:
            return self.database.write(lambda session: end_prediction(session, claim, status, **values))
        except (LeaseLostError, UnavailableError) as error:
            # what was stored and is named by no row is swept
            log.warning("end_not_recorded", status=status, error=str(error))
            return None


def _predicted(predictor: Predictor, table: pa.Table, options: PredictionOptions, stopping: Stopping) -> bytes | None:
    """The predictions as an Arrow IPC stream; None if there was a reason to stop."""
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


def _translated(error: Exception) -> tuple[str, str]:
    """code and message of a failed prediction's error."""
    match error:
        case DataError():
            return "invalid_data", error.sentence
        case SpecError() | NotFoundError():
            return "invalid_data", str(error)
        case StorageFullError():
            return "internal", str(error)
        case MemoryError():
            return "out_of_memory", "the prediction needed more memory than a job may have"
        case _:
            log.error("internal_error", exc_info=error)
            return "internal", "an error of ours; the worker's log has it"
