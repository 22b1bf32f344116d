"""What tests share: both databases, a real broker, an app, a runner, and a whole product."""

import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, text
from sqlalchemy.exc import OperationalError

from migrations.schema import upgrade
from tests.products import Product, free_port, start_product
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.intake.submission import Intake
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.lease import Claim, claim_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Base
from worker.running.run import Runner
from worker.settings import Limits, Settings
from worker.specs.job import Job

LAST = "job_count_changes"
POSTGRESQL = os.environ.get("GRADMILL_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("GRADMILL_") and not name.startswith("GRADMILL_TEST_"):
            monkeypatch.delenv(name)


def missing(what: str) -> None:
    """Skip with the reason; in CI a service that is not there is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "gradmill.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database.engine)
    database.close()
    return path


@pytest.fixture(scope="session")
def _postgresql_url() -> Iterator[str | None]:
    """A database of our own on the server that is there, dropped at the end; None without a server."""
    server = create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 2})
    name = f"gradmill_test_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError:
        yield None
        return
    url = server.url.set(database=name).render_as_string(hide_password=False)
    database = Database(url)
    upgrade(database.engine)
    database.close()
    yield url
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "gradmill.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(_postgresql_url: str | None) -> str:
    return emptied(_postgresql_url)


@pytest.fixture(scope="module")
def postgresql_url_of_module(_postgresql_url: str | None) -> str:
    """The same database, emptied once: for a product that a module's tests share."""
    return emptied(_postgresql_url)


def emptied(url: str | None) -> str:
    if url is None:
        missing("PostgreSQL")
        raise AssertionError
    engine = create_engine(url)
    # the tables that refer to others first; deleting jobs that have ended adds changes of counts, so these come last.
    # TRUNCATE would make new files for every table and index: that takes a hundred times as long
    tables = [table for table in reversed(Base.metadata.sorted_tables) if table.name not in ("projects", LAST)]
    tables.append(Base.metadata.tables[LAST])
    with engine.begin() as connection:
        for table in tables:
            connection.execute(delete(table))
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of this version's schema: every test of records runs on both kinds."""
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    yield database
    database.close()


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey server of the tests' own."""
    from service.up import broker

    folder = tmp_path_factory.mktemp("broker")
    socket = folder / "valkey.sock"
    process = subprocess.Popen(broker.server_command(folder, socket), stdout=subprocess.DEVNULL)
    while not broker.answers(socket):
        assert process.poll() is None
    yield f"unix://{socket}"
    process.terminate()
    process.wait()


SPEC: dict[str, Any] = {
    "name": "iris",
    "dataset": {"source": "builtin", "name": "iris"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 8, "activation": "tanh"}]},
    "training": {"epochs": 5, "optimizer": {"type": "adam", "learning_rate": 0.01}},
}


def spec_of(**changes: Any) -> Job:
    """The iris job with members replaced; those of `training` are merged."""
    training = SPEC["training"] | changes.pop("training", {})
    return Job.model_validate(SPEC | {"training": training} | changes)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """The storage of the fixture `datasets`."""
    return Storage(str(tmp_path / "storage"))


@pytest.fixture
def datasets(database: Database, tmp_path: Path) -> Datasets:
    return Datasets(database, Storage(str(tmp_path / "storage")), Limits())


@pytest.fixture
def intake(database: Database, datasets: Datasets) -> Intake:
    """Accepts jobs for a broker that is away."""
    return Intake(database, datasets, Limits(), ring=lambda _id: None)


@pytest.fixture
def submit(intake: Intake) -> Callable[..., Snapshot]:
    """Submit the iris job with members replaced; the job as it is answered."""

    def submit(**changes: Any) -> Snapshot:
        spec = spec_of(**changes)
        return intake.submit(DEFAULT_PROJECT, spec).answer

    return submit


@pytest.fixture
def claimed(database: Database, submit: Callable[..., Snapshot]) -> Callable[..., Claim]:
    """Submit a job and claim it."""

    def claim(*, lease_seconds: float = 30, **changes: Any) -> Claim:
        job_id = submit(**changes)["id"]
        claim = database.write(
            lambda session: claim_job(session, job_id, owner="wrk_test", lease_seconds=lease_seconds)
        )
        assert claim is not None
        return claim

    return claim


@pytest.fixture
def shutdown() -> threading.Event:
    return threading.Event()


@pytest.fixture
def runner(database: Database, datasets: Datasets, shutdown: threading.Event) -> Runner:
    """A real runner in this process, whose announcements nobody hears."""
    return Runner(
        database=database,
        datasets=datasets,
        settings=Settings(lease_seconds=30),
        shutdown=shutdown,
        owner="wrk_test",
        announce=lambda _job_id: None,
    )


@pytest.fixture(scope="session")
def gradmill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A whole product: `gradmill up` with its broker, API and workers."""
    with start_product(tmp_path_factory.mktemp("product"), port=free_port()) as product:
        yield product
