"""kill -9 at every system call by which an attempt writes: the record is as before a commit, or as after it."""

import multiprocessing
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.conftest import missing
from tests.faults.attempts import Attempt, run, run_when_told
from tests.faults.invariants import Result, assert_invariants, recorded, result_of
from tests.faults.kills import QUICK
from tests.faults.lengths import IS_LONG
from tests.faults.workers import House
from worker.records.checkpoints import newest_checkpoint
from worker.records.clock import seconds_from_now
from worker.records.lease import rescue_job
from worker.records.sessions import Database
from worker.records.tables import Job
from worker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SPEC = QUICK | {"training": QUICK["training"] | {"epochs": 12}}
CALLS = {"sqlite": ["pwrite64", "fdatasync", "ftruncate"], "postgresql": ["sendto"]}
# the long form kills at each of them
POINTS = 100_000 if IS_LONG else 10
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.attempts", "worker.processes.child"])


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    if shutil.which("strace") is None:
        missing("strace")
    url = request.getfixturevalue(f"{request.param}_url")
    return House(Database(url), Settings(data_dir=tmp_path, database_url=url), tmp_path)


def test_a_death_at_any_write_leaves_the_old_or_the_new(house: House) -> None:
    """In the claim, epochs, snapshots, a checkpoint and the release; another attempt ends it with the golden bits."""
    expected = finished(house, house.submit(SPEC))
    kind = house.database.engine.dialect.name
    trace = house.folder / "trace"
    assert traced(house, house.submit(SPEC), "-o", str(trace), "-e", f"trace={','.join(CALLS[kind])}") == 0
    found = re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE)
    # strace counts for each thread; the calls that matter are those of the one that trains
    trains = Counter(thread for thread, _ in found).most_common(1)[0][0]
    made = Counter(call for thread, call in found if thread == trains)
    assert set(made) == set(CALLS[kind])
    points = [(call, number) for call, count in made.items() for number in range(1, count + 1)]
    chosen = random.Random(1).sample(points, min(len(points), POINTS))
    deaths = 0
    for call, number in chosen:
        job_id = house.submit(SPEC)
        injected = f"inject={call}:signal=SIGKILL:when={number}"
        # flushes make a call or two more or less: a kill that came too late is no death
        deaths += traced(house, job_id, "-o", "/dev/null", "-e", injected) == -signal.SIGKILL
        assert_old_or_new(house, job_id)
        assert finished(house, job_id) == expected
    print(f"{deaths} deaths at {len(points)} system calls")
    assert deaths >= len(chosen) * 3 / 4
    house.database.close()


def test_a_sync_that_fails_is_a_commit_that_failed(tmp_path: Path, sqlite_url: str) -> None:
    """EIO from fdatasync, at a few places: the commit is repeated whole, or the attempt ends."""
    if shutil.which("strace") is None:
        missing("strace")
    house = House(Database(sqlite_url), Settings(data_dir=tmp_path, database_url=sqlite_url), tmp_path)
    expected = finished(house, house.submit(SPEC))
    for number in range(1, 9, 3 if POINTS == 10 else 1):
        job_id = house.submit(SPEC)
        trace = tmp_path / f"trace-{number}"
        traced(house, job_id, "-o", str(trace), "-e", f"inject=fdatasync:error=EIO:when={number}")
        assert "(INJECTED)" in trace.read_text()
        assert_old_or_new(house, job_id)
        assert finished(house, job_id) == expected
    house.database.close()


def traced(house: House, job_id: str, *options: str) -> int | None:
    """Run an attempt that stops after its first epochs under strace, and return its exit code."""
    go, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=run_when_told, args=(theirs, attempt_at(house, job_id)))
    process.start()
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(process.pid), *options], stderr=subprocess.DEVNULL)
    while "TracerPid:\t0" in Path(f"/proc/{process.pid}/status").read_text():
        assert tracer.poll() is None
        time.sleep(0.005)
    go.send(None)
    process.join(timeout=60)
    tracer.wait(timeout=10)
    return process.exitcode


def attempt_at(house: House, job_id: str) -> Attempt:
    return Attempt(house.settings.database, house.folder, job_id)


def assert_old_or_new(house: House, job_id: str) -> None:
    """A dead attempt leaves epochs without a gap, and either no checkpoint or a whole one that they cover."""
    with house.database.reading() as session:
        job = session.get_one(Job, job_id)
        assert recorded(session, job_id)["epoch"].tolist() == list(range(1, job.epoch + 1))
        if (newest := newest_checkpoint(session, job_id)) is not None:
            row, state = newest
            assert row.epoch == state.values["epoch"] <= job.epoch


def finished(house: House, job_id: str) -> Result:
    """Have the job's lease run out, rescue it, have another attempt end it, and return its bits."""
    job = house.job(job_id)
    if job.status == "running":
        attempt = job.attempt
        expire = update(Job).where(Job.id == job_id).values(lease_until=seconds_from_now(-1))
        house.database.write(lambda session: session.execute(expire))
        assert house.database.write(lambda session: rescue_job(session, job_id, attempt)) == "queued"
    assert run(attempt_at(house, job_id), stops=False) == "succeeded"
    assert_invariants(house.database, [job_id])
    return result_of(house.database, job_id)
