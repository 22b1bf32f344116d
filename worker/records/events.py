"""The events of a job. Events and epochs share one sequence of numbers, so a watcher can continue where it stopped."""

from typing import Any, Literal, NamedTuple

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from worker.records.points import COLUMNS
from worker.records.snapshots import brief, job_snapshot
from worker.records.tables import Epoch, Event, Job

Kind = Literal["status", "epoch", "checkpoint", "elsewhere", "nondeterminism", "storage_missing", "end"]


class Happening(NamedTuple):
    """An event or an epoch. payload: the data that a watcher receives."""

    seq: int
    kind: Kind
    payload: dict[str, Any]


def add_event(session: Session, job: Job, kind: Kind) -> None:
    """Add an event with the next number, whose payload is the job as it is now. The caller has locked the job's row."""
    job.seq += 1
    session.flush()
    payload = brief(job_snapshot(job))
    write_event(session, project_id=job.project_id, job_id=job.id, seq=job.seq, kind=kind, payload=payload)


def write_event(
    session: Session, *, project_id: str, job_id: str, seq: int, kind: Kind, payload: dict[str, Any]
) -> None:
    """Add an event with a number that this transaction has allotted from the job's row."""
    session.execute(insert(Event).values(job_id=job_id, project_id=project_id, seq=seq, kind=kind, payload=payload))


def happenings_after(session: Session, job_id: str, seq: int, *, limit: int) -> list[Happening]:
    """Return at most `limit` epochs and events with a number above `seq`, in order."""
    events = select(Event.seq, Event.kind, Event.payload).where(Event.job_id == job_id, Event.seq > seq)
    epochs = select(Epoch).where(Epoch.job_id == job_id, Epoch.seq > seq)
    found = [Happening(*row) for row in session.execute(events.order_by(Event.seq).limit(limit))]
    for row in session.scalars(epochs.order_by(Epoch.seq).limit(limit)):
        point = {name: getattr(row, name) for name in COLUMNS}
        found.append(Happening(row.seq, "epoch", point))
    return sorted(found)[:limit]


def count_recent_events(session: Session, job_id: str, kind: Kind) -> int:
    """Return how many events of this kind the job has had since its newest recorded epoch, or its newest pause."""
    epoch = select(func.coalesce(func.max(Epoch.seq), 0)).where(Epoch.job_id == job_id).scalar_subquery()
    paused = Event.payload["status"].as_string() == "paused"
    pause = select(func.coalesce(func.max(Event.seq), 0)).where(Event.job_id == job_id, Event.kind == "status", paused)
    recent = Event.seq > epoch, Event.seq > pause.scalar_subquery()
    return session.scalar(select(func.count()).where(Event.job_id == job_id, Event.kind == kind, *recent)) or 0


def sequence_numbers(session: Session, job_ids: list[str]) -> dict[str, int]:
    """Return the newest number of each of these jobs; a job that does not exist is left out."""
    return dict(session.execute(select(Job.id, Job.seq).where(Job.id.in_(job_ids))).all())
