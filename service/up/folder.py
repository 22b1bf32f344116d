"""The data folder of the one-machine mode: its lock, its API key, and its broker's socket."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.up.keys import new_key
from worker.errors import StartError

# a unix socket's path may have 107 bytes on Linux and 103 on macOS
SOCKET_PATH_LIMIT = 100


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if it does not exist, and hold its lock.

    Raises StartError if it can't be written, or if another instance holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
        # not inherited by children: a killed instance frees the folder at once
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(
            f"The data folder {folder} can't be written ({(error.strerror or '').lower()}): "
            "choose another with --data-dir or GRADMILL_DATA_DIR."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"Another gradmill runs on the data folder {folder}: stop it, or choose another with --data-dir."
            ) from error
        yield
    finally:
        os.close(lock)


def key_of(folder: Path) -> str:
    """Return the folder's API key, made at first use and readable by its owner only."""
    path = folder / "api_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        key = new_key()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key + "\n")
        return key


def socket_path(folder: Path) -> Path:
    """Return where the broker listens: in the folder, or in /tmp if that path is too long. Raises StartError."""
    path = folder.resolve() / "broker" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    # the same at each start, so that a server that an earlier instance left is found
    mark = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    short = Path("/tmp") / f"gradmill-{os.getuid()}-{mark}"  # noqa: S108 - ours alone, or refused
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid != os.getuid() or short.stat().st_mode & 0o077:
        raise StartError(f"{short} is not this user's alone: remove it, or choose a shorter --data-dir.")
    return short / "valkey.sock"
