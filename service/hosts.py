"""Names of hosts: which are loopback, and by which of them this server answers."""

import ipaddress
import re
from collections.abc import Iterable

LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEADER = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"A Host header: a name, an IPv4 address or an IPv6 address in brackets, and perhaps a port."


def host_name(text: str) -> str | None:
    """Return the host of `host` or `host:port` in lower case, without port, brackets and final dot; None if malformed.

    text: an IPv6 address has brackets.
    """
    found = HEADER.fullmatch(text)
    if found is None:
        return None
    name = found["name"].lower()
    if not name.startswith("["):
        return name.rstrip(".") or None
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return None


def in_brackets(host: str) -> str:
    """Return the host as it is written in an address: an IPv6 address in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def is_answered(header: str | None, names: Iterable[str] | None) -> bool:
    """Return whether a request with this Host header is answered.

    header: None if the request has none, which no browser sends.
    names: as `host_name` returns them; one that begins with a dot means all names below it. None: any name.
    """
    if header is None:
        return True
    name = host_name(header)
    if name is None or names is None:
        return name is not None
    return any(name == known or (known[0] == "." and name.endswith(known)) for known in names)
