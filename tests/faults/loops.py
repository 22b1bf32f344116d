"""Faults again and again, at random moments, against workers of the test's own. After each the record must be whole."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.faults.invariants import Result
from tests.faults.kills import SPEC, Tally
from tests.faults.workers import House, Worker
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.states import FINAL
from worker.records.transitions import change_status

Strike = Callable[[Worker, int], None]
"A fault: it is done to the worker that holds the job, or to the pid that trains it."


def kill_child(_worker: Worker, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_worker(worker: Worker, _pid: int) -> None:
    worker.signal(signal.SIGKILL)
    # gone for sure, so that the loop sees that it must be made good
    worker.process.wait(timeout=10)


def freeze(worker: Worker, _pid: int) -> None:
    worker.freeze()


def strike_loop(house: House, cycles: int, strike: Strike, *, seed: int = 1) -> Tally:
    """Strike the one of two workers that trains, at a random moment of each job; the other goes on."""
    tally, chance = Tally(), random.Random(seed)
    with ExitStack() as workers:
        both = [workers.enter_context(house.worker()) for _ in range(2)]
        expected = house.result(house.submit(SPEC))
        while tally.cycles < cycles:
            job_id = house.submit(SPEC)
            seen = chance.randrange(5, 300)
            job = house.wait(job_id, lambda job, seen=seen: job.epoch > seen or job.status in FINAL)  # type: ignore[misc]
            if job.owner_pid is not None:
                struck = next(n for n, worker in enumerate(both) if job.owner_pid in worker.pids())
                strike(both[struck], job.owner_pid)
                tally.seconds.append(_until_next_attempt(house, job_id, job.attempt))
                both[struck].signal(signal.SIGCONT)
                tally.cycles += 1
                if both[struck].process.poll() is not None:
                    both[struck] = workers.enter_context(house.worker())
            _count(tally, house, job_id, expected)
    return tally


def _until_next_attempt(house: House, job_id: str, attempt: int) -> float:
    began = time.monotonic()
    house.wait(job_id, lambda job: job.attempt > attempt or job.status in FINAL)
    return time.monotonic() - began


def _count(tally: Tally, house: House, job_id: str, expected: Result) -> None:
    tally.wrong_bits += house.result(job_id) != expected
    tally.jobs += 1


def cancel_loop(house: House, cycles: int) -> Tally:
    """Cancel running jobs. Seconds are from the cancel to the job's end."""
    tally = Tally()
    with house.worker():
        for _ in range(cycles):
            # long enough not to end by itself meanwhile
            job_id = house.submit(SPEC | {"training": SPEC["training"] | {"epochs": 100_000}})
            house.wait(job_id, lambda job: job.epoch > 5)
            house.database.write(lambda session, j=job_id: change_status(session, DEFAULT_PROJECT, j, "cancel"))  # type: ignore[misc]
            began = time.monotonic()
            job = house.wait(job_id, lambda job: job.status in FINAL)
            tally.seconds.append(time.monotonic() - began)
            assert job.status == "cancelled"
            tally.cycles += 1
            tally.jobs += 1
    return tally


def deploy_loop(house: House, cycles: int) -> Tally:
    """Replace workers while a job trains. Seconds are from SIGTERM to the worker's end; no crash may be counted."""
    tally = Tally()
    with house.worker():
        expected = house.result(house.submit(SPEC))
    job_id = house.submit(SPEC)
    while tally.cycles < cycles:
        with house.worker() as worker:
            seen = house.job(job_id).epoch
            house.wait(job_id, lambda job, seen=seen: job.epoch > seen or job.status in FINAL)  # type: ignore[misc]
            began = time.monotonic()
            assert worker.stop() == 0
            tally.seconds.append(time.monotonic() - began)
        tally.cycles += 1
        if house.job(job_id).status in FINAL:
            assert house.job(job_id).crashes == 0
            _count(tally, house, job_id, expected)
            job_id = house.submit(SPEC)
    with house.worker():
        _count(tally, house, job_id, expected)
    return tally
