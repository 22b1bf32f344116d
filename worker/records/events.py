"""The events of a job. Events and epochs share one sequence of numbers, so a watcher can continue where it stopped."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from worker.records.blocks import read_layers, read_numbered
from worker.records.packing import points_of
from worker.records.points import COLUMNS
from worker.records.snapshots import brief, job_snapshot
from worker.records.tables import Event, Job, LastBlock

Kind = Literal["status", "epoch", "checkpoint", "elsewhere", "nondeterminism", "storage_missing", "end"]


class Happening(NamedTuple):
    """An event or an epoch. payload: the data that a watcher receives."""

    seq: int
    kind: Kind
    payload: dict[str, Any]


def show_job(session: Session, job: Job, kind: Kind) -> None:
    """Add an event whose payload is the job as it is now. Its number is the job's newest, which was just allotted."""
    payload = brief(job_snapshot(job))
    write_event(session, project_id=job.project_id, job_id=job.id, seq=job.seq, kind=kind, payload=payload)


def write_event(
    session: Session, *, project_id: str, job_id: str, seq: int, kind: Kind, payload: dict[str, Any]
) -> None:
    """Add an event with a number that this transaction has allotted from the job's row."""
    write_events(session, project_id=project_id, job_id=job_id, first=seq, kind=kind, payloads=[payload])


def write_events(
    session: Session, *, project_id: str, job_id: str, first: int, kind: Kind, payloads: Sequence[dict[str, Any]]
) -> None:
    """Add events with successive numbers. first: the number of the first."""
    known = {"job_id": job_id, "project_id": project_id, "kind": kind}
    rows = [known | {"seq": seq, "payload": payload} for seq, payload in enumerate(payloads, first)]
    if rows:
        session.execute(insert(Event), rows)


def happenings_after(session: Session, job_id: str, seq: int, *, limit: int) -> list[Happening]:
    """Return at most `limit` epochs and events with a number above `seq`, in order.

    Events and epochs are two statements, between which a job may have both: what is past the number that it had at
    first is left for the next call, so that none is passed over.
    """
    newest = session.scalar(select(Job.seq).where(Job.id == job_id)) or 0
    events = select(Event.seq, Event.kind, Event.payload).where(
        Event.job_id == job_id, Event.seq > seq, Event.seq <= newest
    )
    found = [Happening(*row) for row in session.execute(events.order_by(Event.seq).limit(limit))]
    epochs = read_numbered(session, job_id, after_seq=seq, limit=limit)
    points = points_of(epochs, read_layers(session, job_id, epochs))
    for number, point in zip(epochs["seq"].tolist(), points, strict=True):
        found.append(Happening(number, "epoch", {name: getattr(point, name) for name in COLUMNS}))
    return sorted(happening for happening in found if happening.seq <= newest)[:limit]


def events_of(session: Session, after: Mapping[str, int]) -> dict[str, list[Happening]]:
    """Return the events of several jobs, in order, without their epochs: one statement for all of them.

    after: the number after which a job's events are wanted, by the job's id. A job without such events is left out.
    """
    wanted = [(Event.job_id == job_id) & (Event.seq > seq) for job_id, seq in after.items()]
    rows = select(Event.job_id, Event.seq, Event.kind, Event.payload).where(or_(*wanted))
    found: dict[str, list[Happening]] = {}
    for job_id, *event in session.execute(rows.order_by(Event.job_id, Event.seq)):
        found.setdefault(job_id, []).append(Happening(*event))
    return found


def count_recent_events(session: Session, job_id: str, kind: Kind) -> int:
    """Return how many events of this kind the job has had since its newest recorded epoch, or its newest pause."""
    last = select(LastBlock.last_seq).where(LastBlock.job_id == job_id)
    epoch = func.coalesce(last.scalar_subquery(), 0)
    paused = Event.payload["status"].as_string() == "paused"
    pause = select(func.coalesce(func.max(Event.seq), 0)).where(Event.job_id == job_id, Event.kind == "status", paused)
    recent = Event.seq > epoch, Event.seq > pause.scalar_subquery()
    return session.scalar(select(func.count()).where(Event.job_id == job_id, Event.kind == kind, *recent)) or 0


def sequence_numbers(session: Session, job_ids: list[str]) -> dict[str, int]:
    """Return the newest number of each of these jobs; a job that does not exist is left out."""
    return dict(session.execute(select(Job.id, Job.seq).where(Job.id.in_(job_ids))).all())
