"""Loss curves: every epoch once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, or_, select, text
from sqlalchemy.orm import Session

from worker.records.clock import now
from worker.records.lease import Claim, Guarded, guard
from worker.records.tables import Epoch

# of points: twice the epochs with figures of layers that a job has at most
ROOM_FOR_LAYERS = 512

FROM_JSON = text("INSERT INTO epochs SELECT * FROM json_populate_recordset(NULL::epochs, CAST(:rows AS json))")


@dataclass(frozen=True)
class Point:
    """One epoch as it is recorded; a figure that is not finite is None. layers: in some epochs."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    learning_rate: float
    gradient_norm: float | None
    metrics: dict[str, float | None]
    seconds: float
    layers: list[dict[str, float | None]] | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """What a job shows as its latest or best epoch."""
        return {name: getattr(self, name) for name in ("epoch", "train_loss", "validation_loss", "metrics")}

    @property
    def bits(self) -> tuple[Any, ...]:
        """What a resumed run must repeat exactly."""
        return (
            self.train_loss,
            self.validation_loss,
            self.learning_rate,
            self.gradient_norm,
            self.metrics,
            self.layers,
        )


def record_epochs(
    session: Session,
    claim: Claim,
    points: Sequence[Point],
    *,
    recorded: int,
    best: Point | None,
    eta_seconds: float,
    events: int = 0,
) -> tuple[Guarded, list[int]]:
    """Add the points; those up to epoch `recorded` stand already and are only compared.

    events: how many more numbers the caller needs, the last ones allotted. Returns the guard's answer and the epochs
    that differ from what stands, which stays as it is. Raises LeaseLostError.
    """
    new = [point for point in points if point.epoch > recorded]
    values: dict[str, Any] = {"eta_seconds": eta_seconds}
    if new:
        # a newly recorded epoch is progress: crashes before it no longer count
        values |= {"epoch": new[-1].epoch, "latest": new[-1].summary, "crashes": 0, "progress_at": now()}
    if best is not None:
        values["best"] = best.summary
    guarded = guard(session, claim, numbers=len(new) + events, **values)
    first = guarded.seq - events - len(new) + 1
    if new:
        owner = {"job_id": claim.job_id, "project_id": claim.project_id, "attempt": claim.attempt}
        _insert(session, [owner | {"seq": first + n} | vars(point) for n, point in enumerate(new)])
    return guarded, _differing(session, claim.job_id, [point for point in points if point.epoch <= recorded])


def _insert(session: Session, rows: list[dict[str, Any]]) -> None:
    """Add epochs. A fast job has hundreds in a flush: PostgreSQL takes them as one JSON value, whose floats are exact.

    One statement a row cost 0.2 ms each there, and one with a parameter a cell 0.3; SQLite has no round trips.
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


def point_of(row: Epoch) -> Point:
    return Point(
        row.epoch,
        row.train_loss,
        row.validation_loss,
        row.learning_rate,
        row.gradient_norm,
        row.metrics,
        row.seconds,
        row.layers,
    )


def read_curve(session: Session, job_id: str, *, after_epoch: int = 0, max_points: int | None = None) -> list[Point]:
    """The curve in order of epochs; thinned to about max_points evenly spaced ones, the last always among them.

    Where there is room, epochs with figures of layers stay too.
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
    """The learning rate of the last step of this epoch, or of the last recorded before it; None before the first."""
    found = select(Epoch.learning_rate).where(Epoch.job_id == job_id, Epoch.epoch <= epoch)
    return session.scalar(found.order_by(Epoch.epoch.desc()).limit(1))
