"""Whether strangers could write to the broker: then no API and no worker starts."""

import ipaddress
from typing import Any

from redis.connection import parse_url

from worker.errors import StartError
from worker.settings import Settings


def check_broker(settings: Settings) -> None:
    """Raise StartError if the broker is on another machine and asks for no password."""
    if not settings.redis_url or settings.allow_open_redis:
        return
    parts: dict[str, Any] = parse_url(settings.redis_url)  # type: ignore[no-untyped-call]
    host = parts.get("host", "localhost")
    # a client's certificate is as good as a password
    shows_itself = parts.get("password") or parts.get("ssl_certfile")
    if not settings.redis_url.startswith("unix://") and not shows_itself and not is_loopback(host):
        raise StartError(
            f"Redis on {host[:100]} is open to everyone who reaches it: give it a password, and put it into "
            "GRADMILL_REDIS_URL (redis://:PASSWORD@HOST:6379/0), or set GRADMILL_ALLOW_OPEN_REDIS=true."
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
