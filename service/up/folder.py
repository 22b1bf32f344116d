"""The data folder of the one-machine mode: its lock, its API key, and its broker's socket."""

import fcntl
import hashlib
import os
import secrets
import stat
import string
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import StartError

# a unix socket's path may have 107 bytes on Linux and 103 on macOS
SOCKET_PATH_LIMIT = 100

KEY_ALPHABET = string.digits + string.ascii_letters
KEY_ID_LENGTH = 10
# 62^32 is 190 bits
KEY_SECRET_LENGTH = 32
KEY_CHECKSUM_LENGTH = 6


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if it does not exist, and hold its lock.

    Raises StartError if it can't be written, or if another instance holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
        # children do not inherit the lock, so a killed instance frees the folder at once
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


def tighten(folder: Path) -> str | None:
    """Close a folder of this user to all others. Return a sentence about it; None if it was closed, or is another's."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.getuid() or not mode & 0o077:
        return None
    folder.chmod(0o700)
    return f"Other users could open the data folder {folder} (mode {mode:04o}). Now only you can (0700)."


def key_of(folder: Path) -> str:
    """Return the folder's API key. It is made at first use, in a file that only its owner can read."""
    path = folder / "api_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        key = _new_key()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key + "\n")
        return key


def _new_key() -> str:
    """Return a key such as gm_local_<id>_<secret>_<checksum>.

    The checksum is the CRC-32 of the text before it, in base 62. Scanners of leaked text recognise a key by it.
    """
    body = "_".join(("gm", "local", _random(KEY_ID_LENGTH), _random(KEY_SECRET_LENGTH)))
    return f"{body}_{_base62(zlib.crc32(body.encode()))}"


def _random(length: int) -> str:
    return "".join(secrets.choice(KEY_ALPHABET) for _ in range(length))


def _base62(number: int) -> str:
    digits = ""
    for _ in range(KEY_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = KEY_ALPHABET[digit] + digits
    return digits


def socket_path(folder: Path) -> Path:
    """Return where the broker listens: in the folder, or in /tmp if that path is too long. Raises StartError."""
    path = folder.resolve() / "broker" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    # the same at each start, so that a server left by an earlier instance is found
    mark = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    short = Path("/tmp") / f"gradmill-{os.getuid()}-{mark}"  # noqa: S108 - ours alone, or refused
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid != os.getuid() or short.stat().st_mode & 0o077:
        raise StartError(f"{short} is not this user's alone: remove it, or choose a shorter --data-dir.")
    return short / "valkey.sock"
