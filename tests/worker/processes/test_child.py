"""A real training process on the other end of a pipe: when it is ready, what it says, and how it ends."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from worker.processes import child, entry
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.jobs import get_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot

LONG = {"training": {"epochs": 1_000_000}}


class Parent(NamedTuple):
    pipe: Connection
    process: Any

    def news(self) -> list[int]:
        """The numbers of steps that the process sends until it is ready for the next job."""
        numbers = []
        while True:
            assert self.pipe.poll(30), "the process says nothing"
            if (number := self.pipe.recv()) is None:
                return numbers
            numbers.append(number)


@pytest.fixture
def parent(database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    """A process that is ready, on the test's database. It has an environment of its own, so it is spawned."""
    monkeypatch.setenv("GRADMILL_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("GRADMILL_REDIS_URL", redis_url)
    monkeypatch.setenv("GRADMILL_STORAGE_URL", str(tmp_path / "storage"))
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=entry.main, args=(other, "wrk_test"), daemon=True)
    process.start()
    other.close()
    made = Parent(pipe, process)
    assert made.news() == []
    yield made
    process.kill()
    process.join()
    pipe.close()


def status_of(database: Database, job_id: str) -> str:
    with database.reading() as session:
        return get_job(session, DEFAULT_PROJECT, job_id).status


def wait_for(database: Database, job_id: str, status: str) -> None:
    deadline = time.monotonic() + 30
    while status_of(database, job_id) != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_idle_process_is_quiet(parent: Parent) -> None:
    """It says once that it is ready; nothing piles up in the pipe that a later job could be judged by."""
    assert not parent.pipe.poll(1.5)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_process_tells_of_its_steps_and_of_the_end(
    parent: Parent, database: Database, submit: Callable[..., Snapshot]
) -> None:
    """While a job runs the number of steps rises; when it is over the process is ready for the next."""
    job_id = submit(training={"epochs": 100_000, "max_seconds": 3})["id"]
    parent.pipe.send(job_id)
    numbers = parent.news()
    assert numbers == sorted(numbers)
    assert numbers[-1] > numbers[0]
    assert status_of(database, job_id) in ("failed", "succeeded")
    for nothing in (new_id("job"), new_id("prd"), "prd_", "../../etc/passwd"):
        parent.pipe.send(nothing)
        parent.news()


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("orphaned", [False, True])
def test_a_process_that_is_to_end_releases_its_job(
    parent: Parent, database: Database, submit: Callable[..., Snapshot], orphaned: bool
) -> None:
    """By SIGTERM, or because its parent is gone: the job is queued again with a checkpoint, and the process ends."""
    job_id = submit(**LONG)["id"]
    parent.pipe.send(job_id)
    wait_for(database, job_id, "running")
    if orphaned:
        parent.pipe.close()
    else:
        parent.process.terminate()
    wait_for(database, job_id, "queued")
    parent.process.join(timeout=10)
    assert parent.process.exitcode == 0
    with database.reading() as session:
        assert get_job(session, DEFAULT_PROJECT, job_id).crashes == 0


LIMITED = """
import numpy as np
from worker.runtime import limit_memory
limit_memory(100 * 2**20)
np.ones(50 * 2**17)
try:
    np.ones(200 * 2**17)
except MemoryError:
    print("refused")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what NumPy allocates")
def test_a_process_past_its_memory_gets_an_error_of_its_own() -> None:
    """50 MiB fit into a limit of 100 MiB, 200 MiB more do not: a MemoryError, not a kill by the kernel."""
    finished = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert (finished.stdout, finished.returncode) == ("refused\n", 0), finished.stderr


def test_the_machines_memory_is_the_containers_if_that_is_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the container counts; `max`, or no such file, means the whole machine."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(child, "CGROUP_LIMIT", limit)
    whole = child.machine_memory_bytes()
    limit.write_text("max\n")
    assert child.machine_memory_bytes() == whole
    limit.write_text("1000000\n")
    assert child.machine_memory_bytes() == 1_000_000
