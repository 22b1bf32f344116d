"""What is forgotten after its time, and what never is."""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import func, insert, select, update

from worker.intake.datasets import Datasets
from worker.records import logins
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.logins import begin_session, new_login_token
from worker.records.retention import SWEPT_AT_ONCE, sweeps
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import (
    Blob,
    Chunk,
    Event,
    IdempotencyKey,
    LoginToken,
    UiSession,
    Weights,
)
from worker.records.versions import delete_version, register_version
from worker.running.run import Runner
from worker.settings import Retention
from worker.sweeping import sweep_all

Submit = Callable[..., Snapshot]

SHORT = Retention(idempotency_keys_days=1, events_days=1, snapshots_days=1)


def age(database: Database, *tables: type[Event | Weights | IdempotencyKey | Blob]) -> None:
    """Make these rows two days older."""

    def work(session):  # type: ignore[no-untyped-def]
        for table in tables:
            for key, created in session.execute(select(table.__mapper__.primary_key[0], table.created_at)).all():
                old = created - timedelta(days=2)
                session.execute(update(table).where(table.__mapper__.primary_key[0] == key).values(created_at=old))

    database.write(work)


def count(database: Database, table: type[Event | Weights | Blob | Chunk | IdempotencyKey]) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def swept(database: Database, datasets: Datasets) -> Callable[[Retention], None]:
    return lambda retention: sweep_all(database, datasets, retention)


def test_an_old_jobs_events_and_snapshots_go_and_its_curve_end_and_weights_stay(
    database: Database, runner: Runner, submit: Submit, swept: Callable[[Retention], None]
) -> None:
    """After its term a job that has ended keeps its epochs, its end and its final weights, and no other bytes."""
    job_id = submit(training={"epochs": 20})["id"]
    runner.run_job(job_id)
    assert count(database, Weights) > 5
    age(database, Event, Weights)
    swept(SHORT)
    with database.reading() as session:
        kinds = [happening.kind for happening in happenings_after(session, job_id, 0, limit=100)]
        left = list(session.scalars(select(Weights.kind)))
    assert kinds == ["epoch"] * 20 + ["end"]
    assert left == ["final"]
    # no bytes without a row that names them, and none missing
    assert (count(database, Blob), count(database, Chunk)) == (1, 1)


def test_what_is_young_or_running_or_served_stays(
    database: Database, runner: Runner, submit: Submit, swept: Callable[[Retention], None]
) -> None:
    """Neither young rows, nor events of a job that waits, nor a snapshot that a model serves are deleted."""
    done = submit(training={"epochs": 3})["id"]
    runner.run_job(done)
    before = [count(database, table) for table in (Event, Weights, Blob)]
    swept(SHORT)
    assert [count(database, table) for table in (Event, Weights, Blob)] == before
    with database.reading() as session:
        served = session.scalars(select(Weights.id).where(Weights.kind == "snapshot").order_by(Weights.id)).all()[0]

    database.write(lambda session: register_version(session, DEFAULT_PROJECT, "m", served))
    waiting = submit()["id"]
    age(database, Event, Weights)
    swept(SHORT)
    with database.reading() as session:
        assert set(session.scalars(select(Weights.kind))) == {"final", "snapshot"}
        assert list(session.scalars(select(Weights.id).where(Weights.kind == "snapshot"))) == [served]
        assert session.scalars(select(Event.kind).where(Event.job_id == waiting)).all() == ["status"]
    database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "m", 1))
    swept(SHORT)
    with database.reading() as session:
        assert set(session.scalars(select(Weights.kind))) == {"final"}


def test_without_a_term_nothing_is_forgotten(
    database: Database, runner: Runner, submit: Submit, swept: Callable[[Retention], None]
) -> None:
    """A retention of None keeps everything."""
    runner.run_job(submit(training={"epochs": 3})["id"])
    age(database, Event, Weights)
    before = [count(database, table) for table in (Event, Weights, Blob)]
    swept(Retention(idempotency_keys_days=None, events_days=None, snapshots_days=None))
    assert [count(database, table) for table in (Event, Weights, Blob)] == before


def test_keys_are_swept_a_few_at_a_time(database: Database) -> None:
    """One transaction deletes at most SWEPT_AT_ONCE rows: it holds up nobody for long."""
    rows = [
        {
            "project_id": DEFAULT_PROJECT,
            "key": f"key-{n}",
            "request_sha256": "0" * 64,
            "resource_id": f"job_{n}",
            "answer": {},
        }
        for n in range(SWEPT_AT_ONCE + 5)
    ]
    database.write(lambda session: session.execute(insert(IdempotencyKey), rows))
    age_keys = update(IdempotencyKey).values(created_at=IdempotencyKey.created_at)
    database.write(lambda session: session.execute(age_keys))
    (sweep, *_) = sweeps(Retention(idempotency_keys_days=1e-9))
    assert [database.write(sweep) for _ in range(3)] == [SWEPT_AT_ONCE, 5, 0]


def test_expired_logins_are_swept_and_others_stay(
    database: Database, swept: Callable[[Retention], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions and login links go when they have expired, more than one sweep's worth of them; the others stay."""
    live = [database.write(lambda session: begin_session(session, seconds=60)), database.write(new_login_token)]
    monkeypatch.setattr(logins, "LOGIN_SECONDS", -1)
    for _ in range(SWEPT_AT_ONCE + 1):
        database.write(lambda session: (begin_session(session, seconds=-1), new_login_token(session)))
    swept(Retention())
    with database.reading() as session:
        assert session.scalars(select(UiSession.sha256)).all() == [sha256(live[0].encode()).hexdigest()]
        assert session.scalars(select(LoginToken.sha256)).all() == [sha256(live[1].encode()).hexdigest()]
