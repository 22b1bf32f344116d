"""The database: its clock, its transactions, and the error when it can't be reached."""

import sqlite3
import threading
import time

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.errors import UnavailableError
from worker.records.clock import now, seconds_from_now
from worker.records.logins import new_login_token
from worker.records.sessions import Database, wal_is_safe


def test_the_clock_is_the_databases_and_moves_within_a_transaction(database: Database) -> None:
    """Two reads in one transaction differ, and a future time is as far away as it says."""
    with database.reading() as session:
        first = session.scalar(select(now()))
        time.sleep(0.01)
        second, later = session.execute(select(now(), seconds_from_now(90))).one()
    assert first is not None
    assert second > first
    assert (later - second).total_seconds() == pytest.approx(90, abs=0.05)


def test_a_busy_sqlite_makes_writers_wait_and_not_fail(sqlite: Database) -> None:
    """Another process holds the write lock for half a second; the write happens after it."""
    path = sqlite.engine.url.database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    timer.start()
    began = time.monotonic()
    sqlite.write(new_login_token)
    assert time.monotonic() - began > 0.4
    timer.join()
    other.close()


def test_a_sqlite_writer_has_its_lock_before_its_first_statement(sqlite: Database) -> None:
    """BEGIN IMMEDIATE: a transaction that reads before it writes can't find out too late that another wrote."""
    path = sqlite.engine.url.database
    assert path is not None

    def look(session: Session) -> None:
        session.connection()
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()

    sqlite.write(look)


def test_a_database_that_is_away_is_said_to_be(tmp_path: object) -> None:
    """Reading and writing raise UnavailableError, not an error of the driver."""
    database = Database("postgresql+psycopg://postgres@127.0.0.1:9/none")
    with pytest.raises(UnavailableError, match="can't be reached"):
        database.write(new_login_token)
    with pytest.raises(UnavailableError), database.reading() as session:
        session.scalar(select(now()))


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
    ],
)
def test_wal_is_used_only_where_it_is_free_of_its_bug(version: tuple[int, int, int], safe: bool) -> None:
    """The first version with the fix and those after it are safe; on each older branch only from its own fix on."""
    assert wal_is_safe(version) is safe
