"""The one command, for real: start, restart, stop, and refusals in one sentence."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest

from tests.conftest import SPEC
from tests.products import Product, free_port, start_product

pytestmark = pytest.mark.slow

T = TypeVar("T")

LONG = SPEC | {"training": {"epochs": 1_000_000}}


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    gradmill = str(Path(sys.executable).parent / "gradmill")
    return subprocess.run(
        [gradmill, *arguments], check=False, capture_output=True, text=True, timeout=100, env=os.environ | environment
    )


def test_a_job_goes_all_the_way(gradmill: Product) -> None:
    """Submit over HTTP, watch the stream, read the curve, predict; every part is real."""
    job = gradmill.post("/v1/jobs", SPEC).raise_for_status().json()
    events = gradmill.get(job["links"]["events"], headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in events.text.splitlines()]
    lines = [line for line in lines if line["event"] != "heartbeat"]
    assert [line["id"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["data"]["status"] == "succeeded"
    assert gradmill.get(job["links"]["curve"]).json()["epochs"] == [1, 2, 3, 4, 5]
    predicted = gradmill.post(job["links"]["predict"], {"rows": [[5.1, 3.5, 1.4, 0.2]]}).json()
    assert len(predicted["predictions"]) == 1
    system = gradmill.get("/v1/system").json()
    assert (system["broker"], len(system["workers"])) == ("up", 1)


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    """A product of the test's own, to stop and to kill."""
    with start_product(tmp_path / "data", port=free_port(), GRADMILL_LEASE_SECONDS="2") as product:
        yield product


@pytest.mark.timeout(300)
def test_two_hundred_watchers_miss_nothing_and_repeat_nothing(product: Product) -> None:
    """Each of 200 streams of one job has every number once, in order, and all are the same."""
    # as many as a process takes, so no other test may have a stream open
    watchers = 200
    spec = SPEC | {"training": {"epochs": 100, "batch_size": 1}, "name": "watched"}
    job = product.post("/v1/jobs", spec).json()
    headers = {"Authorization": f"Bearer {product.key}", "Accept": "application/x-ndjson"}

    def watch(_number: int) -> list[int]:
        # a client reads all certificates otherwise, which 200 of them feel
        with httpx2.Client(base_url=product.url, headers=headers, timeout=120, verify=False) as client:
            answer = client.get(job["links"]["events"])
        assert answer.status_code == 200, answer.text
        lines = [json.loads(line) for line in answer.text.splitlines()]
        return [line["id"] for line in lines if line["event"] != "heartbeat"]

    with ThreadPoolExecutor(watchers) as threads:
        seen = list(threads.map(watch, range(watchers)))
    final = product.wait(job["id"])
    assert final["status"] == "succeeded"
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)
    assert {len(numbers) for numbers in seen} == {int(product.get(job["links"]["self"]).headers["ETag"].strip('"'))}


def test_ctrl_c_releases_running_jobs_and_leaves_no_process(product: Product) -> None:
    """It ends within ten seconds though a stream is open, and the next start continues the job."""
    job = product.post("/v1/jobs", LONG).json()
    while product.get(job["links"]["self"]).json()["progress"]["epoch"] < 50:
        time.sleep(0.05)
    is_open = threading.Event()

    def watch() -> None:
        headers = {"Authorization": f"Bearer {product.key}"}
        with httpx2.stream("GET", product.url + job["links"]["events"], headers=headers, timeout=60) as answer:
            for _ in answer.iter_bytes():
                is_open.set()

    stream = threading.Thread(target=watch)
    stream.start()
    assert is_open.wait(30)
    assert product.stop(signal.SIGINT) < 10
    assert product.process.returncode == 0
    assert product.processes() == []
    stream.join(timeout=5)
    assert not stream.is_alive()
    product.start()
    again = product.wait(job["id"], "running")
    assert (again["attempt"], again["progress"]["epoch"] >= 50) == (2, True)
    assert product.post(job["links"]["self"] + "/cancel").json()["status"] == "cancelling"
    assert product.wait(job["id"])["status"] == "cancelled"


def test_after_kill_9_a_second_start_takes_over(product: Product) -> None:
    """The supervisor is killed, its children end with it, and the next start finishes the job."""
    job = product.post("/v1/jobs", SPEC | {"training": {"epochs": 2000}}).json()
    product.wait(job["id"], "running")
    product.client.close()
    product.process.kill()
    product.wait_for_end()
    product.start()
    assert product.wait(job["id"])["status"] == "succeeded"


def test_a_worker_child_that_is_killed_loses_no_job(product: Product) -> None:
    """kill -9 of the process that trains: the lease runs out, another attempt resumes, every epoch is there once."""
    job = product.post("/v1/jobs", SPEC | {"training": {"epochs": 12_000, "checkpoint_seconds": 0.2}}).json()
    while product.get(job["links"]["self"]).json()["progress"]["epoch"] < 200:
        time.sleep(0.02)
    for pid in product.training_processes():
        os.kill(pid, signal.SIGKILL)
    done = product.wait(job["id"])
    assert (done["status"], done["attempt"] >= 2) == ("succeeded", True)
    assert product.get(job["links"]["curve"]).json()["epochs"] == list(range(1, 12_001))
    lines = product.get(job["links"]["events"], headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert "nondeterminism" not in {json.loads(line)["event"] for line in lines}


def test_a_worker_that_falls_again_and_again_stops_nothing_else(product: Product) -> None:
    """kill -9 of the whole worker, four times in a row: predictions go on, everything says so, and it comes back."""
    job = product.post("/v1/jobs", SPEC).json()
    product.wait(job["id"])
    for _ in range(4):
        fallen = until(product.worker_processes)
        for pid in fallen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda fallen=fallen: not set(fallen) & set(product.worker_processes()))  # type: ignore[misc]
    until(lambda: product.get("/readyz").json()["workers"] == "none")
    assert product.process.poll() is None
    readiness = product.get("/readyz")
    assert (readiness.status_code, readiness.json()["status"]) == (200, "degraded")
    assert product.get("/v1/system").json()["workers_state"] == "none"
    assert "No worker is running" in product.get("/ui/jobs").text
    assert product.post(job["links"]["predict"], {"rows": [[5.1, 3.5, 1.4, 0.2]]}).status_code == 200
    assert product.wait(product.post("/v1/jobs", SPEC).json()["id"])["status"] == "succeeded"
    assert product.get("/readyz").json()["status"] == "ready"
    assert "No worker is running" not in product.get("/ui/jobs").text


def until(what: Callable[[], T], seconds: float = 60) -> T:
    """Wait until this is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return found


def test_a_child_that_dies_is_missed_at_once(tmp_path: Path) -> None:
    """The worker sees its process die: the job runs again long before its lease of a minute ends."""
    with start_product(tmp_path / "data", port=free_port(), GRADMILL_LEASE_SECONDS="60") as product:
        job = product.post("/v1/jobs", SPEC | {"training": {"epochs": 200_000, "checkpoint_seconds": 0.2}}).json()
        while product.get(job["links"]["self"]).json()["progress"]["epoch"] < 100:
            time.sleep(0.02)
        for pid in product.training_processes():
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 30
        again = product.get(job["links"]["self"]).json()
        while (again["attempt"], again["status"]) != (2, "running") and time.monotonic() < until:
            time.sleep(0.05)
            again = product.get(job["links"]["self"]).json()
        assert (again["attempt"], again["status"]) == (2, "running")


def test_the_key_is_its_owners_only(gradmill: Product) -> None:
    """Nobody else may read the key's file, or open the broker's folder."""
    mode = stat.S_IMODE((gradmill.folder / "api_key").stat().st_mode)
    assert oct(mode) == "0o600"
    assert stat.S_IMODE((gradmill.folder / "broker").stat().st_mode) == 0o700


def test_a_second_instance_on_the_folder_is_refused(gradmill: Product) -> None:
    """One sentence says that another instance runs, and exit code 1."""
    finished = command("up", "--data-dir", str(gradmill.folder), "--port", str(free_port()))
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("Another gradmill runs on the data folder")
    assert finished.stderr.count("\n") == 1


def test_a_busy_port_is_refused(tmp_path: Path) -> None:
    """One sentence says that the port is in use, and exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        finished = command("up", "--data-dir", str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert finished.returncode == 1
    assert "can't be used (address already in use)" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_broker_of_ones_own_that_is_away_is_not_replaced(tmp_path: Path) -> None:
    """The product comes up degraded, and starts no server of its own at that address."""
    socket_of_user = tmp_path / "own.sock"
    with start_product(tmp_path / "data", free_port(), GRADMILL_REDIS_URL=f"unix://{socket_of_user}") as product:
        assert product.get("/readyz").json()["broker"] == "away"
        assert not socket_of_user.exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """One sentence says why the folder can't be written, and exit code 1."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    finished = command("up", "--data-dir", str(blocked / "data"), "--port", str(free_port()))
    assert finished.returncode == 1
    assert "can't be written (not a directory)" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_database_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """`migrate` says in one sentence which setting to check, without the URL, which may hold a password."""
    url = "postgresql://postgres@127.0.0.1:9/none"
    finished = command("migrate", GRADMILL_DATABASE_URL=url, GRADMILL_DATA_DIR=str(tmp_path))
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert "The database can't be used" in finished.stderr
    assert "postgres@" not in finished.stderr
