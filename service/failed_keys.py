"""Counts wrong keys and logins by address. Past a limit the answer is 429 instead of 401."""

import ipaddress
import math
import time

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from service.problems import Problem

log = structlog.get_logger()

# more than a person mistypes or a restarting client retries, and nothing beside the 2^190 keys there are
FAILURES = RateLimitItemPerMinute(10)
COUNTERS = 16_384
# the part of an IPv6 address that one client is usually given
IPV6_BITS = 64


class FailedKeys:
    """The failures of the last minute in this process.

    A right key never comes here, so that nobody is locked out by others behind the same address. The memory is bounded:
    addresses share COUNTERS counters by a hash that is different in each process. Two addresses with the same counter
    are refused by 429 a little earlier; that is all.
    """

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def count(self, address: str | None) -> None:
        """Count a failure of this address. Raises Problem, 429 with Retry-After, if it has failed too often."""
        counter = str(hash(network_of(address)) % COUNTERS)
        if self._limiter.hit(FAILURES, counter):
            # no line past the limit: the log is bounded too
            log.warning("key_refused", address=address)
            return
        until = self._limiter.get_window_stats(FAILURES, counter).reset_time
        seconds = max(1, math.ceil(until - time.time()))
        raise Problem(
            429,
            f"too many wrong keys from this address: wait {seconds} s",
            code="too_many_failures",
            headers={"Retry-After": str(seconds)},
        )


def network_of(address: str | None) -> str:
    """Return the address, or the network of an IPv6 address, whose owner can choose the rest."""
    try:
        known = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, IPV6_BITS), strict=False))
