"""kombu's Redis transport, but for one thing: it outlives what is no message."""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

log = structlog.get_logger()


class Channel(redis.Channel):
    """kombu's own lets the whole worker fall when something in the queue is not what kombu writes."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # it has left the queue, and named no job that the record does not know to wait
            log.warning("not_a_message", error=type(error).__name__)
            return True


class Transport(redis.Transport):
    Channel = Channel


def register() -> None:
    """Make it the one that redis:// URLs of all kinds mean."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.transport:Transport"
