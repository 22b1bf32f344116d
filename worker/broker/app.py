"""The Celery app and its configuration, for workers and for the processes that send them messages."""

from collections.abc import Callable

from celery import Celery

from worker.broker import transport
from worker.settings import Settings

QUEUE = "gradmill"
RUN = "gradmill.run"
CONNECT_SECONDS = 0.5
CONSUMER_SECONDS = 5.0


def make_app(settings: Callable[[], Settings], *, answer_seconds: float = CONSUMER_SECONDS) -> Celery:
    """Return the Celery app; it reads the settings when it is first used, not when it is made.

    answer_seconds: how long a call to the broker may take. A consumer's call waits for messages, so it takes longer.
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
        # acknowledge early: with late acknowledgement, a job that takes longer than the visibility timeout would run
        # twice at the same time (celery#5935)
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
            # retries of one publish; how the worker reconnects is set above
            "max_retries": 0,
        },
    }


def broker_url(redis_url: str) -> str:
    """Return a Redis URL as Celery spells it: a unix socket is redis+socket://."""
    return redis_url.replace("unix://", "redis+socket://", 1)
