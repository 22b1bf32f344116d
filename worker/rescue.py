"""Housekeeping, which every worker does: free expired leases, ring again for undelivered jobs, and sweep old rows.

To ring for a job is to send its id to the workers through the broker. A job is undelivered if that message was lost.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil
import structlog
from sqlalchemy.orm import Session

from worker.broker.doorbell import RINGING_SECONDS, Doorbell
from worker.data.storage import Storage
from worker.errors import GradmillError, UnavailableError
from worker.intake.datasets import Datasets
from worker.records.blobs import sweep_blobs
from worker.records.lease import expired_jobs, rescue_job
from worker.records.predictions import expired_predictions, rescue_prediction
from worker.records.queue import undelivered, waiting_rows
from worker.records.retention import sweeps
from worker.records.sessions import Database
from worker.records.workers import beat, expire_leases, holds_any, leave
from worker.runtime import uptime, version
from worker.settings import Retention, Settings

log = structlog.get_logger()

FindExpired = Callable[..., Sequence[tuple[str, int]]]
Rescuing = Callable[[Session, str, int], str | None]

# this long after it was rung for, a job should be running, or its message should be in the queue
UNDELIVERED_SECONDS = 1.0
RUNG_AT_ONCE = 500
LOOKS_BETWEEN_SWEEPS = 50
BATCHES_AT_ONCE = 50
# a worker is deaf if jobs wait and it receives none of them for this long; one that works takes a job in milliseconds
DEAF_SECONDS = 10.0


class Rescue(threading.Thread):
    """Does the housekeeping of one worker, several times per lease. If something fails, the next round tries it again.

    is_starting: returns whether one of the worker's training processes is not ready for a job yet.
    """

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        settings: Settings,
        worker_id: str,
        is_starting: Callable[[], bool],
    ) -> None:
        super().__init__(name="rescue", daemon=True)
        self._database, self._doorbell, self._settings = database, doorbell, settings
        self._worker_id, self._is_starting = worker_id, is_starting
        self._datasets = Datasets(database, Storage(settings.storage), settings.limits)
        self._looks = 0
        self._looked_at = uptime()
        self._deaf_since: float | None = None
        self._ended = threading.Event()

    def ask_to_end(self) -> None:
        """Ask the thread to end. Does not wait: it is called from a signal's handler."""
        self._ended.set()

    def process_died(self, pid: int, crash: str) -> None:
        """Rescue at once the rows that a dead process of this worker held. crash: how the process ended."""
        log.error("process_died", pid=pid, crash=crash)
        try:
            self._database.write(lambda session: expire_leases(session, owner=self._worker_id, pid=pid, crash=crash))
            rescue_expired(self._database, self._doorbell)
        except UnavailableError as error:
            log.warning("rescue_failed", error=repr(error))

    def run(self) -> None:
        while True:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next round must come
                log.warning("rescue_failed", error=repr(error))
            self._looks += 1
            if self._ended.wait(self._settings.lease.rescue_seconds):
                break
        with suppress(GradmillError):
            # if this can't be written, the worker's row is forgotten after a day
            self._database.write(lambda session: leave(session, self._worker_id))

    def _look(self) -> None:
        self._beat()
        # if this machine slept, the leases of its own processes have expired, but the processes are just waking up: let
        # them renew their leases first
        if uptime() - self._looked_at < self._settings.lease.sleep_seconds:
            rescue_expired(self._database, self._doorbell)
        self._looked_at = uptime()
        ring_undelivered(self._database, self._doorbell)
        self._end_if_deaf()
        if self._looks % LOOKS_BETWEEN_SWEEPS == 0:
            sweep_all(self._database, self._datasets, self._settings.retention)

    def _beat(self) -> None:
        self._database.write(
            lambda session: beat(
                session,
                self._worker_id,
                hostname=socket.gethostname(),
                pid=os.getpid(),
                processes=self._settings.workers,
                version=version(),
            )
        )

    def _end_if_deaf(self) -> None:
        """End this worker if it is deaf: jobs wait and the broker answers, yet it has received none for some seconds.

        Consumers that reconnect and then receive nothing are a recurring fault of Celery (celery#8030, celery#8091,
        celery#9054). The supervisor starts the worker again, and the jobs are rung for again.
        """
        now = time.monotonic()
        if self._is_starting() or self._has_work_or_none_waits() or self._doorbell.waiting() is None:
            self._deaf_since = None
        elif self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since > DEAF_SECONDS:
            log.error("worker_is_deaf", seconds=round(now - self._deaf_since, 1))
            for child in psutil.Process().children(recursive=True):
                child.kill()
            os._exit(1)

    def _has_work_or_none_waits(self) -> bool:
        with self._database.reading() as session:
            # without rows that are to wait until a later moment
            waits = undelivered(session, older_than_seconds=UNDELIVERED_SECONDS, limit=1)
            return not waits or holds_any(session, self._worker_id)


def sweep_all(database: Database, datasets: Datasets, retention: Retention) -> None:
    """Delete unreferenced and old rows, in short transactions. What is left is deleted in a later round."""
    for sweep in (sweep_blobs, *sweeps(retention)):
        for _ in range(BATCHES_AT_ONCE):
            if database.write(sweep) == 0:
                break
    datasets.sweep()


def rescue_expired(database: Database, doorbell: Doorbell) -> list[str]:
    """Free every row whose lease has expired. Return the ids of these jobs and predictions."""
    kinds: list[tuple[FindExpired, Rescuing]] = [(expired_jobs, rescue_job), (expired_predictions, rescue_prediction)]
    return [row_id for find, rescue in kinds for row_id in _rescue_all(database, doorbell, find, rescue)]


def _rescue_all(database: Database, doorbell: Doorbell, find: FindExpired, rescue: Rescuing) -> list[str]:
    moved: list[str] = []
    after = ""
    while True:
        with database.reading() as session:
            found = find(session, after=after)
        if not found:
            return moved
        for row_id, attempt in found:
            status = database.write(_bound(rescue, row_id, attempt))
            if status is None:
                continue
            log.warning("rescued", job_id=row_id, attempt=attempt, status=status)
            moved.append(row_id)
            doorbell.announce(row_id)
            if status == "queued":
                doorbell.ring(row_id)
        after = found[-1][0]


def _bound(rescue: Rescuing, row_id: str, attempt: int) -> Callable[[Session], str | None]:
    """Return the rescue of this row as a function for `Database.write`, bound to the loop's current values."""
    return lambda session: rescue(session, row_id, attempt)


def ring_undelivered(database: Database, doorbell: Doorbell) -> int:
    """Ring again for queued jobs and predictions whose message the broker has lost. Return how many times it rang.

    It rings as often as the queue has messages too few, so that a queue that is long, and only slow, is left alone. One
    worker at a time counts and rings: together they make no more messages than there are rows that wait.
    """
    with doorbell.ringing_alone() as alone:
        return _ring_missing(database, doorbell) if alone else 0


def _ring_missing(database: Database, doorbell: Doorbell) -> int:
    began = time.monotonic()
    # before the rows are counted: a message that is taken meanwhile makes it ring too seldom, not too often
    messages = doorbell.waiting()
    if messages is None:
        return 0
    with database.reading() as session:
        missing = waiting_rows(session) - messages
        if missing <= 0:
            return 0
        oldest = undelivered(session, older_than_seconds=UNDELIVERED_SECONDS, limit=min(missing, RUNG_AT_ONCE))
    rung = 0
    for row_id in oldest:
        if time.monotonic() - began > RINGING_SECONDS / 2 or not doorbell.ring(row_id):
            break
        rung += 1
    if rung:
        log.warning("rung_again", rows=rung)
    return rung
