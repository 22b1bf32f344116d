"""Predictions of whole tables: submitted, worked on under a lease as jobs are, listed, deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from worker.errors import LeaseLostError, NotFoundError, SpecError, StateError
from worker.records.clock import now
from worker.records.holding import (
    CRASHES_LIMIT,
    crashed,
    expired,
    give_up,
    held_by,
    held_expired,
    is_there,
    renewal,
    take,
)
from worker.records.idempotency import Answered, Request, answer_once
from worker.records.identifiers import new_id
from worker.records.snapshots import Snapshot, rfc3339
from worker.records.tables import Dataset, IdempotencyKey, Prediction, Weights

OPEN = ("queued", "running")
"The states of a prediction that still needs its weights and its table."


@dataclass(frozen=True)
class PredictionClaim:
    """One attempt at one prediction, with what its row asks for."""

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
    waiting_limit: int,
    request: Request | None = None,
    request_id: str | None = None,
) -> Answered:
    """Write the prediction and its key; return it as it is answered.

    served: name, version and job_id, as they were asked for. Raises IdempotencyError, StateError(queue_full) when the
    project has too many waiting, and NotFoundError and SpecError for weights and tables that have gone.
    """

    def make() -> tuple[Snapshot, str]:
        # held until the commit, so that they are not deleted meanwhile
        if not is_there(session, Weights, weights_id):
            raise NotFoundError("there are no such weights")
        if "id" in dataset and not is_there(session, Dataset, dataset["id"]):
            raise SpecError("/dataset/id", "there is no such dataset")
        waiting = select(func.count()).select_from(Prediction)
        waiting = waiting.where(Prediction.project_id == project_id, Prediction.status == "queued")
        if (session.scalar(waiting) or 0) >= waiting_limit:
            raise StateError(f"the limit of waiting predictions is {waiting_limit}", code="queue_full")
        prediction = Prediction(
            id=new_id("prd"),
            project_id=project_id,
            status="queued",
            weights_id=weights_id,
            served=served,
            dataset=dataset,
            options=options,
            request_id=request_id,
            attempt=0,
            crashes=0,
            # counts as rung, as a job does
            dispatched_at=now(),
        )
        session.add(prediction)
        session.flush()
        return prediction_snapshot(prediction), prediction.id

    return answer_once(session, project_id, request, make)


def claim_prediction(
    session: Session, prediction_id: str, *, owner: str, lease_seconds: float, pid: int | None = None
) -> PredictionClaim | None:
    """Take a queued prediction; None if it is not queued."""
    row = take(session, Prediction, prediction_id, owner=owner, pid=pid, lease_seconds=lease_seconds)
    if row is None:
        return None
    asked = (row.weights_id, row.dataset, row.options, lease_seconds, row.request_id)
    return PredictionClaim(row.id, row.project_id, row.attempt, *asked)


def guard_prediction(session: Session, claim: PredictionClaim) -> str:
    """Renew the lease; the status. Raises LeaseLostError if another has it, or if it was deleted."""
    renewed = renewal(Prediction, claim.prediction_id, claim.attempt, lease_seconds=claim.lease_seconds)
    status: str | None = session.scalar(renewed.returning(Prediction.status))
    if status is None:
        raise LeaseLostError(f"attempt {claim.attempt} no longer holds prediction {claim.prediction_id}")
    return status


def held_prediction(session: Session, claim: PredictionClaim) -> str:
    """The status, by a look that writes nothing. Raises LeaseLostError."""
    status = session.scalar(select(Prediction.status).where(*held_by(Prediction, claim.prediction_id, claim.attempt)))
    if status is None:
        raise LeaseLostError(f"attempt {claim.attempt} no longer holds prediction {claim.prediction_id}")
    return status


def end_prediction(session: Session, claim: PredictionClaim, status: str, **values: Any) -> str:
    """A worker gives it up: succeeded with rows, result_bytes and storage_key, failed with an error, or queued again.

    Raises LeaseLostError.
    """
    guard_prediction(session, claim)
    row = session.get_one(Prediction, claim.prediction_id, populate_existing=True)
    give_up(session, row, status, **values)
    return status


def expired_predictions(session: Session, *, after: str = "", limit: int = 100) -> Sequence[tuple[str, int]]:
    """(id, attempt) of predictions whose lease has run out, in order of id."""
    return expired(session, Prediction, after=after, limit=limit)


def rescue_prediction(session: Session, prediction_id: str, attempt: int) -> str | None:
    """Free one expired lease, if it still is expired: queued again, or failed at the third crash; None if it is not."""
    row = held_expired(session, Prediction, prediction_id, attempt)
    if row is None:
        return None
    crashes = row.crashes + 1
    if crashes >= CRASHES_LIMIT:
        give_up(session, row, "failed", crashes=crashes, error=crashed(row, crashes, "completing it", None))
    else:
        give_up(session, row, "queued", crashes=crashes)
    return row.status


def get_prediction(session: Session, project_id: str, prediction_id: str) -> Prediction:
    """Raises NotFoundError, alike for a foreign, a deleted and an unknown id."""
    found = select(Prediction).where(Prediction.id == prediction_id, Prediction.project_id == project_id)
    row = session.scalar(found)
    if row is None:
        raise NotFoundError("there is no such prediction")
    return row


def list_predictions(
    session: Session, project_id: str, *, before: str | None = None, limit: int
) -> tuple[list[Prediction], bool]:
    """Predictions newest first, and whether there are more. before: an id; only older ones."""
    found = select(Prediction).where(Prediction.project_id == project_id)
    if before is not None:
        found = found.where(Prediction.id < before)
    rows = list(session.scalars(found.order_by(Prediction.id.desc()).limit(limit + 1)))
    return rows[:limit], len(rows) > limit


def delete_prediction(session: Session, project_id: str, prediction_id: str) -> str | None:
    """Remove it, whatever its state: a worker that has it finds its lease lost. The storage key of its result, if any.

    The caller deletes those bytes after the commit. Raises NotFoundError.
    """
    gone = delete(Prediction).where(Prediction.id == prediction_id, Prediction.project_id == project_id)
    row = session.execute(gone.returning(Prediction.storage_key)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such prediction")
    # a repeat of the request that made it must make another
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id == prediction_id))
    key: str | None = row.storage_key
    return key


def check_unused(session: Session, weights_ids: list[str]) -> None:
    """Raises StateError if a prediction that is not over needs one of these weights."""
    users = select(Prediction.id).where(Prediction.weights_id.in_(weights_ids), Prediction.status.in_(OPEN))
    if (prediction_id := session.scalar(users.limit(1))) is not None:
        raise StateError(f"prediction {prediction_id} needs these weights; wait for it, or delete it")


def prediction_snapshot(row: Prediction) -> Snapshot:
    """What it looks like to a reader: plain JSON values."""
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
