"""Workers that are replaced, frozen, slow, deaf, or run by a wrong clock: the job ends whole, with the same bits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.conftest import missing
from tests.faults.failpoints import Failpoint
from tests.faults.invariants import recorded
from tests.faults.kills import QUICK, SPEC
from tests.faults.lengths import DATABASES, IS_LONG
from tests.faults.loops import freeze, strike_loop
from tests.faults.workers import House
from worker.broker.doorbell import RINGING
from worker.records.sessions import Database
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LEASE_SECONDS = 2
LONG = SPEC | {"training": SPEC["training"] | {"epochs": 100_000}}


def house_of(url: str, redis_url: str, folder: Path) -> Iterator[House]:
    settings = Settings(data_dir=folder, database_url=url, redis_url=redis_url, lease_seconds=LEASE_SECONDS)
    database = Database(url)
    yield House(database, settings, folder)
    database.close()


@pytest.fixture(params=DATABASES)
def house(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[House]:
    yield from house_of(request.getfixturevalue(f"{request.param}_url"), redis_url, tmp_path)


@pytest.fixture
def postgresql_house(postgresql_url: str, redis_url: str, tmp_path: Path) -> Iterator[House]:
    yield from house_of(postgresql_url, redis_url, tmp_path)


@pytest.mark.timeout(360)
def test_a_rolling_deployment_does_not_lose_a_job_that_takes_longer_than_its_workers_live(house: House) -> None:
    """Three workers get SIGTERM amid the job; each exits with code 0, and no crash is counted."""
    # the only checkpoints are those of the stops
    training = SPEC["training"] | {"epochs": 100, "checkpoint_seconds": 3600}
    spec = SPEC | {"training": training}
    with house.worker() as worker:
        expected = house.result(house.submit(spec))
        assert worker.stop() == 0
    job_id = house.submit(spec)
    # however quick the machine, it does not train on before SIGTERM comes
    failpoint = Failpoint(house.folder)
    environment = failpoint.environment | {"GRADMILL_TEST_SLOW_SECONDS": "1"}
    for attempt in (1, 2, 3):
        seen = house.job(job_id).epoch
        failpoint.set("worker.records.curves:record_epochs", "after", "slow")
        with house.worker(**environment) as worker:
            failpoint.wait_until_hit(60)
            assert worker.stop() == 0
        assert house.job(job_id).epoch > seen
        assert (house.job(job_id).status, house.job(job_id).attempt) == ("queued", attempt)
    with house.worker():
        assert house.result(job_id) == expected
    assert (house.job(job_id).attempt, house.job(job_id).crashes) == (4, 0)


def test_a_job_that_a_stopped_worker_released_is_the_next_that_is_claimed(house: House) -> None:
    """SIGTERM while 20 younger jobs wait: the oldest job is claimed first, though its message is the last."""
    house = replace(house, settings=house.settings.model_copy(update={"workers": 1}))
    with house.worker() as worker:
        job_id = house.submit(LONG)
        house.wait(job_id, lambda job: job.epoch > 5)
        younger = [house.submit(QUICK) for _ in range(20)]
        assert worker.stop() == 0
    assert house.job(job_id).status == "queued"
    with house.worker():
        house.wait(job_id, lambda job: job.attempt == 2)
        assert [house.job(other).attempt for other in younger] == [0] * 20


def test_a_frozen_worker_that_wakes_up_writes_nothing(house: House) -> None:
    """SIGSTOP past the lease, another resumes, SIGCONT: the old attempt writes nothing after that."""
    tally = strike_loop(house, 1, freeze)
    assert (tally.cycles, tally.wrong_bits) == (1, 0)


def test_a_laptop_that_slept_goes_on(house: House) -> None:
    """Everything is frozen for longer than the lease, and wakes up: one attempt, or a resumed one; the same bits."""
    with house.worker() as worker:
        expected = house.result(house.submit(SPEC))
        job_id = house.submit(SPEC)
        house.wait(job_id, lambda job: job.epoch > 20)
        worker.freeze()
        time.sleep(LEASE_SECONDS * 2)
        worker.signal(signal.SIGCONT)
        assert house.result(job_id) == expected


def test_a_worker_whose_process_is_slow_to_start_comes_up_and_trains(house: House) -> None:
    """A job waits for longer than a deaf worker may let it wait, and is then trained by the first attempt."""
    failpoint = Failpoint(house.folder)
    failpoint.set("worker.running.run:Runner.__init__", "before", "slow")
    with house.worker(**failpoint.environment, GRADMILL_TEST_DEAF_SECONDS="2") as worker:
        job_id = house.submit(QUICK)
        failpoint.wait_until_hit()
        house.result(job_id)
        assert worker.process.poll() is None
    assert (house.job(job_id).attempt, house.job(job_id).crashes) == (1, 0)


def test_a_worker_that_hears_no_message_ends_itself(house: House) -> None:
    """Its consumer is up and its process is ready, a job waits, and it takes none: it exits to be started anew."""
    environment = Failpoint(house.folder).environment | {"GRADMILL_TEST_DEAF_SECONDS": "2"}
    with house.worker(options=["--queues", "another"], **environment) as worker:
        time.sleep(3)
        assert worker.process.poll() is None
        job_id = house.submit(QUICK)
        assert worker.process.wait(timeout=60) == 1
    assert "worker_is_deaf" in (house.folder / "worker.log").read_text()
    with house.worker():
        house.result(job_id)


def test_a_worker_is_not_deaf_while_none_may_ring(house: House) -> None:
    """A worker that was killed while it rang again has the right to for some seconds more: the job only waits."""
    environment = Failpoint(house.folder).environment | {"GRADMILL_TEST_DEAF_SECONDS": "2"}
    silent = replace(house, settings=house.settings.model_copy(update={"redis_url": ""}))
    with house.worker(**environment) as worker, redis.Redis.from_url(house.settings.redis_url) as client:
        client.set(RINGING, "of a dead worker", px=12_000)
        job_id = silent.submit(QUICK)
        time.sleep(6)
        assert worker.process.poll() is None
        assert house.job(job_id).status == "queued"
        house.result(job_id)


@pytest.mark.parametrize("skew", ["-1h", "+1h"] if IS_LONG else ["+1h"])
def test_a_worker_with_a_wrong_clock_neither_rescues_early_nor_never(postgresql_house: House, skew: str) -> None:
    """An hour ahead or behind: leases are decided by the database's clock alone."""
    house = postgresql_house
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        missing("faketime")
    # not by the command of that name, whose shared memory would outlive a killed worker
    faked = {"LD_PRELOAD": str(library), "FAKETIME": skew, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    environment = Failpoint(house.folder).environment | faked
    with house.worker() as right, house.worker(**environment) as wrong:
        assert wrong_clock(environment) == pytest.approx(3600 if skew == "+1h" else -3600, abs=60)
        job_id = house.submit(LONG)
        owner = house.wait(job_id, lambda job: job.epoch > 5).owner_pid
        first, other = (right, wrong) if owner in right.pids() else (wrong, right)
        time.sleep(LEASE_SECONDS * 1.5)
        job = house.job(job_id)
        assert (job.attempt, job.crashes) == (1, 0)
        first.signal(signal.SIGKILL)
        seen = house.job(job_id).epoch
        house.wait(job_id, lambda job: job.attempt == 2 and job.epoch > seen)
        assert other.process.poll() is None
        with house.database.reading() as session:
            assert min(recorded(session, job_id)["seconds"]) >= 0


def wrong_clock(environment: dict[str, str]) -> float:
    """Return by how many seconds a Python process of this environment is ahead, which has slept as workers do."""
    command = [sys.executable, "-c", "import time; time.sleep(0.01); print(time.time())"]
    said = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
    return float(said) - time.time()
