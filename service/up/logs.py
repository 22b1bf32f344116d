"""The log files of the supervisor's child processes: appended to, and rotated by size."""

import os
import shutil
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

BYTES_LIMIT = 16 * 2**20
OLD_FILES = 3


def rotate(log: Path) -> None:
    """If the log is past BYTES_LIMIT, move its content to `NAME.1`, and each older file on by one; OLD_FILES are kept.

    The processes that write to it keep their open file, so its content is copied and then cut off. They append, so the
    next line goes to the start. A line that is being written at the very moment of the cut may be lost.
    """
    # a full disk must not stop the supervisor
    with suppress(OSError):
        if log.stat().st_size > BYTES_LIMIT:
            copied = log.with_name(f"{log.name}.new")
            try:
                _move_content(log, copied)
            except OSError:
                # the older files stay as they are
                copied.unlink(missing_ok=True)
                return
            older = [log.with_name(f"{log.name}.{number}") for number in range(1, OLD_FILES + 1)]
            for newer, old in reversed(list(pairwise(older))):
                if newer.exists():
                    newer.replace(old)
            copied.replace(older[0])


def _move_content(source: Path, target: Path) -> None:
    with source.open("rb+") as old, target.open("wb") as new:
        # lines that arrive during the copy are copied too
        while old.tell() < os.fstat(old.fileno()).st_size:
            shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())
        old.truncate(0)


def tail(log: Path, *, after: int, lines: int) -> str:
    """Return the last lines that were written after this many bytes of the file."""
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        # a shorter file was rotated meanwhile
        file.seek(after if after <= size else 0)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
