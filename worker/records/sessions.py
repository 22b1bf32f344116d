"""Access to the database: one way to read and one way to write, the same on SQLite and PostgreSQL."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from worker.errors import UnavailableError

T = TypeVar("T")

ATTEMPTS = 6
BUSY_SECONDS = 5
POSTGRESQL = {
    "connect_timeout": 3,
    # a server without an encoding would make psycopg return bytes
    "client_encoding": "utf8",
    # a network that drops packets, or a client that froze with a row locked, must not delay others for long
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=5s",
}
AWAY = (OperationalError, InterfaceError, PoolTimeoutError)
# serialization failure, deadlock, lock not available, idle too long, and the errors of a server that restarts
RETRIED_STATES = {"40001", "40P01", "55P03", "25P03", "57P01", "57P02", "57P03", "08006", "08003", "08001"}


class Database:
    """The connections of one process: create it after a fork, never before."""

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self.engine = make_engine(url, pool_size=pool_size)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads. Raises UnavailableError."""
        try:
            with Session(self.engine) as session:
                yield session
        except AWAY as error:
            raise UnavailableError("the database can't be reached, or is busy") from error

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one writing transaction, commit, and return its result. This is the only way to write.

        `work` may run several times: after a lost race, a deadlock or a dropped connection it is run again, at most
        ATTEMPTS times in all. Raises UnavailableError after that.
        """
        for attempt in range(ATTEMPTS):
            try:
                with Session(self.engine.execution_options(writes=True)) as session, session.begin():
                    session.expire_on_commit = False
                    return work(session)
            except PoolTimeoutError as error:
                # no connection of the pool became free; waiting longer would only lengthen the queue
                raise UnavailableError("the database can't be reached, or is busy") from error
            except DBAPIError as error:
                if not _worth_another_try(error):
                    raise
                if attempt == ATTEMPTS - 1 and isinstance(error, IntegrityError):
                    raise
                if attempt == ATTEMPTS - 1:
                    raise UnavailableError("the database can't be reached, or is busy") from error
                # a random pause, so that two transactions that collided do not collide again
                time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - not a secret
        raise AssertionError

    def close(self) -> None:
        self.engine.dispose()


def _worth_another_try(error: DBAPIError) -> bool:
    if isinstance(error, IntegrityError):
        # another writer added the same row first: the second run finds it
        return True
    state = getattr(error.orig, "sqlstate", None)
    return (
        error.connection_invalidated or state in RETRIED_STATES or isinstance(error, OperationalError | InterfaceError)
    )


def make_engine(url: str, *, pool_size: int = 5) -> Engine:
    """Return an engine. With SQLite a writer takes its lock when it begins, not at its first write."""
    if not url.startswith("sqlite"):
        return create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=5,
            connect_args=POSTGRESQL,
        )
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=64, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the listener below begins transactions, not the driver
    for pragma in (
        f"journal_mode={'WAL' if wal_is_safe(sqlite3.sqlite_version_info) else 'TRUNCATE'}",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Return whether this SQLite is free of a bug: resetting the WAL with two connections can corrupt the file."""
    return version >= (3, 51, 3) or (version[:2] in {(3, 44), (3, 50)} and version[2] >= {44: 6, 50: 7}[version[1]])
