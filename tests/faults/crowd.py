"""A crowd of simulated workers on one PostgreSQL: they claim, record, take checkpoints and end jobs, and train nothing.

Each is a thread with connections of its own, as a training process has, and calls what a training process calls.
"""

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from tests.faults.invariants import assert_whole
from worker.backprop.plan import State
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.intake.submission import Intake
from worker.records.blobs import put_blob
from worker.records.checkpoints import drop_checkpoints, publish_checkpoint, state_to_bytes
from worker.records.curves import record_epochs
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.lease import Claim, guard, held_status
from worker.records.points import Point
from worker.records.queue import claim_oldest
from worker.records.sessions import Database
from worker.records.transitions import end_attempt
from worker.records.weights import publish_weights, to_bytes
from worker.settings import Limits
from worker.specs.job import Job as Spec

LEASE_SECONDS = 30.0
WAITING = 60
"How many jobs wait, before the first worker starts and as far as possible after that."
FLUSHES = 4
EPOCHS_PER_FLUSH = 5
CHECKED = 2_000
"How many jobs have their whole record checked at the end, chosen at random."
SMALL = Spec.model_validate(
    {
        "name": "crowd",
        "dataset": {"source": "builtin", "name": "xor"},
        "target": "label",
        "network": {"layers": [{"type": "dense", "units": 4}]},
        "training": {"epochs": FLUSHES * EPOCHS_PER_FLUSH, "snapshots": 0},
    }
)
ARRAYS = {"layers.0.w": np.zeros((64, 32), dtype=np.float32)}


@dataclass(frozen=True)
class Taken:
    """One successful claim, and the moments between which it was made."""

    job_id: str
    began: float
    ended: float


@dataclass
class Crowd:
    """What the workers share, and what they found."""

    url: str
    folder: Path
    until: float
    submitted: list[str] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"claim": [], "flush": [], "end": []})
    bell: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_complete: threading.Event = field(default_factory=threading.Event)

    def guarded(self, work: Callable[[Database], None]) -> None:
        """Run the work of one thread, and keep its error."""
        database = Database(self.url, name="gradmill crowd", pool_size=1, overflow=1)
        try:
            work(database)
        except Exception as error:  # noqa: BLE001 - whatever it was, the run reports it
            self.errors.append(repr(error))
        finally:
            database.close()

    def submit(self, database: Database) -> None:
        """Keep jobs waiting until the time is over. One thread submits, so that ids are in the order of the commits."""
        intake = Intake(database, Datasets(database, Storage(str(self.folder)), Limits()), Limits(), lambda _id: None)
        while time.monotonic() < self.until and not self.errors:
            if len(self.submitted) - len(self.taken) >= WAITING:
                time.sleep(0.005)
                continue
            self.submitted.append(str(intake.submit(DEFAULT_PROJECT, SMALL).answer["id"]))
            self.bell.release()
        self.is_complete.set()

    def work(self, database: Database, owner: str) -> None:
        """Claim a job each time that the bell rings, as often as jobs are submitted, and run it."""
        while not self.errors:
            if not self.bell.acquire(timeout=0.2):
                if self.is_complete.is_set():
                    return
                continue
            began = time.monotonic()
            claim = database.write(lambda session: claim_oldest(session, owner=owner, lease_seconds=LEASE_SECONDS))
            if claim is None:
                # another claim that was rolled back had the last row locked
                self.bell.release()
                continue
            assert isinstance(claim, Claim)
            self.taken.append(Taken(claim.job_id, began, self._note("claim", began)))
            self._run(database, claim)
            self.finished.append(claim.job_id)

    def _run(self, database: Database, claim: Claim) -> None:
        for flush in range(FLUSHES):
            began = time.monotonic()
            database.write(lambda session, n=flush: _flush(session, claim, n))  # type: ignore[misc]
            self._note("flush", began)
            # as the heartbeat does
            with database.reading() as session:
                assert held_status(session, claim) == "running"
            database.write(lambda session: guard(session, claim))
        began = time.monotonic()
        database.write(lambda session: _end(session, claim))
        self._note("end", began)

    def _note(self, what: str, began: float) -> float:
        ended = time.monotonic()
        self.seconds[what].append(ended - began)
        return ended


def _flush(session: Session, claim: Claim, number: int) -> None:
    first = number * EPOCHS_PER_FLUSH + 1
    points = [
        Point(
            epoch=epoch,
            train_loss=1 / epoch,
            validation_loss=1 / epoch,
            metrics={},
            learning_rate=0.1,
            gradient_norm=1.0,
            seconds=0.001,
            is_best=True,
        )
        for epoch in range(first, first + EPOCHS_PER_FLUSH)
    ]
    record_epochs(session, claim, points, recorded=first - 1, eta_seconds=1.0)
    state = State(ARRAYS, {"epoch": points[-1].epoch, "step": 0})
    blob_id = put_blob(session, claim.project_id, state_to_bytes(state))
    publish_checkpoint(session, claim, epoch=points[-1].epoch, step=0, fingerprint={}, blob_id=blob_id)


def _end(session: Session, claim: Claim) -> None:
    blob_id = put_blob(session, claim.project_id, to_bytes(ARRAYS))
    columns = {"network": [], "encoders": {}}
    publish_weights(session, claim, columns, kind="final", epoch=FLUSHES * EPOCHS_PER_FLUSH, blob_id=blob_id)
    end_attempt(session, claim, "succeeded")
    drop_checkpoints(session, claim.job_id)


def run_crowd(url: str, folder: Path, *, workers: int, seconds: float) -> str:
    """Run the crowd for these seconds and until the queue is empty, check everything, and return a line of figures."""
    began = time.monotonic()
    crowd = Crowd(url, folder, began + seconds)
    threads = [threading.Thread(target=crowd.guarded, args=(crowd.submit,))]
    for number in range(workers):
        work = lambda database, n=number: crowd.work(database, f"wrk_crowd{n:03}")  # noqa: E731
        threads.append(threading.Thread(target=crowd.guarded, args=(work,)))
    threads[0].start()
    while len(crowd.submitted) < WAITING and threads[0].is_alive():
        time.sleep(0.05)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    assert crowd.errors == []
    _check(crowd)
    jobs = len(crowd.finished)
    figures = ", ".join(f"{name} {_percentiles(times)}" for name, times in crowd.seconds.items())
    return f"{workers} workers, {jobs:,} jobs in {took:.0f} s ({jobs / took:.0f} a second), {figures}"


def _check(crowd: Crowd) -> None:
    """Each job was claimed once, by age, and has ended once with a whole record."""
    twice = [job_id for job_id, count in Counter(taken.job_id for taken in crowd.taken).items() if count > 1]
    assert twice == []
    assert sorted(crowd.finished) == sorted(crowd.submitted)
    assert late_claims(crowd.taken) == []
    checked = random.sample(crowd.finished, min(CHECKED, len(crowd.finished)))
    database = Database(crowd.url)
    for job_id in checked:
        with database.reading() as session:
            assert_whole(session, job_id)
    database.close()


def late_claims(taken: list[Taken]) -> list[str]:
    """Return the jobs that a worker began to claim only after a younger one had been claimed, which must not happen."""
    late, earliest_end = [], float("inf")
    for claim in sorted(taken, key=lambda taken: taken.job_id, reverse=True):
        if claim.began > earliest_end:
            late.append(claim.job_id)
        earliest_end = min(earliest_end, claim.ended)
    return late


def _percentiles(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered) * 1e3:.0f} ms p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.0f} ms"
