"""Gives the space of deleted rows back to the disk. SQLite has to be asked; PostgreSQL does so itself (autovacuum)."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from worker.errors import StartError
from worker.records.sessions import Database

PAGES_AT_ONCE = 500
"Each step holds the write lock for some milliseconds."
SECONDS_AT_ONCE = 1.0
PAUSE_SECONDS = 0.02


def give_back(database: Database, *, seconds: float = SECONDS_AT_ONCE) -> int:
    """Give unused pages back in small steps, and return by how many bytes the file becomes smaller.

    seconds: begin no step after this long.
    It has no effect on a file that an older version made, until `compact` has been run once.
    """
    if database.engine.dialect.name != "sqlite":
        return 0
    with _connected(database) as connection:
        before, ends = _size(connection), time.monotonic() + seconds
        while connection.execute("PRAGMA freelist_count").fetchone() != (0,):
            began = time.monotonic()
            # it gives back a page at each step: `execute` makes one, a script makes all
            connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
            ended = time.monotonic()
            if ended > ends:
                break
            # SQLite's lock is not fair: a writer that waits for it looks only now and then
            time.sleep(max(PAUSE_SECONDS, ended - began))
        return before - _size(connection)


def compact(database: Database) -> int:
    """Write the whole file anew without unused pages, and return by how many bytes it is smaller. Raises StartError.

    Others can't write meanwhile, and it needs as much room as the file has.
    """
    if database.engine.dialect.name != "sqlite":
        raise StartError("PostgreSQL gives space back by itself; VACUUM FULL does so at once, and locks its tables.")
    with _connected(database) as connection:
        before = _size(connection)
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")
        return before - _size(connection)


@contextmanager
def _connected(database: Database) -> Iterator[sqlite3.Connection]:
    """Yield SQLite's own connection, outside a transaction: vacuuming can't be in one."""
    connection = database.engine.raw_connection()
    try:
        yield cast(sqlite3.Connection, connection.dbapi_connection)
    finally:
        connection.close()


def _size(connection: sqlite3.Connection) -> int:
    """Return the size of the file by its pages, since a write-ahead log may hold some of them."""
    (count,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return int(count) * int(size)
