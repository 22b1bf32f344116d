"""kombu's Redis transport, with one difference: messages that it can't read are dropped and logged."""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

log = structlog.get_logger()

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


class Channel(redis.Channel):
    """A channel whose consumer keeps running when the queue holds something that kombu and Celery did not write.

    kombu's own lets the whole worker fall. The message has left the queue by then; if it meant a job, the job is rung
    for again.
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
                # it has been taken: without an answer it would hold one of the worker's places for ever
                log.warning("not_our_message", error=type(error).__name__)
                message.reject()

        return super().basic_consume(queue, no_ack, read, *rest, **options)


class Transport(redis.Transport):
    Channel = Channel


def register() -> None:
    """Have all redis:// and rediss:// URLs use this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.broker.transport:Transport"
