"""The doorbell: messages through Redis that say "look now". What there is to see is in SQL, so a lost one is harmless.

To ring for a job is to put its id into the workers' queue. To announce a job is to tell the pages that watch it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
import structlog
from kombu.exceptions import OperationalError

from worker.broker.app import CONNECT_SECONDS, QUEUE, RUN, make_app
from worker.settings import Settings

log = structlog.get_logger()

CHANNEL = "gradmill:changed"
# after an announcement that failed, none is tried for this long: a broker that is away must not slow down training
SILENCE_SECONDS = 5.0
RINGING = "gradmill:ringing"
# a worker that counts and rings again has this long before another may: if one is killed at it, jobs wait for as long
RINGING_SECONDS = 5.0


class Doorbell:
    """Rings workers for a job, and announces to watchers that a job's record has changed. Never raises: see above."""

    def __init__(self, settings: Settings) -> None:
        # a client waits for its answer meanwhile, so a broker that does not answer soon counts as away
        self._app = make_app(lambda: settings, answer_seconds=CONNECT_SECONDS)
        self._redis = redis.Redis.from_url(
            settings.redis_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
        )
        self._silent_until = 0.0

    def ring(self, job_id: str) -> bool:
        """Have a worker look for the row that has waited longest, and return whether that worked.

        job_id: the row that the message is made for; it is only logged. Rescue rings again if the message is lost.
        """
        try:
            self._app.send_task(RUN, args=[job_id], queue=QUEUE, ignore_result=True, retry=False)
        except (OperationalError, redis.RedisError, OSError) as error:
            log.warning("broker_away", job_id=job_id, error=type(error).__name__)
            return False
        return True

    def announce(self, job_id: str) -> None:
        """Tell watchers to look at the job."""
        if time.monotonic() < self._silent_until:
            return
        try:
            self._redis.publish(CHANNEL, job_id)
        except (redis.RedisError, OSError):
            self._silent_until = time.monotonic() + SILENCE_SECONDS

    def waiting(self) -> int | None:
        """Return how many messages are in the queue; None if the broker is away.

        If the queue's name belongs to a Redis key that is not a list, that key is deleted: it would kill Celery's
        consumers. No job is lost with it, since jobs are in SQL.
        """
        try:
            if self._redis.type(QUEUE) not in (b"list", b"none"):
                log.error("not_a_queue", key=QUEUE)
                self._redis.delete(QUEUE)
            return int(self._redis.llen(QUEUE))
        except (redis.RedisError, OSError):
            return None

    @contextmanager
    def ringing_alone(self) -> Iterator[bool]:
        """Yield whether this is the only worker that counts messages and rings again; False if the broker is away.

        The right to do so ends after RINGING_SECONDS, so that one that died with it stops nobody for long.
        """
        lock = self._redis.lock(RINGING, timeout=RINGING_SECONDS, blocking=False)
        try:
            alone = lock.acquire()
        except (redis.RedisError, OSError):
            alone = False
        try:
            yield alone
        finally:
            if alone:
                # it is gone already if it took too long, or if the broker came back empty
                with suppress(redis.RedisError, OSError):
                    lock.release()

    def close(self) -> None:
        self._redis.close()
        self._app.close()
