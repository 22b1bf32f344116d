"""Deleting gives the space back: bit by bit, and at once by a command."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from migrations.schema import upgrade
from worker.errors import StartError
from worker.records.blobs import put_blob
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.space import compact, give_back
from worker.records.tables import Blob, Chunk

MIB = 2**20


def filled_and_emptied(database: Database) -> None:
    for _ in range(5):
        database.write(lambda session: put_blob(session, DEFAULT_PROJECT, b"x" * 2 * MIB))
    database.write(lambda session: (session.query(Chunk).delete(), session.query(Blob).delete()))


def test_deleted_rows_give_their_space_back_in_small_steps(tmp_path: Path) -> None:
    """A new database shrinks by what was deleted; a call ends in time, so that a worker does its other housekeeping."""
    path = tmp_path / "new.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database.engine)
    filled_and_emptied(database)
    # a page of pointers goes with them
    assert 500 * 4096 <= give_back(database, seconds=0) <= 502 * 4096
    assert give_back(database) > 7 * MIB
    assert give_back(database) == 0
    database.close()
    assert path.stat().st_size < MIB


def test_a_file_of_an_older_version_gives_space_back_once_it_was_compacted(tmp_path: Path) -> None:
    """Without auto_vacuum in the file nothing is given back; compacting it does, and turns it on."""
    path = tmp_path / "old.db"
    plain = create_engine(f"sqlite:///{path}")
    with plain.begin() as connection:
        connection.execute(text("CREATE TABLE first (id INTEGER)"))
    plain.dispose()
    database = Database(f"sqlite:///{path}")
    upgrade(database.engine)
    filled_and_emptied(database)
    assert give_back(database) == 0
    assert compact(database) > 9 * MIB
    filled_and_emptied(database)
    assert give_back(database) > 9 * MIB
    database.close()
    assert path.stat().st_size < MIB


def test_postgresql_is_left_to_itself(postgresql_url: str) -> None:
    """Autovacuum does it there."""
    database = Database(postgresql_url)
    assert give_back(database) == 0
    with pytest.raises(StartError, match="by itself"):
        compact(database)
    database.close()


def test_others_write_while_space_is_given_back(tmp_path: Path) -> None:
    """Between two steps the lock is free for long enough that each of 20 writers gets it at once."""
    path = tmp_path / "new.db"
    database, other = Database(f"sqlite:///{path}"), Database(f"sqlite:///{path}")
    upgrade(database.engine)
    for _ in range(10):
        filled_and_emptied(database)
    put = [database.write(lambda session: put_blob(session, DEFAULT_PROJECT, b"x" * 50 * MIB)) for _ in range(3)]
    database.write(lambda session: (session.query(Chunk).delete(), session.query(Blob).delete()))
    assert put
    giving = threading.Thread(target=give_back, args=(database,), kwargs={"seconds": 30})
    giving.start()
    written = 0
    while giving.is_alive() and written < 20:
        other.write(lambda session: put_blob(session, DEFAULT_PROJECT, b"y"))
        written += giving.is_alive()
    giving.join()
    database.close()
    other.close()
    assert written >= 10
