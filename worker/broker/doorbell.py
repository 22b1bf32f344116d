"""The Celery app and the doorbell. Redis says `look now`; the truth is in SQL."""

import time
from collections.abc import Callable

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from worker.broker import transport
from worker.settings import Settings

log = structlog.get_logger()

QUEUE = "gradmill"
RUN = "gradmill.run"
CHANNEL = "gradmill:changed"
CONNECT_SECONDS = 0.5
CONSUMER_SECONDS = 5.0
# after a failed announcement the next ones are left out for so long: a broker that is away must not slow training
SILENCE_SECONDS = 5.0


def make_app(settings: Callable[[], Settings], *, answer_seconds: float = CONSUMER_SECONDS) -> Celery:
    """The Celery app; settings are read when it is first used, not when it is made.

    answer_seconds: how long a call of the broker may take; a consumer's waits for messages.
    """
    transport.register()
    app = Celery("gradmill", set_as_current=False)
    app.add_defaults(lambda: _configuration(settings(), answer_seconds))
    return app


def _configuration(settings: Settings, answer_seconds: float) -> dict[str, object]:
    return {
        "broker_url": broker_url(settings.redis_url),
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        # no result backend: results are in SQL
        "task_ignore_result": True,
        # early acknowledgement: late ones run a job longer than the visibility timeout twice at once (celery#5935)
        "task_acks_late": False,
        "task_publish_retry": False,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "worker.broker.pool:TaskPool",
        # without it a job waits behind a long one in a reserved slot
        "worker_disable_prefetch": True,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "socket_timeout": answer_seconds,
            "socket_connect_timeout": CONNECT_SECONDS,
            "health_check_interval": 25,
            # of one publish; the worker's own reconnecting is set above
            "max_retries": 0,
        },
    }


def broker_url(redis_url: str) -> str:
    """Celery's spelling of a Redis URL: a unix socket is redis+socket://."""
    return redis_url.replace("unix://", "redis+socket://", 1)


class Doorbell:
    """Rings workers for a job, and tells watchers that a job's record changed. Never raises: both are only hints."""

    def __init__(self, settings: Settings) -> None:
        # a client waits for its answer meanwhile: a broker that takes a message and says nothing is one that is away
        self._app = make_app(lambda: settings, answer_seconds=CONNECT_SECONDS)
        self._redis = redis.Redis.from_url(
            settings.redis_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
        )
        self._silent_until = 0.0

    def ring(self, job_id: str) -> bool:
        """Put the job's id in the queue; whether that worked. Rescue rings again for those that it missed."""
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
        """How many messages are in the queue; None if the broker is away.

        What stands in the queue's place and is none is deleted: Celery's consumers die of it, and it tells nobody
        anything, since the truth is in SQL.
        """
        try:
            if self._redis.type(QUEUE) not in (b"list", b"none"):
                log.error("not_a_queue", key=QUEUE)
                self._redis.delete(QUEUE)
            return int(self._redis.llen(QUEUE))
        except (redis.RedisError, OSError):
            return None

    def close(self) -> None:
        self._redis.close()
        self._app.close()
