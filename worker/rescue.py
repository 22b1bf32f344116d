"""Housekeeping, which every worker does: free expired leases, and ring again for undelivered jobs.

To ring for a job is to send its id to the workers through the broker. A job is undelivered if that message was lost.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import psutil
import structlog
from sqlalchemy.orm import Session

from worker.broker.doorbell import RINGING_SECONDS, Doorbell
from worker.errors import GradmillError, UnavailableError
from worker.records.lease import expired_jobs, rescue_job
from worker.records.predictions import expired_predictions, rescue_prediction
from worker.records.queue import undelivered, waiting_rows
from worker.records.sessions import Database
from worker.records.workers import beat, expire_leases, holds_any, leave
from worker.runtime import uptime, version
from worker.settings import Settings

log = structlog.get_logger()

FindExpired = Callable[..., Sequence[tuple[str, int]]]
Rescuing = Callable[[Session, str, int], str | None]

# this long after it was rung for, a job should be running, or its message should be in the queue
UNDELIVERED_SECONDS = 1.0
RUNG_AT_ONCE = 500
# while the broker has this many messages, workers have work, and the rows that wait are not counted
MESSAGES_ENOUGH = 1000
# a worker is deaf if jobs wait and it receives none of them for this long; one that works takes a job in milliseconds
DEAF_SECONDS = 10.0


class Listening(Protocol):
    """What receives the messages of a worker.

    received: how many messages so far. is_starting: whether it is not ready for all of them yet.
    """

    received: int

    @property
    def is_starting(self) -> bool: ...


class Rescue(threading.Thread):
    """Does the housekeeping of one worker, several times per lease. If something fails, the next round tries it again.

    listening: the worker's training processes, or what else is rung for.
    """

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        settings: Settings,
        worker_id: str,
        listening: Listening,
    ) -> None:
        super().__init__(name="rescue", daemon=True)
        self._database, self._doorbell, self._settings = database, doorbell, settings
        self._worker_id, self._listening = worker_id, listening
        self._received = 0
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
        rung = ring_undelivered(self._database, self._doorbell)
        self._end_if_deaf(has_rung=rung > 0)

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

    def _end_if_deaf(self, *, has_rung: bool) -> None:
        """End this worker if it is deaf: jobs wait and were rung for, yet it has received none for some seconds.

        Consumers that reconnect and then receive nothing are a recurring fault of Celery (celery#8030, celery#8091,
        celery#9054). The supervisor starts the worker again, and the jobs are rung for again.
        """
        now, messages, before = time.monotonic(), self._doorbell.waiting(), self._received
        self._received = self._listening.received
        has_heard = self._received != before
        if has_heard or self._listening.is_starting or self._has_work_or_none_waits() or messages is None:
            self._deaf_since = None
        elif self._deaf_since is None:
            # without a message, there is nothing that it could have heard
            self._deaf_since = now if has_rung or messages else None
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
    if messages is None or messages > MESSAGES_ENOUGH:
        return 0
    with database.reading() as session:
        missing = waiting_rows(session, limit=messages + RUNG_AT_ONCE) - messages
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
