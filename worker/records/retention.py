"""Deletes rows that are old enough, a few at a time: idempotency keys, events, snapshots, predictions, old logins."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from sqlalchemy import ScalarSelect, Table, bindparam, delete, literal, select
from sqlalchemy.orm import Session

from worker.records.blobs import delete_blobs
from worker.records.clock import fixed, now, seconds_from_now
from worker.records.objects import abandon_objects
from worker.records.states import FINAL
from worker.records.tables import Event, IdempotencyKey, Job, LoginToken, Prediction, UiSession, Weights
from worker.settings import Retention

SWEPT_AT_ONCE = 100
DAY = 86_400
# written out in the statements, as in the conditions of the indexes that have only such rows
END, SNAPSHOT = (literal(kind, literal_execute=True) for kind in ("end", "snapshot"))

Sweep = Callable[[Session], int]
"Deletes at most SWEPT_AT_ONCE rows in one short transaction, and returns how many."


def sweeps(retention: Retention) -> list[Sweep]:
    """Return the sweeps that the settings ask for, and those of what has expired."""
    asked: list[tuple[Callable[..., int], float | None]] = [
        (sweep_idempotency_keys, retention.idempotency_keys_days),
        (sweep_events, retention.events_days),
        (sweep_snapshots, retention.snapshots_days),
        (sweep_predictions, retention.predictions_days),
    ]
    by_age = [partial(sweep, days=days) for sweep, days in asked if days is not None]
    return [*by_age, sweep_ui_sessions, sweep_login_tokens]


def _delete_each(session: Session, table: type[IdempotencyKey] | type[Event], keys: Sequence[Any]) -> int:
    """Delete rows by their keys, and return how many. For a list of pairs SQLite would read the whole table."""
    if keys:
        known = cast(Table, table.__table__)
        columns = [(column, f"key_{column.name}") for column in known.primary_key.columns]
        statement = delete(known).where(*(column == bindparam(name) for column, name in columns))
        rows = [{name: getattr(key, column.name) for column, name in columns} for key in keys]
        session.connection().execute(statement, rows)
    return len(keys)


def _before(days: float) -> ScalarSelect[Any]:
    return fixed(seconds_from_now(-days * DAY))


def sweep_idempotency_keys(session: Session, days: float) -> int:
    """Delete idempotency keys of requests that were answered more than this many days ago."""
    old = (
        select(IdempotencyKey.project_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < _before(days))
        .order_by(IdempotencyKey.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    return _delete_each(session, IdempotencyKey, session.execute(old).all())


def sweep_events(session: Session, days: float) -> int:
    """Delete old events of jobs that have ended, except the last one, `end`, which ends a stream. Curves are kept."""
    old = (
        select(Event.job_id, Event.seq)
        .join(Job, Job.id == Event.job_id)
        .where(Event.created_at < _before(days), Event.kind != END, Job.status.in_(FINAL))
        .order_by(Event.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    return _delete_each(session, Event, session.execute(old).all())


def sweep_snapshots(session: Session, days: float) -> int:
    """Delete old snapshots of jobs that have ended, with their bytes, unless a version or a prediction needs them."""
    needed = select(Prediction.id).where(Prediction.weights_id == Weights.id, Prediction.finished_at.is_(None))
    old = (
        select(Weights.id, Weights.blob_id)
        .join(Job, Job.id == Weights.job_id)
        .where(
            Weights.created_at < _before(days),
            Weights.kind == SNAPSHOT,
            ~Weights.served,
            Job.status.in_(FINAL),
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
    """Delete predictions that have ended, and abandon their results, whose bytes are then swept."""
    old = (
        select(Prediction.id, Prediction.storage_key)
        .where(Prediction.created_at < _before(days), Prediction.status.in_(FINAL))
        .order_by(Prediction.created_at)
        .limit(SWEPT_AT_ONCE)
    )
    rows = session.execute(old).all()
    ids = [row.id for row in rows]
    if ids:
        abandon_objects(session, [row.storage_key for row in rows if row.storage_key is not None])
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource_id.in_(ids)))
        session.execute(delete(Prediction).where(Prediction.id.in_(ids)))
    return len(ids)


def sweep_ui_sessions(session: Session) -> int:
    """Delete sessions of the dashboard that have expired."""
    return _sweep_expired(session, UiSession)


def sweep_login_tokens(session: Session) -> int:
    """Delete login links that have expired, used or not."""
    return _sweep_expired(session, LoginToken)


def _sweep_expired(session: Session, table: type[UiSession] | type[LoginToken]) -> int:
    old = select(table.sha256).where(table.expires_at <= fixed(now())).order_by(table.expires_at).limit(SWEPT_AT_ONCE)
    digests = list(session.scalars(old))
    if digests:
        session.execute(delete(table).where(table.sha256.in_(digests)))
    return len(digests)
