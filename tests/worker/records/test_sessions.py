"""The database: its clock, its transactions, and the error when it can't be reached."""

import sqlite3
import threading
import time
import traceback

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.orm import Session

from worker.errors import UnavailableError
from worker.records.clock import now, seconds_from_now
from worker.records.logins import new_login_token
from worker.records.sessions import Database, wal_is_safe

VALUE = "mine-alone"


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


def logged(database: Database, statement: str) -> str:
    """What the log has of a statement that fails with VALUE as its parameter."""
    with pytest.raises(DBAPIError) as caught, database.engine.begin() as connection:
        connection.execute(text(statement), {"value": VALUE})
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO projects (id, name, created_at) VALUES (:value, :value, NULL)",
        "INSERT INTO projects (id, name, created_at) SELECT :value, name, created_at FROM projects",
        "SELECT nothing, :value",
    ],
)
def test_a_failed_statement_is_logged_without_its_values(database: Database, statement: str) -> None:
    """Neither its parameters, nor what the database says of the row: only the statement and what was wrong."""
    said = logged(database, statement)
    assert statement.split(":", maxsplit=1)[0] in said
    assert VALUE not in said


@pytest.mark.parametrize("kind", ["integer", "json"])
def test_postgresqls_words_about_a_value_are_not_logged(postgresql_url: str, kind: str) -> None:
    """Its message ends with the value, and its details quote a part; the kind of error and the sentence stay."""
    database = Database(postgresql_url)
    said = logged(database, f"SELECT CAST(:value AS {kind})")
    assert "InvalidTextRepresentation" in said
    assert f"invalid input syntax for type {kind}" in said
    assert not any(part in said for part in VALUE.split("-"))
    database.close()


def test_a_reader_that_was_idle_too_long_is_told_that_the_database_is_away(postgresql_url: str) -> None:
    """PostgreSQL ends its connection with an error of another class than that of one that can't be reached."""
    database = Database(postgresql_url)

    def idle(session: Session) -> None:
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        time.sleep(0.3)

    with pytest.raises(UnavailableError), database.reading() as session:
        idle(session)
    database.close()


def test_a_reader_with_a_fault_of_its_own_is_told_so(postgresql_url: str) -> None:
    """A wrong statement is an error of ours, which must be seen. SQLite has one class of errors for both."""
    database = Database(postgresql_url)
    with pytest.raises(ProgrammingError), database.reading() as session:
        session.execute(text("SELECT 1 FROM nothing"))
    database.close()


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
