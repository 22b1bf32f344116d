"""A broker that restarts, forgets, lies or goes deaf: a delay, never a loss."""

import time
from collections.abc import Iterator

import pytest

from tests.faults.invariants import Result, assert_invariants, result_of
from tests.faults.kills import QUICK, golden
from tests.faults.proxy import Mode, Proxy, proxied
from tests.faults.servers import RedisServer, redis_server
from tests.products import Product, free_port, start_product
from worker.broker.app import QUEUE
from worker.records.sessions import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

JOBS = 6


class Stage:
    """A product whose broker is reached through a proxy."""

    def __init__(self, product: Product, server: RedisServer, proxy: Proxy) -> None:
        self.product, self.server, self.proxy = product, server, proxy
        self.database = Database(f"sqlite:///{product.folder / 'gradmill.db'}")
        self.expected: Result = golden(product, self.database, QUICK)

    def submit(self) -> str:
        response = self.product.post("/v1/jobs", QUICK)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def assert_all_end_whole(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            assert self.product.wait(job_id, timeout=90)["status"] == "succeeded"
            assert result_of(self.database, job_id) == self.expected
        assert_invariants(self.database, job_ids)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("broker") / "data"
    with redis_server() as server, proxied(server.port) as proxy:
        options = {"GRADMILL_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0", "GRADMILL_LEASE_SECONDS": "2"}
        with start_product(folder, free_port(), **options) as product:
            stage = Stage(product, server, proxy)
            yield stage
            stage.database.close()


def test_a_broker_that_is_killed_and_comes_back_empty_loses_no_job(stage: Stage) -> None:
    """kill -9 of a server without persistence, under load; jobs submitted before and after it all end whole."""
    job_ids = [stage.submit() for _ in range(JOBS)]
    stage.server.kill()
    job_ids += [stage.submit() for _ in range(2)]
    stage.server.start()
    stage.assert_all_end_whole([*job_ids, stage.submit()])


def test_a_broker_that_is_flushed_again_and_again_loses_no_job(stage: Stage) -> None:
    """Every message is lost right after its submission: each job is rung for again, and ends whole."""
    job_ids = []
    for _ in range(JOBS):
        job_ids.append(stage.submit())
        stage.server.client.flushall()
    stage.assert_all_end_whole(job_ids)


def test_a_key_of_another_kind_in_the_queues_place_is_cleared_away(stage: Stage) -> None:
    """Nothing can be published to it or consumed from it; rescue deletes it, since the truth is in SQL."""
    stage.server.client.delete(QUEUE)
    stage.server.client.set(QUEUE, "not a list")
    stage.assert_all_end_whole([stage.submit() for _ in range(2)])


@pytest.mark.parametrize("mode", ["refuse", "reset", "black_hole", "half_open"])
def test_a_submission_does_not_wait_for_a_broker_that_is_away(stage: Stage, mode: Mode) -> None:
    """The answer is 202, `/readyz` says degraded, and the job runs when the broker can be reached again."""
    stage.proxy.set(mode)
    try:
        began = time.monotonic()
        job_ids = [stage.submit() for _ in range(2)]
        # connecting and publishing may take half a second each
        assert (time.monotonic() - began) / len(job_ids) < 1.5
        readiness = stage.product.get("/readyz")
        assert (readiness.status_code, readiness.json()["status"]) == (200, "degraded")
    finally:
        stage.proxy.set("pass")
    stage.assert_all_end_whole([*job_ids, stage.submit()])


def test_a_storm_of_resets_leaves_no_deaf_worker(stage: Stage) -> None:
    """Three resets in two seconds, after which workers that reconnected used to hear nothing."""
    job_ids = []
    for _ in range(3):
        stage.proxy.set("reset")
        stage.proxy.set("pass")
        job_ids.append(stage.submit())
        time.sleep(0.6)
    stage.assert_all_end_whole([*job_ids, stage.submit()])
