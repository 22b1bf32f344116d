"""What must hold when a part of the service starts, and the one line in which a start is refused."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from service.settings import ServiceSettings
from worker.broker.exposure import check_broker, is_loopback
from worker.errors import StartError

KEY_LENGTH = 32
PR_SET_PDEATHSIG = 1


def check_exposure(settings: ServiceSettings, hosts: Iterable[str] | None = None) -> None:
    """Raise StartError if strangers could use this API: a short key beyond loopback, or an open broker.

    hosts: the hosts on which it listens, if they are not those of the settings.
    """
    listening = [settings.host] if hosts is None else hosts
    exposed = [host or "all addresses" for host in listening if not is_loopback(host)]
    if exposed and len(settings.api_key.get_secret_value()) < KEY_LENGTH:
        raise StartError(
            f"GRADMILL_API_KEY must have at least {KEY_LENGTH} characters to listen on {exposed[0]}, beyond this "
            "machine: make one with `openssl rand -hex 24`, or set GRADMILL_HOST=127.0.0.1."
        )
    check_broker(settings)


def check_key(settings: ServiceSettings) -> None:
    """Raise StartError if there is no API key."""
    if not settings.api_key.get_secret_value():
        raise StartError("set GRADMILL_API_KEY: the API answers no request without a key")


@contextmanager
def exiting_in_words() -> Iterator[None]:
    """If a StartError is raised, print its message to standard error and exit with code 1."""
    try:
        yield
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def end_with_parent(parent: int) -> None:
    """Make the kernel send SIGTERM to this process when its parent ends in any way. Linux only.

    On other systems the process keeps running after a parent that was killed. Source: prctl(2), PR_SET_PDEATHSIG.
    parent: its pid. If this process has another parent by now, that one has ended already, and so does this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
