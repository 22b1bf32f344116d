"""`gradmill api` and `gradmill worker` before their database is there, or behind it: they wait, or end, in one line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import make_url, text

from migrations.schema import upgrade
from tests.faults.proxy import proxied
from tests.faults.servers import PostgresServer, postgresql_server
from tests.faults.workers import House
from tests.products import free_port
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.workers import list_workers
from worker.settings import Limits, Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SMALL: dict[str, Any] = {
    "name": "small",
    "dataset": {"source": "builtin", "name": "xor"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 4}]},
    "training": {"epochs": 5},
}
GRADMILL = str(Path(sys.executable).parent / "gradmill")


class Command:
    """A `gradmill` command that runs, and the lines that it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def wait_for(self, word: str, times: int = 1) -> dict[str, Any]:
        """Wait for this many lines with this word in them, and return the last of them."""
        deadline = time.monotonic() + 100
        while len(found := [line for line in self.lines if word in line]) < times:
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)
        line: dict[str, Any] = json.loads(found[times - 1])
        return line

    def end(self) -> None:
        # its session is its own, so that a worker's other processes go with it
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()


@contextmanager
def running(name: str, folder: Path, redis_url: str, **environment: str) -> Iterator[Command]:
    own = {"GRADMILL_DATA_DIR": str(folder), "GRADMILL_REDIS_URL": redis_url, "GRADMILL_WORKERS": "1"}
    process = subprocess.Popen(
        [GRADMILL, name],
        env=os.environ | own | {"GRADMILL_LEASE_SECONDS": "2"} | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    command = Command(process)
    try:
        yield command
    finally:
        command.end()
        assert process.stderr is not None
        process.stderr.close()


def migrate(folder: Path) -> str:
    command = [GRADMILL, "migrate"]
    environment = os.environ | {"GRADMILL_DATA_DIR": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def test_a_worker_waits_for_migrate_and_goes_on(tmp_path: Path, redis_url: str) -> None:
    """Before `migrate` it names that command every few seconds, without a traceback; after it, it trains jobs."""
    with running("worker", tmp_path, redis_url) as worker:
        line = worker.wait_for("waiting_for_database", times=2)
        assert "run `gradmill migrate`" in line["why"]
        assert all("waiting_for_database" in line for line in worker.lines)
        assert migrate(tmp_path).startswith("Made the schema, revision ")
        database = Database(f"sqlite:///{tmp_path / 'gradmill.db'}")
        settings = Settings(data_dir=tmp_path, redis_url=redis_url, lease_seconds=2)
        house = House(database, settings, tmp_path)
        job_id = house.submit(SMALL)
        house.result(job_id)
        assert not any("Traceback" in line for line in worker.lines)
        database.close()
    assert migrate(tmp_path).startswith("The database has this version's schema already")


def test_an_api_waits_for_migrate_and_goes_on(tmp_path: Path, redis_url: str) -> None:
    """The same for the API, which answers once the schema is there."""
    port = free_port()
    options = {"GRADMILL_PORT": str(port), "GRADMILL_API_KEY": "k" * 40}
    with running("api", tmp_path, redis_url, **options) as api:
        assert "run `gradmill migrate`" in api.wait_for("waiting_for_database")["why"]
        assert not answers(port)
        migrate(tmp_path)
        until(lambda: answers(port))
        assert not any("Traceback" in line for line in api.lines)


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_database_that_is_away_is_waited_for(name: str, tmp_path: Path, redis_url: str, postgresql_url: str) -> None:
    """PostgreSQL behind a closed port: a line every few seconds that names the setting, and then a start."""
    url, port = make_url(postgresql_url), free_port()
    with closing(Database(postgresql_url)) as database, proxied(url.port or 5432) as proxy:
        proxy.set("refuse")
        behind = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        options = {"GRADMILL_DATABASE_URL": behind, "GRADMILL_PORT": str(port), "GRADMILL_API_KEY": "k" * 40}
        with running(name, tmp_path, redis_url, **options) as command:
            line = command.wait_for("waiting_for_database", times=2)
            assert "GRADMILL_DATABASE_URL" in line["why"]
            assert all("waiting_for_database" in line for line in command.lines)
            proxy.set("pass")
            until(lambda: answers(port) if name == "api" else has_worker(database, command.process.pid))
            assert not any("Traceback" in line for line in command.lines)


def has_worker(database: Database, pid: int) -> bool:
    with database.reading() as session:
        return any(row.pid == pid for row, _ in list_workers(session))


def test_a_command_that_waits_ends_when_it_is_asked_to(tmp_path: Path, redis_url: str) -> None:
    """SIGTERM, as a container's stop sends it: at once, with exit code 0."""
    with running("worker", tmp_path, redis_url) as worker:
        worker.wait_for("waiting_for_database")
        worker.process.terminate()
        assert worker.process.wait(timeout=5) == 0


def test_a_health_check_without_a_database_is_one_line(tmp_path: Path) -> None:
    """Exit code 1 and a sentence, whether PostgreSQL is away or SQLite has no schema."""
    for url in ("postgresql://postgres@127.0.0.1:9/none", f"sqlite:///{tmp_path / 'empty.db'}"):
        environment = os.environ | {"GRADMILL_DATABASE_URL": url}
        command = [GRADMILL, "check-worker"]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (finished.returncode, finished.stderr.count("\n")) == (1, 1), finished.stderr


@pytest.mark.parametrize("name", ["api", "worker"])
def test_without_a_broker_it_ends_in_one_line(name: str, sqlite_url: str) -> None:
    """Celery would otherwise look for a broker of its own choice, and report that it is ready."""
    environment = os.environ | {"GRADMILL_DATABASE_URL": sqlite_url, "GRADMILL_REDIS_URL": "", "GRADMILL_API_KEY": "k"}
    finished = subprocess.run([GRADMILL, name], env=environment, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert "GRADMILL_REDIS_URL" in finished.stderr


def test_a_worker_whose_parts_fail_to_start_ends(sqlite_url: str) -> None:
    """Celery, started without `gradmill worker`, logs an exception of a signal's handler and goes on."""
    environment = os.environ | {"GRADMILL_DATABASE_URL": sqlite_url, "GRADMILL_REDIS_URL": ""}
    command = [sys.executable, "-m", "celery", "-A", "worker.tasks", "worker"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert finished.returncode == 1
    assert "not_started" in finished.stderr


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_newer_schema_is_refused_in_one_line(name: str, sqlite_url: str, redis_url: str) -> None:
    """No waiting would mend it: exit code 1, and what to do."""
    database = Database(sqlite_url)
    database.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    database.close()
    own = {"GRADMILL_DATABASE_URL": sqlite_url, "GRADMILL_REDIS_URL": redis_url, "GRADMILL_API_KEY": "k"}
    environment = os.environ | own
    finished = subprocess.run([GRADMILL, name], env=environment, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert "upgrade gradmill" in finished.stderr


def test_a_storage_without_the_recorded_uploads_is_named_at_the_start(
    sqlite_url: str, tmp_path: Path, redis_url: str
) -> None:
    """One line names the setting when uploads in the record are not in this storage, and none when they are."""
    database = Database(sqlite_url)
    shared = str(tmp_path / "shared")
    Datasets(database, Storage(shared), Limits()).store(DEFAULT_PROJECT, "t", b"a,label\n1,x\n2,y\n")
    options = {"GRADMILL_DATABASE_URL": sqlite_url}
    with running("worker", tmp_path, redis_url, **options) as worker:
        line = worker.wait_for("storage_not_shared")
        assert "GRADMILL_STORAGE_URL" in line["advice"]
        assert (line["missing"], line["of"]) == (1, 1)
    with running("worker", tmp_path, redis_url, GRADMILL_STORAGE_URL=shared, **options) as worker:
        until(lambda: has_worker(database, worker.process.pid))
        assert not any("storage_not_shared" in line for line in worker.lines)
    database.close()


@pytest.fixture(scope="module")
def small_server() -> Iterator[PostgresServer]:
    """A PostgreSQL with room for 20 connections, three of them reserved."""
    with postgresql_server(max_connections=20, superuser_reserved_connections=3) as server:
        with closing(Database(server.url)) as database:
            upgrade(database.engine)
        yield server


@pytest.mark.parametrize(("name", "may_open"), [("api", 10), ("worker", 5)])
def test_a_server_with_few_connections_left_is_named_at_the_start(
    name: str, may_open: int, small_server: PostgresServer, tmp_path: Path, redis_url: str
) -> None:
    """One line with the numbers and what to do when others hold most of them, and none when there is room."""
    port = free_port()
    options = {"GRADMILL_DATABASE_URL": small_server.url, "GRADMILL_API_KEY": "k" * 40, "GRADMILL_PORT": str(port)}
    with closing(Database(small_server.url)) as database, running(name, tmp_path, redis_url, **options) as command:
        until(lambda: answers(port) if name == "api" else has_worker(database, command.process.pid))
        assert not any("few_connections_left" in line for line in command.lines)
    with ExitStack() as others:
        for _ in range(11):
            others.enter_context(psycopg.connect(small_server.url.replace("+psycopg", "")))
        with running(name, tmp_path, redis_url, **options) as command:
            line = command.wait_for("few_connections_left")
    assert line["level"] == "warning"
    assert (line["max_connections"], line["reserved"], line["this_may_open"]) == (20, 3, may_open)
    # the server may not have noticed yet that processes of before have gone
    assert 11 <= line["in_use"] <= 14
    assert "max_connections" in line["advice"]
    assert "pgbouncer" in line["advice"]
