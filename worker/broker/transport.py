"""kombu's Redis transport, but for one thing: it outlives what is no message, or none of ours."""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

log = structlog.get_logger()

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


class Channel(redis.Channel):
    """kombu's own lets the whole worker fall when something in the queue is not what kombu and Celery write.

    Whatever it was, it has left the queue, and a job that waits is rung for again.
    """

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except UNREADABLE as error:
            log.warning("not_a_message", error=type(error).__name__)
            return True

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, *rest: Any, **options: Any) -> Any:
        def read(message: Any) -> None:
            try:
                callback(message)
            except UNREADABLE as error:
                # taken already: without an answer it would hold one of the worker's places for ever
                log.warning("not_our_message", error=type(error).__name__)
                message.reject()

        return super().basic_consume(queue, no_ack, read, *rest, **options)


class Transport(redis.Transport):
    Channel = Channel


def register() -> None:
    """Make it the one that redis:// URLs of all kinds mean."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.broker.transport:Transport"
