"""Deletes rows that are old enough, a few at a time: idempotency keys, events, snapshots and predictions."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from worker.records.blobs import delete_blobs
from worker.records.clock import seconds_from_now
from worker.records.states import FINAL, OPEN
from worker.records.tables import Event, IdempotencyKey, Job, ModelVersion, Prediction, Weights
from worker.settings import Retention

SWEPT_AT_ONCE = 100
DAY = 86_400

Sweep = Callable[[Session], int]
"Deletes at most SWEPT_AT_ONCE rows in one short transaction, and returns how many."


def sweeps(retention: Retention) -> list[Sweep]:
    """Return the sweeps that the settings ask for."""
    asked: list[tuple[Callable[..., int], float | None]] = [
        (sweep_idempotency_keys, retention.idempotency_keys_days),
        (sweep_events, retention.events_days),
        (sweep_snapshots, retention.snapshots_days),
        (sweep_predictions, retention.predictions_days),
    ]
    return [partial(sweep, days=days) for sweep, days in asked if days is not None]


def sweep_idempotency_keys(session: Session, days: float) -> int:
    """Delete idempotency keys of requests that were answered more than this many days ago."""
    old = (
        select(IdempotencyKey.project_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < seconds_from_now(-days * DAY))
        .order_by(IdempotencyKey.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    rows = [tuple(row) for row in session.execute(old)]
    if rows:
        session.execute(delete(IdempotencyKey).where(tuple_(IdempotencyKey.project_id, IdempotencyKey.key).in_(rows)))
    return len(rows)


def sweep_events(session: Session, days: float) -> int:
    """Delete old events of jobs that have ended, except the last one, `end`, which ends a stream. Curves are kept."""
    old = (
        select(Event.job_id, Event.seq)
        .join(Job, Job.id == Event.job_id)
        .where(Event.created_at < seconds_from_now(-days * DAY), Event.kind != "end", Job.status.in_(FINAL))
        .order_by(Event.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    rows = [tuple(row) for row in session.execute(old)]
    if rows:
        session.execute(delete(Event).where(tuple_(Event.job_id, Event.seq).in_(rows)))
    return len(rows)


def sweep_snapshots(session: Session, days: float) -> int:
    """Delete old snapshots of jobs that have ended, with their bytes, unless a version or a prediction needs them."""
    served = select(ModelVersion.weights_id).where(ModelVersion.weights_id == Weights.id)
    needed = select(Prediction.id).where(Prediction.weights_id == Weights.id, Prediction.status.in_(OPEN))
    old = (
        select(Weights.id, Weights.blob_id)
        .join(Job, Job.id == Weights.job_id)
        .where(
            Weights.created_at < seconds_from_now(-days * DAY),
            Weights.kind == "snapshot",
            Job.status.in_(FINAL),
            ~served.exists(),
            ~needed.exists(),
        )
        .order_by(Weights.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    rows = session.execute(old).all()
    if rows:
        session.execute(delete(Weights).where(Weights.id.in_([row.id for row in rows])))
        delete_blobs(session, [row.blob_id for row in rows])
    return len(rows)


def sweep_predictions(session: Session, days: float) -> int:
    """Delete old predictions that have ended. Their stored bytes are swept later, since no row names them then."""
    old = (
        select(Prediction.id)
        .where(Prediction.created_at < seconds_from_now(-days * DAY), Prediction.status.in_(FINAL))
        .order_by(Prediction.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    ids = list(session.scalars(old))
    if ids:
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id.in_(ids)))
        session.execute(delete(Prediction).where(Prediction.id.in_(ids)))
    return len(ids)
