"""What must be true of a finished record, whatever happened to the processes that wrote it."""

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from worker.backup.curves import curve_faults
from worker.records.blobs import read_blob
from worker.records.blocks import all_blocks
from worker.records.curves import read_curve
from worker.records.packing import Columns, joined, unpack
from worker.records.sessions import Database
from worker.records.states import FINAL
from worker.records.tables import Blob, Checkpoint, Event, Job, Weights


@dataclass(frozen=True)
class Result:
    """The bits of a job: its curve, and its final weights."""

    curve: tuple[tuple[Any, ...], ...]
    weights_sha256: str


def result_of(database: Database, job_id: str) -> Result:
    with database.reading() as session:
        curve = tuple(tuple(map(repr, point.bits)) for point in read_curve(session, job_id))
        blob_id = session.scalar(select(Weights.blob_id).where(Weights.job_id == job_id, Weights.kind == "final"))
        assert blob_id is not None, "no final weights"
        return Result(curve, hashlib.sha256(read_blob(session, blob_id)).hexdigest())


def assert_invariants(database: Database, job_ids: list[str]) -> None:
    """Every job that was answered 2xx has ended once, and its record was written once."""
    with database.reading() as session:
        if session.get_bind().dialect.name == "sqlite":
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        assert [fault for fault in curve_faults(session.connection()) if fault[0] in job_ids] == []
        for job_id in job_ids:
            assert_whole(session, job_id)


def recorded(session: Session, job_id: str) -> Columns:
    """Return the columns of all epochs, in the order in which they are stored."""
    blocks = all_blocks()
    found = select(blocks.c.content).where(blocks.c.job_id == job_id).order_by(blocks.c.first_epoch)
    return joined([unpack(content) for content in session.scalars(found)])


def assert_whole(session: Session, job_id: str) -> None:
    job = session.get_one(Job, job_id)
    assert job.status in FINAL
    assert (job.owner, job.lease_until) == (None, None)
    events = session.execute(select(Event.seq, Event.kind).where(Event.job_id == job_id).order_by(Event.seq)).all()
    epochs = recorded(session, job_id)
    # one end, and it is the last that happened
    assert [event.seq for event in events if event.kind == "end"] == [job.seq]
    assert "nondeterminism" not in {event.kind for event in events}
    # epochs and events share one run of numbers: nothing is missing, and nothing is there twice
    assert sorted([event.seq for event in events] + epochs["seq"].tolist()) == list(range(1, job.seq + 1))
    assert epochs["epoch"].tolist() == list(range(1, job.epoch + 1))
    # once a later attempt has written, no earlier one has
    attempts = epochs["attempt"].tolist()
    assert attempts == sorted(attempts)
    assert not attempts or attempts[-1] <= job.attempt
    assert session.scalar(select(func.count()).select_from(Checkpoint).where(Checkpoint.job_id == job_id)) == 0
    for blob in session.scalars(select(Blob).join(Weights, Weights.blob_id == Blob.id).where(Weights.job_id == job_id)):
        assert blob.published
        assert hashlib.sha256(read_blob(session, blob.id)).hexdigest() == blob.sha256
