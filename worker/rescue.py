"""Undelivered jobs -> the queue again; expired leases -> freed. Runs in every worker's parent: no single point."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version

import structlog
from sqlalchemy.orm import Session

from worker.errors import GradmillError
from worker.queue import Doorbell
from worker.records.blobs import sweep_blobs
from worker.records.lease import expired_jobs, rescue_job
from worker.records.sessions import Database
from worker.records.workers import beat, leave, queue_figures, undelivered_jobs
from worker.settings import Settings

log = structlog.get_logger()

# a message that was sent so long ago should have been taken, or else be in the queue
UNDELIVERED_SECONDS = 2.0
RUNG_AT_ONCE = 500
LOOKS_BETWEEN_SWEEPS = 50


class Rescue(threading.Thread):
    """Looks every fifth of a lease."""

    def __init__(self, database: Database, doorbell: Doorbell, settings: Settings, worker_id: str) -> None:
        super().__init__(name="rescue", daemon=True)
        self._database, self._doorbell, self._settings = database, doorbell, settings
        self._worker_id = worker_id
        self._ended = threading.Event()

    def ask_to_end(self) -> None:
        """Does not wait: it is called from a signal's handler."""
        self._ended.set()

    def run(self) -> None:
        looks = 0
        while True:
            try:
                self._beat()
                rescue_expired(self._database, self._doorbell)
                ring_undelivered(self._database, self._doorbell)
                if looks % LOOKS_BETWEEN_SWEEPS == 0:
                    self._database.write(sweep_blobs)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look must come
                log.warning("rescue_failed", error=repr(error))
            looks += 1
            if self._ended.wait(self._settings.lease_seconds / 5):
                break
        with suppress(GradmillError):
            # if it can't say goodbye, its silence does
            self._database.write(lambda session: leave(session, self._worker_id))

    def _beat(self) -> None:
        self._database.write(
            lambda session: beat(
                session,
                self._worker_id,
                hostname=socket.gethostname(),
                pid=os.getpid(),
                processes=self._settings.workers,
                version=version("gradmill"),
            )
        )


def rescue_expired(database: Database, doorbell: Doorbell) -> list[str]:
    """Free every lease that has run out; the ids of the jobs that it moved."""
    moved: list[str] = []
    after = ""
    while True:
        with database.reading() as session:
            found = expired_jobs(session, after=after)
        if not found:
            return moved
        for job_id, attempt in found:
            status = database.write(_rescue_of(job_id, attempt))
            if status is None:
                continue
            log.warning("rescued", job_id=job_id, attempt=attempt, status=status)
            moved.append(job_id)
            doorbell.announce(job_id)
            if status == "queued":
                doorbell.ring(job_id)
        after = found[-1][0]


def _rescue_of(job_id: str, attempt: int) -> Callable[[Session], str | None]:
    return lambda session: rescue_job(session, job_id, attempt)


def ring_undelivered(database: Database, doorbell: Doorbell) -> int:
    """Ring again for queued jobs that the broker has lost; for how many.

    As many as the queue is short of: a long queue that is only slow is left alone. A message too many is harmless,
    since the second to claim a job finds it taken.
    """
    waiting = doorbell.waiting()
    if waiting is None:
        return 0
    with database.reading() as session:
        short = min(queue_figures(session).depth - waiting, RUNG_AT_ONCE)
        lost = undelivered_jobs(session, older_than_seconds=UNDELIVERED_SECONDS, limit=short) if short > 0 else []
    for job_id in lost:
        if not doorbell.ring(job_id):
            break
    if lost:
        log.warning("rung_again", jobs=len(lost))
    return len(lost)
