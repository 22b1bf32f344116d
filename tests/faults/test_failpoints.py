"""A process that dies at the worst moments: between a claim and its first beat, or in the middle of a write.

Each job must end whole, with the bits of one that nobody disturbed.
"""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.failpoints import Failpoint
from tests.faults.invariants import Result, assert_invariants, result_of
from tests.faults.kills import QUICK, golden
from tests.faults.lengths import IS_LONG
from tests.products import Product, free_port, start_product
from worker.records.sessions import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Stage = tuple[Product, Database, Failpoint, Result]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"] if IS_LONG else ["sqlite"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("failpoints")
    failpoint = Failpoint(folder)
    options = {"GRADMILL_LEASE_SECONDS": "2", "GRADMILL_STALL_SECONDS": "2", "GRADMILL_WORKERS": "1"}
    url = f"sqlite:///{folder / 'data' / 'gradmill.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url_of_module")
        options["GRADMILL_DATABASE_URL"] = url
    with start_product(folder / "data", free_port(), **options, **failpoint.environment) as product:
        database = Database(url)
        yield product, database, failpoint, golden(product, database, QUICK)
        database.close()


PLACES = [
    ("worker.records.lease:claim_job", "after"),  # claimed, not committed
    ("worker.running.run:JobAttempt.run", "before"),  # committed, and not one sign of life yet
    ("worker.records.lease:guard", "after"),  # the row is locked
    ("worker.records.curves:record_epochs", "after"),  # written, not committed
    ("worker.records.checkpoints:publish_checkpoint", "after"),
    ("worker.running.run:JobAttempt._succeed", "before"),  # trained, and nothing of the end written
    ("worker.records.transitions:end_attempt", "after"),  # ended, not committed
    ("worker.running.run:Runner.run_claim", "after"),  # ended, and its parent does not know yet
]


@pytest.mark.parametrize(("point", "when"), PLACES)
def test_a_death_at_a_named_place_costs_no_bit(stage: Stage, point: str, when: str) -> None:
    """kill -9 there: another attempt ends the job, with the bits of an undisturbed one."""
    product, database, failpoint, expected = stage
    failpoint.set(point, when, "kill")
    job_id = product.post("/v1/jobs", QUICK).raise_for_status().json()["id"]
    failpoint.wait_until_hit()
    assert product.wait(job_id)["status"] == "succeeded"
    assert_invariants(database, [job_id])
    assert result_of(database, job_id) == expected


@pytest.mark.parametrize(("point", "when"), PLACES)
def test_a_cancel_at_a_named_place_has_one_outcome(stage: Stage, point: str, when: str) -> None:
    """The process is stopped there while the cancel arrives: the job is cancelled, or had succeeded before."""
    product, database, failpoint, _ = stage
    failpoint.set(point, when, "stop")
    job_id = product.post("/v1/jobs", QUICK).raise_for_status().json()["id"]
    pid = failpoint.wait_until_hit()
    with ThreadPoolExecutor(1) as thread:
        # it may have to wait for the row that the process has locked
        asked = thread.submit(product.post, f"/v1/jobs/{job_id}/cancel")
        time.sleep(0.2)
        os.kill(pid, signal.SIGCONT)
    ended = product.wait(job_id)["status"]
    assert (asked.result().status_code, ended) in ((200, "cancelled"), (200, "succeeded"), (409, "succeeded"))
    assert_invariants(database, [job_id])


def test_a_process_that_freezes_in_the_middle_of_a_write_is_given_up(stage: Stage) -> None:
    """It holds the row's lock, on SQLite the whole database's; it is killed, and the job goes on."""
    product, database, failpoint, expected = stage
    failpoint.set("worker.records.lease:guard", "after", "stop")
    job_id = product.post("/v1/jobs", QUICK).raise_for_status().json()["id"]
    failpoint.wait_until_hit()
    until = time.monotonic() + 60
    while product.get(f"/v1/jobs/{job_id}").json().get("status") != "succeeded":
        # a reader of SQLite may get a 503 meanwhile
        assert time.monotonic() < until
        time.sleep(0.2)
    assert_invariants(database, [job_id])
    assert result_of(database, job_id) == expected


@pytest.mark.parametrize("action", ["hang", "spin"])
def test_a_job_that_hangs_is_ended_and_goes_on(stage: Stage, action: str) -> None:
    """It hangs in a batch, with its other threads alive or with the whole interpreter blocked."""
    product, database, failpoint, expected = stage
    failpoint.set("worker.running.stopping:Stopping.__call__", "before", action)
    job_id = product.post("/v1/jobs", QUICK).raise_for_status().json()["id"]
    failpoint.wait_until_hit()
    job = product.wait(job_id)
    assert (job["status"], job["attempt"] >= 2) == ("succeeded", True)
    assert_invariants(database, [job_id])
    assert result_of(database, job_id) == expected


def test_a_poisonous_job_fails_with_its_cause_and_others_go_on(stage: Stage) -> None:
    """After the third segmentation fault without an epoch the job fails, and its error names the signal."""
    product, database, failpoint, expected = stage
    poison = product.post("/v1/jobs", QUICK | {"name": "poison"}).json()["id"]
    for _ in range(3):
        failpoint.set("worker.running.run:JobAttempt.run", "before", "segv")
        failpoint.wait_until_hit()
    job = product.wait(poison)
    assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 3, "crashed")
    assert "signal 11 (SIGSEGV), at " in job["error"]["message"]
    other = product.post("/v1/jobs", QUICK).json()["id"]
    assert product.wait(other)["status"] == "succeeded"
    assert_invariants(database, [poison, other])
    assert result_of(database, other) == expected
