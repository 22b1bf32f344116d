"""Predictions of whole tables: submitted, claimed under a lease as jobs are, listed and deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError, SpecError, StateError
from worker.records.clock import now
from worker.records.holding import (
    after_expiry,
    claim_row,
    expired_rows,
    lease_lost,
    lock_expired,
    lock_reference,
    read_held_status,
    release_row,
    renewal,
)
from worker.records.idempotency import Answered, Made, Request, answer_once
from worker.records.identifiers import new_id
from worker.records.objects import abandon_objects, keep_object
from worker.records.paging import read_page
from worker.records.queue_room import QueueRoom
from worker.records.snapshots import Snapshot, rfc3339
from worker.records.states import Status, ended
from worker.records.tables import Dataset, IdempotencyKey, Prediction, Weights


@dataclass(frozen=True)
class PredictionClaim:
    """One attempt at one prediction. weights_id, dataset, options: the row's values."""

    prediction_id: str
    project_id: str
    attempt: int
    weights_id: str
    dataset: dict[str, Any]
    options: dict[str, Any]
    lease_seconds: float
    request_id: str | None


def submit_prediction(
    session: Session,
    project_id: str,
    *,
    weights_id: str,
    served: dict[str, Any],
    dataset: dict[str, Any],
    options: dict[str, Any],
    room: QueueRoom,
    request: Request | None = None,
    request_id: str | None = None,
) -> Answered:
    """Store a prediction and its idempotency key. Return the answer for the client.

    served: the name, version and job_id that the client asked for. dataset: the specification of the table.
    room: checks that the project's queue is not full.
    Raises IdempotencyError; StateError(queue_full) if too many are queued; NotFoundError or SpecError if the weights or
    the table have been deleted.
    """

    def make() -> Made:
        _check_references(session, weights_id, dataset)
        room.take(session, project_id)
        # the caller rings right after the commit
        queued: dict[str, Any] = {"status": "queued", "attempt": 0, "crashes": 0, "dispatched_at": now()}
        prediction = Prediction(
            id=new_id("prd"),
            project_id=project_id,
            weights_id=weights_id,
            served=served,
            dataset=dataset,
            options=options,
            request_id=request_id,
            **queued,
        )
        session.add(prediction)
        session.flush()
        return Made(prediction_snapshot(prediction), prediction.id)

    return answer_once(session, project_id, request, make)


def _check_references(session: Session, weights_id: str, dataset: dict[str, Any]) -> None:
    if not lock_reference(session, Weights, weights_id):
        raise NotFoundError("there are no such weights")
    if "id" in dataset and not lock_reference(session, Dataset, dataset["id"]):
        raise SpecError("/dataset/id", "there is no such dataset")


def claim_prediction(
    session: Session, prediction_id: str | None, *, owner: str, lease_seconds: float, pid: int | None = None
) -> PredictionClaim | None:
    """Claim a queued prediction; return None if there is none. prediction_id: as the id of `lease.claim_job`."""
    row = claim_row(session, Prediction, prediction_id, owner=owner, pid=pid, lease_seconds=lease_seconds)
    if row is None:
        return None
    asked = (row.weights_id, row.dataset, row.options, lease_seconds, row.request_id)
    return PredictionClaim(row.id, row.project_id, row.attempt, *asked)


def guard_prediction(session: Session, claim: PredictionClaim) -> Status:
    """Renew the lease and return the status. Raises LeaseLostError if another worker has the row or it was deleted."""
    renewed = renewal(Prediction, claim.prediction_id, claim.attempt, lease_seconds=claim.lease_seconds)
    status: Status | None = session.scalar(renewed.returning(Prediction.status))
    if status is None:
        raise lease_lost(claim.prediction_id, claim.attempt)
    return status


def held_prediction(session: Session, claim: PredictionClaim) -> Status:
    """Return the status, without a write. Raises LeaseLostError."""
    return read_held_status(session, Prediction, claim.prediction_id, claim.attempt)


def end_prediction(session: Session, claim: PredictionClaim, status: Status, **values: Any) -> Status:
    """End a worker's attempt: succeeded, failed, or queued again. Raises LeaseLostError.

    values: rows, result_bytes and storage_key of a success; error of a failure.
    """
    status = ended(guard_prediction(session, claim), status)
    if "storage_key" in values:
        keep_object(session, values["storage_key"])
    release_row(session, Prediction, claim.prediction_id, status, **values)
    return status


def expired_predictions(session: Session, *, after: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
    """Return (id, attempt) of the predictions whose lease has expired, in order of id."""
    return expired_rows(session, Prediction, after=after, limit=limit)


def rescue_prediction(session: Session, prediction_id: str, attempt: int) -> Status | None:
    """Free a prediction whose lease has expired, and return its new status; None if its lease is no longer expired.

    It is queued again, or fails at the third crash.
    """
    row = lock_expired(session, Prediction, prediction_id, attempt)
    if row is None:
        return None
    status, values = after_expiry(row, goal="completing it", epoch=None)
    release_row(session, Prediction, prediction_id, status, **values)
    return status


def get_prediction(session: Session, project_id: str, prediction_id: str) -> Prediction:
    """Return the prediction. Raises NotFoundError."""
    found = select(Prediction).where(Prediction.id == prediction_id, Prediction.project_id == project_id)
    row = session.scalar(found)
    if row is None:
        raise NotFoundError("there is no such prediction")
    return row


def list_predictions(
    session: Session, project_id: str, *, before: str | None = None, limit: int
) -> tuple[list[Prediction], bool]:
    """Return a page of predictions, newest first, and whether there are more. before: an id; older ones only."""
    found = select(Prediction).where(Prediction.project_id == project_id)
    return read_page(session, found, Prediction.id, before=before, limit=limit)


def delete_prediction(session: Session, project_id: str, prediction_id: str) -> str | None:
    """Delete a prediction in any status, abandon its result, and return the result's storage key, if there is one.

    The caller deletes the stored bytes after the commit. A worker that has the prediction finds that its lease is
    lost. Raises NotFoundError.
    """
    gone = delete(Prediction).where(Prediction.id == prediction_id, Prediction.project_id == project_id)
    row = session.execute(gone.returning(Prediction.storage_key)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such prediction")
    # if the client repeats the request that made it, a new prediction must be made
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id == prediction_id))
    key: str | None = row.storage_key
    if key is not None:
        abandon_objects(session, [key])
    return key


def check_unused(session: Session, weights_ids: list[str]) -> None:
    """Raise StateError if a prediction that has not ended needs one of these weights."""
    users = select(Prediction.id).where(Prediction.weights_id.in_(weights_ids), Prediction.finished_at.is_(None))
    if (prediction_id := session.scalar(users.limit(1))) is not None:
        raise StateError(f"prediction {prediction_id} needs these weights; wait for it, or delete it")


def prediction_snapshot(row: Prediction) -> Snapshot:
    """Return the prediction as a client sees it: plain JSON values."""
    return {
        "id": row.id,
        "status": row.status,
        "model": row.served,
        "dataset": row.dataset,
        "options": row.options,
        "rows": row.rows,
        "bytes": row.result_bytes,
        "attempt": row.attempt,
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(row.started_at),
        "finished_at": rfc3339(row.finished_at),
        "error": row.error,
    }
