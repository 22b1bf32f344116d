"""Connections to PostgreSQL: how many each process holds, and who still gets one while slow lists hold theirs."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from tests.faults.kills import QUICK
from tests.faults.pgbouncer import server_connections
from tests.products import Product, free_port, start_product
from worker.records import sessions
from worker.records.connections import TRAINING_CONNECTIONS, WORKER_CONNECTIONS
from worker.records.sessions import Database
from worker.records.states import Status
from worker.running.heartbeat import Heartbeat
from worker.running.stopping import Progress, Stopping
from worker.settings import Lease

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

API_CONNECTIONS = 10
SHARE = 4
WORKERS = 3
PATIENCE_SECONDS = 2.5


@pytest.fixture(scope="module")
def url(postgresql_url_of_module: str) -> str:
    return postgresql_url_of_module


@pytest.fixture(scope="module")
def product(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    options = {"GRADMILL_DATABASE_URL": url, "GRADMILL_WORKERS": str(WORKERS)}
    with start_product(tmp_path_factory.mktemp("product") / "data", free_port(), **options) as product:
        yield product


@contextmanager
def datasets_locked(url: str) -> Iterator[None]:
    """Lock the table of datasets: a list of them then waits, until the lock timeout of five seconds."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, application_name="test") as connection:
        connection.execute("LOCK TABLE datasets IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


class Readers:
    """Clients that read from the table of datasets, each again and again."""

    def __init__(self, product: Product, count: int, path: str = "/v1/datasets") -> None:
        self._path = path
        self._product, self._ended = product, threading.Event()
        self.answers: list[httpx2.Response] = []
        self._threads = [threading.Thread(target=self._read) for _ in range(count)]

    def _read(self) -> None:
        headers = {"Authorization": f"Bearer {self._product.key}"}
        with httpx2.Client(base_url=self._product.url, headers=headers, timeout=60) as client:
            while not self._ended.is_set():
                self.answers.append(client.get(self._path))
                time.sleep(0.1)

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def timed(product: Product, method: str, path: str, body: Any = None) -> int:
    """Make a request, which must be answered in time. Return its status."""
    began = time.monotonic()
    response = product.client.request(method, path, json=body)
    seconds = time.monotonic() - began
    assert seconds < PATIENCE_SECONDS, f"{path} took {seconds:.1f} s"
    return int(response.status_code)


def test_slow_lists_leave_connections_to_all_others(product: Product, url: str) -> None:
    """While 60 clients wait for lists: health, readiness, a submission, its training and a prediction are answered."""
    trained = product.wait(product.post("/v1/jobs", QUICK).raise_for_status().json()["id"])["id"]
    with datasets_locked(url), Readers(product, 60) as readers:
        until = time.monotonic() + 10
        while server_connections(url).get("gradmill api", 0) < SHARE:
            assert time.monotonic() < until
            time.sleep(0.05)
        for _ in range(10):
            assert timed(product, "GET", "/healthz") == 200
            assert timed(product, "GET", "/readyz") == 200
            assert timed(product, "POST", "/v1/jobs", QUICK) == 202
            assert timed(product, "POST", f"/v1/jobs/{trained}/predict", {"rows": [[0.1, 0.2]]}) == 200
            time.sleep(0.4)
        product.wait(product.post("/v1/jobs", QUICK).raise_for_status().json()["id"])
    refused = [answer for answer in readers.answers if answer.status_code == 503]
    assert {answer.status_code for answer in readers.answers} <= {200, 503}
    busy = [answer.json() for answer in refused if answer.json()["code"] == "busy"]
    assert busy
    assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in refused)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    # the lock is gone, and so is the queue for the share
    assert timed(product, "GET", "/v1/datasets") == 200


def test_each_process_keeps_to_its_number_of_connections(product: Product, url: str) -> None:
    """Under load, and far below it at rest: one of each process that has work, however many threads it has."""
    ids = [product.post("/v1/jobs", QUICK).raise_for_status().json()["id"] for _ in range(3 * WORKERS)]
    most: Counter[str] = Counter()
    # one dataset is not a list, so all of these requests may have a connection
    with datasets_locked(url), Readers(product, 32, "/v1/datasets/dst_none"):
        until = time.monotonic() + 4
        while time.monotonic() < until:
            most |= Counter(server_connections(url))
    assert most["gradmill api"] == API_CONNECTIONS
    for job_id in ids:
        while product.get(f"/v1/jobs/{job_id}").json()["status"] not in ("succeeded", "failed"):
            most |= Counter(server_connections(url))
    assert most["gradmill worker"] <= WORKER_CONNECTIONS
    assert 1 <= most["gradmill training"] <= TRAINING_CONNECTIONS * WORKERS
    time.sleep(1)
    assert server_connections(url)["gradmill training"] <= WORKERS


def test_a_heartbeat_has_a_connection_beside_a_long_write(url: str) -> None:
    """It renews the lease while the run's connection is in a write; the connection that it opens for that is closed."""
    database = Database(url, name="gradmill beating", pool_size=1, overflow=TRAINING_CONNECTIONS - 1)
    lease = Lease(3.0)
    stopping, renewed = Stopping(threading.Event(), Progress(), lease), []

    def renew(session: Session) -> Status:
        session.execute(text("SELECT 1"))
        renewed.append(time.monotonic())
        return "running"

    heartbeat = Heartbeat(database, stopping, lease, renew=renew, read_status=renew)
    heartbeat.start()
    began = time.monotonic()
    database.write(lambda session: session.execute(text("SELECT pg_sleep(2.5)")))
    ended = time.monotonic()
    heartbeat.end()
    assert [moment for moment in renewed if began < moment < ended]
    assert server_connections(url)["gradmill beating"] == 1
    database.close()


def test_unused_connections_are_given_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is in use all the time stays; the others of a busier moment are closed."""
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 0.6)
    database = Database(url, name="gradmill idle", pool_size=8, overflow=0)
    barrier = threading.Barrier(8)

    def hold() -> None:
        with database.reading() as session:
            session.connection()
            barrier.wait()

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server_connections(url)["gradmill idle"] == 8
    until = time.monotonic() + 10
    while server_connections(url).get("gradmill idle") != 1:
        assert time.monotonic() < until
        with database.reading() as session:
            session.connection()
        time.sleep(0.05)
    time.sleep(1.5)
    assert "gradmill idle" not in server_connections(url)
    # and a new one is opened when it is needed
    with database.reading() as session:
        session.connection()
    database.close()
