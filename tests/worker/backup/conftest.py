"""A record with a row in every table, and empty databases of either kind to restore into."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, create_engine, insert, select, text

from migrations.schema import upgrade
from tests.conftest import POSTGRESQL, missing
from tests.worker.records.test_curves import points
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.aliases import move_alias
from worker.records.curves import record_epochs
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.job_counts import add_up_changes
from worker.records.lease import Claim, claim_job
from worker.records.logins import begin_session, new_login_token
from worker.records.sessions import Database
from worker.records.states import Change
from worker.records.tables import (
    ApiKey,
    Base,
    HeldOut,
    IdempotencyKey,
    Job,
    JobCountChange,
    JobDataset,
    JobSource,
    Prediction,
    Weights,
    Worker,
)
from worker.records.transitions import change_status
from worker.running.run import Runner

CSV = b"width,height,label\n" + b"".join(b"%d,%d,%s\n" % (n, n * n, b"ab"[n % 2 : n % 2 + 1]) for n in range(100))


@dataclass(frozen=True)
class Record:
    """Jobs by their status; dataset: the id of the upload; result: the key of a prediction's result."""

    database: Database
    storage: Storage
    jobs: dict[str, str]
    dataset: str
    result: str


@pytest.fixture
def record(
    database: Database, datasets: Datasets, submit: Callable[..., Any], runner: Runner, tmp_path: Path
) -> Record:
    """Jobs of all kinds, one of them half done by a worker that still holds it."""
    storage = Storage(str(tmp_path / "storage"))
    done = submit(model="iris", training={"replay_steps": [1]}, tags=["a"])["id"]
    assert runner.run_job(done) == "succeeded"
    database.write(add_up_changes)
    jobs = {"succeeded": done, "queued": submit()["id"], "running": _half_done(runner, submit)}
    changes: list[tuple[str, Change]] = [("pausing", "pause"), ("cancelling", "cancel")]
    for status, change in changes:
        jobs[status] = submit()["id"]
        claimed = claim(database, jobs[status])
        database.write(partial(change_status, project_id=DEFAULT_PROJECT, job_id=jobs[status], change=change))
    # the last of these jobs gets full blocks and a summary
    database.write(lambda session: record_epochs(session, claimed, points(1, 600), recorded=0, eta_seconds=1.0))
    claim(database, jobs["running"])
    dataset, _ = datasets.store(DEFAULT_PROJECT, "flowers", CSV)
    result = new_id("prd")
    storage.write(result, b"a result" * 1000)
    _add_others(database, jobs, dataset.id, result)
    return Record(database, storage, jobs, dataset.id, result)


def claim(database: Database, job_id: str) -> Claim:
    claimed = database.write(lambda session: claim_job(session, job_id, owner="wrk_old", pid=7, lease_seconds=3600))
    assert claimed is not None
    return claimed


def _half_done(runner: Runner, submit: Callable[..., Any]) -> str:
    """A job that was released after some epochs, with a checkpoint."""
    job_id: str = submit(training={"epochs": 500, "batch_size": 2, "checkpoint_seconds": 0.1})["id"]
    shutdown = threading.Event()
    calls: list[str] = []

    def announce(announced: str) -> None:
        calls.append(announced)
        if len(calls) == 3:
            shutdown.set()

    one = Runner(runner.database, runner.datasets, runner.settings, shutdown, "wrk_old", announce)
    assert one.run_job(job_id) == "queued"
    return job_id


def _add_others(database: Database, jobs: dict[str, str], dataset: str, result: str) -> None:
    """What no job makes; with values that are hard to keep."""
    own = {"project_id": DEFAULT_PROJECT}
    hard = {"x": [0.1, 1e308, 5e-324, -0.0, 2**60], "text": '\u00e9\u4e16\U0001f600\\"\n', "none": None, "b": {"a": 1}}
    with database.reading() as session:
        weights, blob = session.execute(select(Weights.id, Weights.blob_id).where(Weights.kind == "final")).one()
    leased = {"status": "succeeded", "attempt": 1, "crashes": 0, **own}
    asked = {"weights_id": weights, "served": hard, "dataset": hard, "options": {}}
    rows: list[tuple[type[Base], dict[str, Any]]] = [
        # A job failed and was then deleted: two changes that no worker has added up yet.
        (JobCountChange, {"id": "0" * 32, "status": "failed", "change": 1, **own}),
        (JobCountChange, {"id": "1" * 32, "status": "failed", "change": -1, **own}),
        (ApiKey, {"id": "key_1", "name": "k", "secret_sha256": "0" * 64, "scopes": ["jobs:read"], **own}),
        (IdempotencyKey, {"key": "once", "request_sha256": "1" * 64, "resource_id": "x", "answer": hard, **own}),
        (JobDataset, {"job_id": jobs["queued"], "dataset_id": dataset, **own}),
        (JobSource, {"job_id": jobs["queued"], "weights_id": weights, **own}),
        (HeldOut, {"job_id": jobs["queued"], "blob_id": blob, **own}),
        (Prediction, {"id": result, "storage_key": result, "rows": 9, "result_bytes": 8000, **asked, **leased}),
        (Prediction, {"id": new_id("prd"), **asked, **leased, "status": "running", "owner": "wrk_old"}),
        (
            Worker,
            {"id": "wrk_old", "hostname": "old", "pid": 7, "processes": 1, "version": "0"},
        ),
    ]
    database.write(lambda session: [session.execute(insert(table).values(**values)) for table, values in rows])
    database.write(lambda session: move_alias(session, DEFAULT_PROJECT, "iris", "production", 1, by="me"))
    database.write(lambda session: (new_login_token(session), begin_session(session, seconds=60)))


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """Make databases of a kind, without a table unless they are to be migrated."""
    with ExitStack() as opened:

        def make(kind: str, *, migrated: bool = False) -> Database:
            if kind == "postgresql" and request.getfixturevalue("_postgresql_url") is None:
                missing("PostgreSQL")
            url = (
                opened.enter_context(_postgresql())
                if kind == "postgresql"
                else f"sqlite:///{tmp_path}/{new_id('blb')}.db"
            )
            database = Database(url)
            opened.callback(database.close)
            if migrated:
                upgrade(database.engine)
            return database

        yield make


@contextmanager
def _postgresql() -> Iterator[str]:
    server = create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    name = f"gradmill_empty_{new_id('blb')[-12:]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def rows_of(database: Database, table: Table, *, digits: int = 6) -> list[str]:
    """Every row as text, in any order. digits: of the seconds of an instant."""
    with database.engine.connect() as connection:
        return sorted(
            str({name: _shown(value, digits) for name, value in row.items()})
            for row in connection.execute(select(table)).mappings()
        )


def _shown(value: Any, digits: int) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%F %T.%f")[: 20 + digits]
    return repr(value)


def job_of(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)
