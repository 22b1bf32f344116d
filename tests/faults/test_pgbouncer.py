"""pgbouncer in transaction mode: two transactions of one client may run on two connections. Nothing may notice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.faults.invariants import assert_invariants, result_of
from tests.faults.kills import QUICK, SPEC, golden
from tests.faults.pgbouncer import PgBouncer, pgbouncer, server_connections
from tests.products import Product, free_port, start_product
from worker.records.connections import find_room
from worker.records.sessions import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bouncer(postgresql_url_of_module: str) -> Iterator[PgBouncer]:
    with pgbouncer(postgresql_url_of_module, size=3) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def database(bouncer: PgBouncer) -> Iterator[Database]:
    database = Database(bouncer.url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def product(bouncer: PgBouncer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    options = {"GRADMILL_DATABASE_URL": bouncer.url, "GRADMILL_LEASE_SECONDS": "4", "GRADMILL_WORKERS": "2"}
    with start_product(tmp_path_factory.mktemp("product") / "data", free_port(), **options) as product:
        yield product


def test_each_transaction_has_its_timeouts(bouncer: PgBouncer, postgresql_url_of_module: str) -> None:
    """Whichever connection it gets, with pgbouncer and without; none is left behind for another client."""
    for url in (bouncer.url, postgresql_url_of_module):
        database = Database(url)
        for _ in range(5):
            with database.reading() as session:
                assert session.scalar(text("SHOW lock_timeout")) == "5s"
                assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "5s"
            assert database.write(lambda session: session.scalar(text("SHOW lock_timeout"))) == "5s"
        raw = database.engine.raw_connection()
        assert raw.cursor().execute("SHOW lock_timeout").fetchone() == ("0",)  # type: ignore[attr-defined]
        raw.close()
        database.close()


def test_statements_that_are_run_often_are_not_prepared(database: Database) -> None:
    """A statement prepared on one connection would be unknown on the next, after some correct answers."""
    statement = text("SELECT CAST(:number AS int) + 1")

    def ask(_client: int) -> list[int | None]:
        # in writes: the driver forgets what it has prepared at a rollback, with which reads end
        return [
            database.write(lambda session, n=number: session.scalar(statement, {"number": n}))  # type: ignore[misc]
            for number in range(40)
        ]

    with ThreadPoolExecutor(5) as clients:
        assert list(clients.map(ask, range(5))) == [list(range(1, 41))] * 5
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


def test_a_whole_job_runs_behind_it(product: Product, database: Database) -> None:
    """Submitted, streamed to its end, recorded whole, and predicted with."""
    job_id = product.post("/v1/jobs", QUICK).raise_for_status().json()["id"]
    headers = {"Accept": "application/x-ndjson"}
    with product.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as stream:
        lines = list(stream.iter_lines())
    assert '"event":"end"' in lines[-1]
    job = product.wait(job_id)
    assert job["status"] == "succeeded"
    assert_invariants(database, [job_id])
    predicted = product.post(f"/v1/jobs/{job_id}/predict", {"rows": [[0.1, 0.2]]})
    assert predicted.status_code == 200


def test_a_cancel_and_a_killed_process_behind_it(product: Product, database: Database) -> None:
    """A cancel ends a running job; a killed process costs one attempt and no bit."""
    expected = golden(product, database)
    long_id = product.post("/v1/jobs", SPEC | {"training": SPEC["training"] | {"epochs": 100_000}}).json()["id"]
    product.wait(long_id, "running")
    product.post(f"/v1/jobs/{long_id}/cancel").raise_for_status()
    assert product.wait(long_id)["status"] == "cancelled"
    job_id = product.post("/v1/jobs", SPEC).raise_for_status().json()["id"]
    product.wait(job_id, "running")
    for pid in product.training_processes():
        os.kill(pid, 9)
    assert product.wait(job_id)["status"] == "succeeded"
    assert result_of(database, job_id) == expected
    assert_invariants(database, [long_id, job_id])


def test_an_installation_takes_no_more_connections_than_its_pool(
    product: Product, bouncer: PgBouncer, postgresql_url_of_module: str
) -> None:
    """However many jobs and clients there are, the server sees `default_pool_size` connections."""
    ids = [product.post("/v1/jobs", QUICK).raise_for_status().json()["id"] for _ in range(6)]
    most = 0
    for job_id in ids:
        product.wait(job_id)
        most = max(most, sum(server_connections(postgresql_url_of_module).values()))
    assert 1 <= most <= bouncer.size


def test_its_number_of_connections_is_not_taken_for_the_servers(
    database: Database, postgresql_url_of_module: str
) -> None:
    """Behind it no start warns of max_connections, which it guards itself."""
    assert find_room(database) is None
    direct = Database(postgresql_url_of_module)
    assert find_room(direct) is not None
    direct.close()


def test_the_records_tests_pass_behind_it(bouncer: PgBouncer) -> None:
    """Leases, queue, transitions and migrations, each on a database that is made by way of pgbouncer."""
    names = ("test_leases.py", "test_queue.py", "test_transitions.py", "test_sessions.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "postgresql or behind"]
    files = [f"tests/worker/records/{name}" for name in names]
    environment = os.environ | {"GRADMILL_TEST_POSTGRESQL_URL": bouncer.url}
    done = subprocess.run([*command, *files], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
