"""Loss curves. Every epoch is recorded once, even if a resumed run trains it again."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, or_, select, text
from sqlalchemy.orm import Session

from worker.records.clock import now
from worker.records.lease import Claim, Guarded, guard
from worker.records.points import Point, point_of
from worker.records.tables import Epoch

# this many points have room for every epoch with figures of layers: a job has at most half as many of these
ROOM_FOR_LAYERS = 512

FROM_JSON = text("INSERT INTO epochs SELECT * FROM json_populate_recordset(NULL::epochs, CAST(:rows AS json))")


def record_epochs(
    session: Session,
    claim: Claim,
    points: Sequence[Point],
    *,
    recorded: int,
    eta_seconds: float,
    events: int = 0,
) -> tuple[Guarded, list[int]]:
    """Add new points, and compare the others with what is recorded. Raises LeaseLostError.

    recorded: the last epoch that is already recorded; points up to it are only compared.
    eta_seconds: how long the rest of the job will take.
    events: how many sequence numbers the caller needs for events of its own; they are the last ones allotted.
    Returns the guard's result, and the epochs that differ from their first record, which is kept.
    """
    new = [point for point in points if point.epoch > recorded]
    values: dict[str, Any] = {"eta_seconds": eta_seconds}
    if new:
        # a new epoch is progress: crashes before it no longer count
        values |= {"epoch": new[-1].epoch, "latest": new[-1].summary, "crashes": 0, "progress_at": now()}
    if best := [point for point in new if point.is_best]:
        values["best"] = best[-1].summary
    guarded = guard(session, claim, sequence_numbers=len(new) + events, **values)
    first = guarded.seq - events - len(new) + 1
    if new:
        owner = {"job_id": claim.job_id, "project_id": claim.project_id, "attempt": claim.attempt}
        _insert(session, [owner | {"seq": first + n} | vars(point) for n, point in enumerate(new)])
    return guarded, _differing(session, claim.job_id, [point for point in points if point.epoch <= recorded])


def _insert(session: Session, rows: list[dict[str, Any]]) -> None:
    """Add epochs. To PostgreSQL they are sent as one JSON value, which stores floats exactly.

    A fast job has hundreds of epochs in one flush. On PostgreSQL one statement for each row took 0.2 ms per row, and
    one statement with a parameter for each cell 0.3 ms per row. SQLite has no round trips.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(FROM_JSON, {"rows": json.dumps(rows)})
    else:
        session.execute(insert(Epoch), rows)


def _differing(session: Session, job_id: str, points: Sequence[Point]) -> list[int]:
    if not points:
        return []
    rows = session.scalars(
        select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch.in_([point.epoch for point in points]))
    )
    stored = {row.epoch: point_of(row).bits for row in rows}
    return [point.epoch for point in points if stored.get(point.epoch) != point.bits]


def read_curve(session: Session, job_id: str, *, after_epoch: int = 0, max_points: int | None = None) -> list[Point]:
    """Return the curve in order of epochs.

    max_points: about how many points to return. They are evenly spaced and include the last epoch. If there is room,
        epochs with figures of layers are included too.
    """
    found = select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch > after_epoch)
    if max_points is not None:
        last = session.scalar(select(func.max(Epoch.epoch)).where(Epoch.job_id == job_id)) or 0
        # epochs have no gaps: every step-th counted back from the last, chosen by the database
        points = last - after_epoch
        step = 1 if points <= max_points else -(-points // (max_points - 1))
        kept = [(last - Epoch.epoch) % step == 0, Epoch.epoch == after_epoch + 1]
        if max_points >= ROOM_FOR_LAYERS:
            kept.append(Epoch.layers.is_not(None))
        found = found.where(or_(*kept))
    return [point_of(row) for row in session.scalars(found.order_by(Epoch.epoch))]


def recorded_rate(session: Session, job_id: str, epoch: int) -> float | None:
    """Return the learning rate of this epoch's last step, or of the last epoch recorded before it.

    None if no epoch is recorded.
    """
    found = select(Epoch.learning_rate).where(Epoch.job_id == job_id, Epoch.epoch <= epoch)
    return session.scalar(found.order_by(Epoch.epoch.desc()).limit(1))
