"""kombu's Redis transport, with one difference: messages that it can't read are dropped and logged."""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

log = structlog.get_logger()

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


class Channel(redis.Channel):
    """A channel whose consumer keeps running when the queue holds something that kombu and Celery did not write.

    With kombu's own channel the whole worker would crash. The message has already left the queue; if it was meant for a
    job, the job is rung for again.
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
                # without an answer, the message would occupy one of the worker's slots for ever
                log.warning("not_our_message", error=type(error).__name__)
                message.reject()

        return super().basic_consume(queue, no_ack, read, *rest, **options)


class Transport(redis.Transport):
    Channel = Channel


def register() -> None:
    """Make kombu use this transport for all redis:// and rediss:// URLs."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.broker.transport:Transport"
