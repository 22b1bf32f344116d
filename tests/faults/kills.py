"""kill -9 at random moments of a running product: of the process that trains, or of the whole worker."""

import os
import random
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults.invariants import Result, assert_invariants, result_of
from tests.products import Product
from worker.records.sessions import Database
from worker.records.tables import Job

# batch_norm, dropout, an ensemble, accumulation and a plateau: all that a checkpoint must carry
SPEC: dict[str, Any] = {
    "name": "killed",
    "dataset": {"source": "generator", "name": "spirals", "rows": 600},
    "target": "label",
    "network": {
        "layers": [
            {"type": "dense", "units": 24, "activation": "identity"},
            {"type": "batch_norm", "activation": "silu"},
            {"type": "dropout", "rate": 0.1},
            {"type": "dense", "units": 24},
        ]
    },
    "training": {
        "epochs": 400,
        "batch_size": 32,
        "accumulate": 3,
        "ensemble": 3,
        "checkpoint_seconds": 0.1,
        "schedule": {"type": "plateau", "patience": 5, "factor": 0.7},
        "optimizer": {"type": "adamw"},
    },
}

QUICK = SPEC | {"name": "quick", "training": SPEC["training"] | {"epochs": 60}}


@dataclass
class Tally:
    """The outcome of a loop of faults. seconds: from each fault to the next attempt, or to what was asked for."""

    cycles: int = 0
    jobs: int = 0
    wrong_bits: int = 0
    seconds: list[float] = field(default_factory=list)


def golden(product: Product, database: Database, spec: dict[str, Any] = SPEC) -> Result:
    """Run the job undisturbed, and return its bits."""
    job = product.wait(product.post("/v1/jobs", spec).raise_for_status().json()["id"], timeout=120)
    assert job["status"] == "succeeded", job["error"]
    assert_invariants(database, [job["id"]])
    return result_of(database, job["id"])


def kill_loop(product: Product, database: Database, cycles: int, *, whole_worker: bool, seed: int) -> Tally:
    """Kill this many times, over as many jobs as that takes. Every job must end whole, with the golden bits."""
    expected, tally, chance = golden(product, database), Tally(), random.Random(seed)
    while tally.cycles < cycles:
        job_id = product.post("/v1/jobs", SPEC).json()["id"]
        job = read(product, job_id)
        seen = 0
        while job["status"] not in ("succeeded", "failed", "cancelled"):
            if job["status"] == "running" and job["progress"]["epoch"] > seen and tally.cycles < cycles:
                # three crashes without a new epoch between them would fail the job, as they should
                seen = job["progress"]["epoch"]
                time.sleep(chance.uniform(0, 0.4))
                if kill(product, database, job_id, whole_worker=whole_worker):
                    tally.cycles += 1
                    tally.seconds.append(until_next_attempt(product, job_id, job["attempt"]))
            time.sleep(0.01)
            job = read(product, job_id)
        assert job["status"] == "succeeded", job["error"]
        assert_invariants(database, [job_id])
        tally.jobs += 1
        tally.wrong_bits += result_of(database, job_id) != expected
    return tally


def kill(product: Product, database: Database, job_id: str, *, whole_worker: bool) -> bool:
    """kill -9 the process that trains, or all processes of its worker. Return whether there was one."""
    with database.reading() as session:
        pid = session.get_one(Job, job_id).owner_pid
    if pid is None:
        return False
    for victim in product.worker_processes() if whole_worker else [pid]:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return True


def read(product: Product, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = product.get(f"/v1/jobs/{job_id}").raise_for_status().json()
    return job


def until_next_attempt(product: Product, job_id: str, attempt: int) -> float:
    """Return the seconds until the job runs again, or has ended: it may have been about to."""
    began = time.monotonic()
    while time.monotonic() - began < 60:
        job = read(product, job_id)
        if job["attempt"] > attempt or job["status"] in ("succeeded", "failed"):
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"not rescued: {job}")
