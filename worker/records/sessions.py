"""Access to the database: one way to read and one way to write, the same on SQLite and PostgreSQL."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from worker.errors import UnavailableError
from worker.records.pool import ShrinkingPool

T = TypeVar("T")

ATTEMPTS = 6
BUSY_SECONDS = 5
IDLE_SECONDS = 30.0
POSTGRESQL = {
    "connect_timeout": 3,
    # a server without an encoding would make psycopg return bytes
    "client_encoding": "utf8",
    # a network that drops packets must not delay others for long
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    # the listener below begins transactions, not the driver
    "autocommit": True,
    # pgbouncer may give each transaction another connection, which does not know the statements that were prepared
    "prepare_threshold": None,
}
# a client that froze with a row locked must not delay others for long. Sent together, these are one round trip, as is a
# bare BEGIN. Set for each transaction, they also hold behind pgbouncer, which refuses settings at a connection's start
BEGIN_POSTGRESQL = "BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'"
DISK_FULL = "53100"
# serialization failure, deadlock, lock not available, idle too long, and the errors of a server that restarts
RETRIED_STATES = {"40001", "40P01", "55P03", "25P03", "57P01", "57P02", "57P03", "08006", "08003", "08001"}


class Database:
    """The connections of one process: create it after a fork, never before.

    name: the application_name of its connections, which PostgreSQL shows beside each.
    pool_size: how many connections it may keep. One to PostgreSQL that is not used for IDLE_SECONDS is closed.
    overflow: how many more it may open, each closed as soon as it is returned.
    before_use: called before each use, which may block.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "gradmill",
        pool_size: int = 5,
        overflow: int = 1,
        before_use: Callable[[], None] = lambda: None,
    ) -> None:
        self._before_use = before_use
        self.engine = make_engine(url, name=name, pool_size=pool_size, overflow=overflow)
        self._closed = threading.Event()
        if isinstance(self.engine.pool, ShrinkingPool):
            threading.Thread(target=self._close_idle, name="idle connections", daemon=True).start()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads. Raises UnavailableError."""
        self._before_use()
        try:
            with Session(self.engine) as session:
                yield session
        except (DBAPIError, PoolTimeoutError) as error:
            if isinstance(error, DBAPIError) and not _is_away(error):
                raise
            raise UnavailableError("the database can't be reached, or is busy") from error

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one writing transaction, commit, and return its result. This is the only way to write.

        `work` may run several times: after a lost race, a deadlock or a dropped connection it is run again, at most
        ATTEMPTS times in all. Raises UnavailableError after that.
        """
        self._before_use()
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
        self._closed.set()
        self.engine.dispose()

    def _close_idle(self) -> None:
        while not self._closed.wait(IDLE_SECONDS / 3):
            if isinstance(self.engine.pool, ShrinkingPool):
                self.engine.pool.close_idle(IDLE_SECONDS)


def _worth_another_try(error: DBAPIError) -> bool:
    # another writer added the same row first: the second run finds it
    return isinstance(error, IntegrityError) or _is_away(error)


def _is_away(error: DBAPIError) -> bool:
    """Return whether the database can't be reached or is busy, rather than what was asked of it wrong."""
    state = getattr(error.orig, "sqlstate", None)
    return (
        error.connection_invalidated or state in RETRIED_STATES or isinstance(error, OperationalError | InterfaceError)
    )


def is_disk_full(error: UnavailableError) -> bool:
    """Return whether a write failed because the database's disk has no room."""
    cause = error.__cause__
    orig = cause.orig if isinstance(cause, DBAPIError) else None
    sqlite_code, state = getattr(orig, "sqlite_errorcode", None), getattr(orig, "sqlstate", None)
    return sqlite_code == sqlite3.SQLITE_FULL or state == DISK_FULL


def make_engine(url: str, *, name: str = "gradmill", pool_size: int = 5, overflow: int = 1) -> Engine:
    """Return an engine. With SQLite a writer takes its lock when it begins, not at its first write.

    Its errors name the statement but no value, because they are logged. The other arguments are those of Database.
    """
    if not url.startswith("sqlite"):
        engine = create_engine(
            url,
            hide_parameters=True,
            poolclass=ShrinkingPool,
            pool_size=pool_size,
            max_overflow=overflow,
            pool_use_lifo=True,
            pool_pre_ping=True,
            pool_timeout=5,
            connect_args=POSTGRESQL | {"application_name": name},
        )
        event.listen(engine, "handle_error", _hide_values)
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        # As few as on PostgreSQL. If 200 threads read at once, each is slow; the writer waits for all of them, and
        # whoever begins to read waits for the writer.
        max_overflow=overflow,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    # with parameters, even with none in it, the driver would send only a single statement
    connection.exec_driver_sql(BEGIN_POSTGRESQL, execution_options={"no_parameters": True})


def _hide_values(context: ExceptionContext) -> None:
    """Shorten PostgreSQL's message to what was wrong: it goes on with the value, the row or its key."""
    error, outer = context.original_exception, context.sqlalchemy_exception
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if primary is None:
        return
    whole, kept = str(error), primary.partition(': "')[0]
    error.args = (kept,)
    if outer is not None:
        outer.args = tuple(str(part).replace(whole, kept) for part in outer.args)


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the listener below begins transactions, not the driver
    for pragma in (
        # for a file without tables only: the others keep what they have
        "auto_vacuum=INCREMENTAL",
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
