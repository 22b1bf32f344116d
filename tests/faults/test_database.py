"""A database that restarts, drops connections, vanishes or is busy: workers wait, and clients get a Retry-After."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.faults.invariants import assert_invariants, result_of
from tests.faults.kills import QUICK, SPEC, golden
from tests.faults.proxy import proxied
from tests.faults.servers import PostgresServer, postgresql_server
from tests.faults.workers import House
from tests.products import Product, free_port, start_product
from worker.records.sessions import Database
from worker.records.tables import Event, Job
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LEASE_SECONDS = 2
# long enough to be cut off in the middle
LONG = SPEC | {"training": SPEC["training"] | {"epochs": 2000}}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="module")
def product(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    options = {"GRADMILL_DATABASE_URL": server.url, "GRADMILL_LEASE_SECONDS": "4"}
    with start_product(tmp_path_factory.mktemp("product") / "data", free_port(), **options) as product:
        yield product


@pytest.fixture(scope="module")
def database(server: PostgresServer) -> Iterator[Database]:
    database = Database(server.url)
    yield database
    database.close()


class Client(threading.Thread):
    """A client that submits and polls all the time, and keeps the answers."""

    def __init__(self, product: Product) -> None:
        super().__init__(name="client")
        self._product, self._ended = product, threading.Event()
        self.statuses: list[int] = []
        self.accepted: list[str] = []
        self.hasty: list[int] = []

    def run(self) -> None:
        while not self._ended.wait(0.05):
            submitted = self._product.post("/v1/jobs", QUICK)
            if submitted.status_code == 202:
                self.accepted.append(submitted.json()["id"])
            for response in (submitted, self._product.get("/v1/jobs"), self._product.get("/readyz")):
                self.statuses.append(response.status_code)
                if (
                    response.status_code == 503
                    and "/readyz" not in str(response.url)
                    and "Retry-After" not in response.headers
                ):
                    self.hasty.append(response.status_code)

    def end(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def client_of(product: Product) -> Iterator[Client]:
    client = Client(product)
    client.start()
    try:
        yield client
    finally:
        client.end()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_restarts_costs_no_job_and_no_500(
    product: Product, server: PostgresServer, database: Database, mode: str
) -> None:
    """It restarts in the middle of writes; `immediate` is a crash. Clients get 2xx, or 503 with Retry-After."""
    expected = {name: golden(product, database, spec) for name, spec in (("killed", SPEC), ("quick", QUICK))}
    job_id = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
    product.wait(job_id, "running")
    with client_of(product) as client:
        for _ in range(2):
            time.sleep(0.5)
            server.restart(mode)
    assert set(client.statuses) <= {200, 202, 503}
    assert client.hasty == []
    assert client.accepted
    assert product.wait(job_id)["status"] == "succeeded"
    assert result_of(database, job_id) == expected["killed"]
    for accepted in client.accepted:
        assert product.wait(accepted)["status"] == "succeeded"
        assert result_of(database, accepted) == expected["quick"]
    assert_invariants(database, [job_id, *client.accepted])


def test_a_storm_of_dropped_connections_is_ridden_out(
    product: Product, server: PostgresServer, database: Database
) -> None:
    """Every connection is ended ten times a second for two seconds; no crash is counted, no bit is lost."""
    expected = golden(product, database)
    job_id = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
    product.wait(job_id, "running")
    dropped = 0
    for _ in range(20):
        dropped += server.terminate_connections()
        time.sleep(0.1)
    assert dropped > 5
    assert product.wait(job_id)["status"] == "succeeded"
    assert_invariants(database, [job_id])
    assert result_of(database, job_id) == expected
    with database.reading() as session:
        assert session.get_one(Job, job_id).crashes == 0


def test_two_writers_that_deadlock_both_get_through(database: Database, product: Product) -> None:
    """PostgreSQL ends one of them, and its transaction is run again."""
    first, second = (golden_job(product) for _ in range(2))
    barrier, runs = threading.Barrier(2, timeout=10), []

    def write(a: str, b: str) -> None:
        def work(session: Any) -> None:
            runs.append(a)
            session.get_one(Job, a, with_for_update=True)
            if len(runs) <= 2:
                barrier.wait()
            session.get_one(Job, b, with_for_update=True)

        database.write(work)

    threads = [threading.Thread(target=write, args=pair) for pair in ((first, second), (second, first))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert len(runs) >= 3


def golden_job(product: Product) -> str:
    job = product.wait(product.post("/v1/jobs", QUICK).raise_for_status().json()["id"])
    return str(job["id"])


def test_a_worker_cut_off_from_the_database_stops_before_another_begins(
    server: PostgresServer, database: Database, product: Product, redis_url: str, tmp_path: Path
) -> None:
    """A black hole for twice the lease: the old attempt writes nothing after the new one's first row."""
    # the product has made the schema; its own workers listen to another broker
    settings = Settings(data_dir=tmp_path, database_url=server.url, redis_url=redis_url, lease_seconds=LEASE_SECONDS)
    house = House(database, settings, tmp_path)
    with proxied(server.port) as proxy:
        behind = server.url.replace(f":{server.port}/", f":{proxy.port}/")
        with house.worker(GRADMILL_DATABASE_URL=behind) as cut_off:
            expected = house.result(house.submit(LONG))
            job_id = house.submit(LONG)
            house.wait(job_id, lambda job: job.epoch > 20)
            proxy.set("black_hole")
            with house.worker():
                house.wait(job_id, lambda job: job.attempt == 2 and job.epoch > 20)
                time.sleep(LEASE_SECONDS)
                proxy.set("pass")
                assert house.result(job_id) == expected
                assert cut_off.process.poll() is None
    with database.reading() as session:
        kinds = set(session.scalars(select(Event.kind).where(Event.job_id == job_id)))
    assert "nondeterminism" not in kinds


HOLDS_THE_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def test_a_busy_sqlite_is_waited_for_and_never_shown(tmp_path: Path) -> None:
    """Another process holds the write lock for two seconds under load: every answer is 2xx, every job ends whole."""
    with start_product(tmp_path / "data", free_port(), GRADMILL_LEASE_SECONDS="4") as product:
        path = product.folder / "gradmill.db"
        database = Database(f"sqlite:///{path}")
        expected = golden(product, database, QUICK)
        with client_of(product) as client:
            command = [sys.executable, "-c", HOLDS_THE_LOCK, str(path), "2"]
            assert subprocess.run(command, capture_output=True, check=True).stdout == b"held\n"
        assert set(client.statuses) <= {200, 202}
        for job_id in client.accepted:
            assert product.wait(job_id)["status"] == "succeeded"
            assert result_of(database, job_id) == expected
        assert_invariants(database, client.accepted)
        database.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
