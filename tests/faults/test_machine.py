"""What a machine does to the whole product at once: no power, no memory, no file handles."""

import os
import random
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.invariants import assert_invariants, result_of
from tests.faults.kills import QUICK, SPEC, golden
from tests.faults.lengths import IS_LONG
from tests.products import Product, command_line, free_port, start_product
from worker.records.sessions import Database

ROUNDS = 100 if IS_LONG else 1

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 * ROUNDS)]

MEMORY_BYTES = 100 * 2**20


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    options = {"GRADMILL_LEASE_SECONDS": "2", "GRADMILL_JOB_MEMORY_BYTES": str(MEMORY_BYTES)}
    with start_product(tmp_path / "data", free_port(), **options) as product:
        yield product


def test_after_a_power_cut_everything_goes_on(product: Product) -> None:
    """kill -9 of all processes at once, in any order: every accepted job ends, once, with the same bits."""
    database = Database(f"sqlite:///{product.folder / 'gradmill.db'}")
    expected, chance = golden(product, database), random.Random(1)
    for _ in range(ROUNDS):
        job_ids = [product.post("/v1/jobs", SPEC).raise_for_status().json()["id"] for _ in range(2)]
        product.wait(job_ids[0], "running")
        time.sleep(chance.uniform(0, 1))
        victims = product.processes()
        chance.shuffle(victims)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        product.client.close()
        product.wait_for_end()
        product.start()
        for job_id in job_ids:
            assert product.wait(job_id, timeout=90)["status"] == "succeeded"
            assert result_of(database, job_id) == expected
        assert_invariants(database, job_ids)
    database.close()


def test_a_job_that_outgrows_its_memory_fails_alone(product: Product) -> None:
    """It ends with an error of its own before the kernel ends the process, which then runs the next job."""
    layers = [{"type": "dense", "units": 2000}, {"type": "dense", "units": 2000}]
    large = product.post("/v1/jobs", QUICK | {"network": {"layers": layers}}).raise_for_status().json()["id"]
    job = product.wait(large)
    assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 1, "out_of_memory")
    before = product.training_processes()
    small: dict[str, Any] = product.wait(product.post("/v1/jobs", QUICK).json()["id"])
    assert small["status"] == "succeeded"
    assert product.training_processes() == before


def test_an_api_without_file_handles_recovers_by_itself(product: Product) -> None:
    """Idle connections use up all of them; once those are closed every request is answered again."""
    server = max(pid for pid in product.processes() if b"service.edge" in command_line(pid))
    in_use = len(list(Path(f"/proc/{server}/fd").iterdir()))
    _, hard = resource.prlimit(server, resource.RLIMIT_NOFILE)
    resource.prlimit(server, resource.RLIMIT_NOFILE, (in_use + 20, hard))
    idle = [socket.create_connection(("127.0.0.1", product.port), timeout=5) for _ in range(60)]
    time.sleep(1)
    for connection in idle:
        connection.close()
    until = time.monotonic() + 30
    while not answers(product) and time.monotonic() < until:
        time.sleep(0.2)
    job_id = product.post("/v1/jobs", QUICK).raise_for_status().json()["id"]
    assert product.wait(job_id)["status"] == "succeeded"


def answers(product: Product) -> bool:
    try:
        return product.get("/healthz", timeout=2).status_code == 200
    except (OSError, httpx2.HTTPError):
        return False


def test_idle_connections_hold_no_thread(tmp_path: Path) -> None:
    """There are more idle connections than threads; each was answered, and so is the next one."""
    options = {"GRADMILL_API_THREADS": "8", "GRADMILL_WATCHERS_LIMIT": "4"}
    with start_product(tmp_path / "data", free_port(), **options) as product, ExitStack() as idle:
        for _ in range(24):
            client = idle.enter_context(httpx2.Client(base_url=product.url, timeout=10))
            for _ in range(2):
                assert client.get("/healthz").status_code == 200
        assert product.get("/v1/jobs").status_code == 200
