"""What happened to a job, numbered with its epochs by one sequence, so that a watcher can go on where it was."""

from typing import Any, NamedTuple

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from worker.records.snapshots import brief, job_snapshot
from worker.records.tables import Epoch, Event, Job


class Happening(NamedTuple):
    """kind: status, epoch, checkpoint, elsewhere, nondeterminism, storage_missing or end."""

    seq: int
    kind: str
    payload: dict[str, Any]


def add_event(session: Session, job: Job, kind: str, payload: dict[str, Any] | None = None) -> None:
    """Number the event and add it; without a payload it carries the job as it now is. The caller holds the row."""
    job.seq += 1
    session.flush()
    write_event(
        session,
        project_id=job.project_id,
        job_id=job.id,
        seq=job.seq,
        kind=kind,
        payload=payload or brief(job_snapshot(job)),
    )


def write_event(
    session: Session, *, project_id: str, job_id: str, seq: int, kind: str, payload: dict[str, Any]
) -> None:
    """Add an event under a number that the job's row has allotted in this transaction."""
    session.execute(insert(Event).values(job_id=job_id, project_id=project_id, seq=seq, kind=kind, payload=payload))


def happenings_after(session: Session, job_id: str, seq: int, *, limit: int) -> list[Happening]:
    """Epochs and events with a higher number, in order, at most `limit`."""
    events = select(Event.seq, Event.kind, Event.payload).where(Event.job_id == job_id, Event.seq > seq)
    epochs = select(Epoch).where(Epoch.job_id == job_id, Epoch.seq > seq)
    found = [Happening(*row) for row in session.execute(events.order_by(Event.seq).limit(limit))]
    found += [
        Happening(row.seq, "epoch", point(row)) for row in session.scalars(epochs.order_by(Epoch.seq).limit(limit))
    ]
    return sorted(found)[:limit]


def point(row: Epoch) -> dict[str, Any]:
    """One point of the curve, as a watcher is sent it."""
    return {
        "epoch": row.epoch,
        "train_loss": row.train_loss,
        "validation_loss": row.validation_loss,
        "metrics": row.metrics,
        "learning_rate": row.learning_rate,
        "gradient_norm": row.gradient_norm,
        "layers": row.layers,
        "seconds": row.seconds,
    }


def notes_since_last_epoch(session: Session, job_id: str, kind: str) -> int:
    """Return how many events of this kind the job has had since its newest recorded epoch."""
    newest = select(func.coalesce(func.max(Epoch.seq), 0)).where(Epoch.job_id == job_id).scalar_subquery()
    notes = select(func.count()).where(Event.job_id == job_id, Event.kind == kind, Event.seq > newest)
    return session.scalar(notes) or 0


def sequence_numbers(session: Session, job_ids: list[str]) -> dict[str, int]:
    """The newest number of each of those jobs that exists."""
    return dict(session.execute(select(Job.id, Job.seq).where(Job.id.in_(job_ids))).all())
