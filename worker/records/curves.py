"""Loss curves. Every epoch is recorded once, even if a resumed run trains it again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.records.blocks import add_epochs, add_layers, read_extremes, read_layers, read_level
from worker.records.clock import now
from worker.records.lease import Claim, Guarded, guard
from worker.records.packing import Columns, columns_of, joined, points_of
from worker.records.points import Point
from worker.records.tables import LastBlock
from worker.records.thinning import thinned

# this many points have room for every epoch with figures of layers: a job has at most half as many of these
ROOM_FOR_LAYERS = 512


def record_epochs(
    session: Session,
    claim: Claim,
    points: Sequence[Point],
    *,
    recorded: int,
    eta_seconds: float,
    events: int = 0,
) -> tuple[Guarded, list[int]]:
    """Add new points, and compare the others with what is recorded. Raises LeaseLostError, as `guard` does.

    recorded: the last epoch that is already recorded; points up to it are only compared, the others follow it.
    eta_seconds: how long the rest of the job will take.
    events: how many sequence numbers the caller needs for events of its own; they are the last ones allotted.
    Returns the guard's result, and the epochs that differ from their first record, which is kept.
    """
    new = [point for point in points if point.epoch > recorded]
    if [point.epoch for point in new] != list(range(recorded + 1, recorded + 1 + len(new))):
        raise ValueError(f"epochs {[point.epoch for point in new]} do not follow epoch {recorded}")
    values: dict[str, Any] = {"eta_seconds": eta_seconds}
    if new:
        # a new epoch is progress: crashes before it no longer count
        values |= {"epoch": new[-1].epoch, "latest": new[-1].summary, "crashes": 0, "progress_at": now()}
    if best := [point for point in new if point.is_best]:
        values["best"] = best[-1].summary
    guarded = guard(session, claim, recorded=recorded if new else None, sequence_numbers=len(new) + events, **values)
    if new:
        first = guarded.seq - events - len(new) + 1
        columns = columns_of(new, first_seq=first, attempt=claim.attempt)
        add_epochs(session, claim.job_id, claim.project_id, columns)
        layers = {point.epoch: point.layers for point in new if point.layers is not None}
        add_layers(session, claim.job_id, claim.project_id, layers)
    return guarded, _differing(session, claim.job_id, [point for point in points if point.epoch <= recorded])


def _differing(session: Session, job_id: str, points: Sequence[Point]) -> list[int]:
    if not points:
        return []
    epochs = [point.epoch for point in points]
    columns = read_level(session, job_id, 0, after_epoch=min(epochs) - 1, last_epoch=max(epochs))
    stored = {point.epoch: point.bits for point in _points(session, job_id, columns)}
    return [point.epoch for point in points if stored.get(point.epoch) != point.bits]


def read_curve(session: Session, job_id: str, *, after_epoch: int = 0, max_points: int | None = None) -> list[Point]:
    """Return the curve in order of epochs. max_points: as `read_thinned` has it; None: return every point."""
    if max_points is not None:
        columns = read_thinned(session, job_id, after_epoch=after_epoch, max_points=max_points)
    else:
        columns = read_level(session, job_id, 0, after_epoch=after_epoch, last_epoch=_last_epoch(session, job_id))
    return _points(session, job_id, columns)


def read_thinned(session: Session, job_id: str, *, after_epoch: int, max_points: int) -> Columns:
    """Return at most `max_points` epochs after `after_epoch`, at least 2, with the peaks of each figure.

    They include the first, the last, and the lowest and highest of each loss, gradient norm and metric in each of as
    many buckets as there is room for. If there is room, epochs with figures of layers are included too.
    """
    last = _last_epoch(session, job_id)
    if last <= after_epoch:
        return joined([])
    if last - after_epoch <= max_points:
        return read_level(session, job_id, 0, after_epoch=after_epoch, last_epoch=last)
    columns = read_extremes(session, job_id, after_epoch=after_epoch, last_epoch=last, groups=max_points)
    if columns["epoch"][0] > after_epoch + 1:
        first = read_level(session, job_id, 0, after_epoch=after_epoch, last_epoch=after_epoch + 1)
        columns = joined([first, columns])
    pinned = np.isin(columns["epoch"], (after_epoch + 1, last))
    if max_points >= ROOM_FOR_LAYERS:
        pinned |= columns["has_layers"] == 1
    return thinned(columns, max_points, pinned=pinned)


def recorded_rate(session: Session, job_id: str, epoch: int) -> float | None:
    """Return the learning rate of this epoch's last step, or of the last epoch recorded before it.

    None if no epoch is recorded.
    """
    last = min(epoch, _last_epoch(session, job_id))
    rates = read_level(session, job_id, 0, after_epoch=last - 1, last_epoch=last)["learning_rate"].tolist()
    return rates[-1] if rates else None


def _last_epoch(session: Session, job_id: str) -> int:
    return session.scalar(select(LastBlock.last_epoch).where(LastBlock.job_id == job_id)) or 0


def _points(session: Session, job_id: str, columns: Columns) -> list[Point]:
    return points_of(columns, read_layers(session, job_id, columns))
