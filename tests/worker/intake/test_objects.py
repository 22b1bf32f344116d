"""Stored objects beside a database that is empty, older or whole: what is swept, and what is only listed."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from worker.data.storage import Storage
from worker.errors import StorageFullError, UnavailableError
from worker.intake.datasets import Datasets
from worker.intake.objects import unknown_objects, write_object
from worker.records.clock import seconds_from_now
from worker.records.datasets import delete_dataset
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.objects import WRITING_SECONDS, keep_object, start_object
from worker.records.sessions import Database
from worker.records.tables import Base, StoredObject
from worker.settings import Limits

OLD = "01938c6e9f3a7c0e8d5a4b3c2d1e0f9a"
TABLE = b"x,y\n1,2\n3,4\n"


@pytest.fixture
def age(database: Database) -> Callable[[float], None]:
    """Let every row of an object be this old."""

    def age(seconds: float) -> None:
        aged = update(StoredObject).values(created_at=seconds_from_now(-seconds))
        database.write(lambda session: session.execute(aged))

    return age


def states(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return {row.key: row.state for row in session.scalars(select(StoredObject))}


def begin(database: Database) -> str:
    """Add the row of an object, as a process that is killed before it writes a byte."""
    return database.write(lambda session: start_object(session, DEFAULT_PROJECT, "dst", content_bytes=3))


def test_a_worker_on_an_empty_database_deletes_nothing(
    database: Database, datasets: Datasets, storage: Storage
) -> None:
    """Beside a full storage, a sweep by a database that knows none of its objects leaves and lists every one."""
    keys = [f"dst_{OLD}", f"prd_{OLD}", "dst_of another program", "README"]
    for key in keys:
        storage.write(key, b"content")
    assert datasets.sweep() == 0
    assert sorted(storage.list_keys()) == sorted(keys) == unknown_objects(database, storage)


def test_an_older_dump_loses_no_newer_upload(
    database: Database, datasets: Datasets, storage: Storage, age: Callable[[float], None]
) -> None:
    """With yesterday's rows restored, objects that are newer are listed and not deleted; older ones are whole."""
    old, _ = datasets.store(DEFAULT_PROJECT, "old", TABLE)
    dump = dumped(database)
    new, _ = datasets.store(DEFAULT_PROJECT, "new", TABLE + b"5,6\n")
    database.write(lambda session: delete_dataset(session, DEFAULT_PROJECT, old.id))
    restore(database, dump)
    age(2 * 86_400)
    assert datasets.sweep() == 0
    assert sorted(storage.list_keys()) == sorted([old.storage_key, new.storage_key])
    assert unknown_objects(database, storage) == [new.storage_key]
    assert datasets.read(old).num_rows == 2


def dumped(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of uploads, by table."""
    with database.engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(select(Base.metadata.tables[name])).mappings()]
            for name in ("datasets", "stored_objects")
        }


def restore(database: Database, dump: dict[str, list[dict[str, Any]]]) -> None:
    """Replace the rows of uploads by those of a dump; their times are those of the restore."""
    with database.engine.execution_options(writes=True).begin() as connection:
        for name, rows in dump.items():
            table = Base.metadata.tables[name]
            connection.execute(table.delete())
            for row in rows:
                connection.execute(table.insert().values({**row, "created_at": seconds_from_now(0)}))


@pytest.mark.parametrize("content", [None, b"x,"])
def test_an_upload_that_died_half_way_is_swept_after_an_hour(
    database: Database, datasets: Datasets, storage: Storage, age: Callable[[float], None], content: bytes | None
) -> None:
    """Killed between its row and its bytes, or within them, it is left alone for an hour, and then row and bytes go."""
    kept, _ = datasets.store(DEFAULT_PROJECT, "kept", TABLE)
    torn = begin(database)
    if content is not None:
        storage.write(torn, content)
    age(WRITING_SECONDS - 60)
    assert datasets.sweep() == 0
    assert states(database) == {kept.storage_key: "kept", torn: "writing"}
    age(WRITING_SECONDS + 60)
    assert datasets.sweep() == 1
    assert (states(database), storage.list_keys()) == ({kept.storage_key: "kept"}, [kept.storage_key])


def test_a_writer_that_is_too_slow_keeps_nothing(
    database: Database, datasets: Datasets, storage: Storage, age: Callable[[float], None]
) -> None:
    """Once an object is abandoned, the transaction that would refer to it fails: no row names bytes that will go."""
    key = write_object(database, storage, DEFAULT_PROJECT, "prd", b"content")
    age(WRITING_SECONDS + 60)
    assert datasets.sweep() == 1
    with pytest.raises(UnavailableError, match=key):
        database.write(lambda session: keep_object(session, key))


def test_a_transaction_that_is_run_again_keeps_its_object(database: Database, storage: Storage) -> None:
    """If the answer to a commit was lost, its second run keeps what the first has kept."""
    key = write_object(database, storage, DEFAULT_PROJECT, "prd", b"content")
    for _ in range(2):
        database.write(lambda session: keep_object(session, key))
    assert states(database) == {key: "kept"}


def test_a_deleted_dataset_is_swept_if_its_bytes_remain(
    database: Database, datasets: Datasets, storage: Storage
) -> None:
    """A process that dies between the commit of a deletion and the bytes leaves them to the next sweep."""
    dataset, _ = datasets.store(DEFAULT_PROJECT, "t", TABLE)
    database.write(lambda session: delete_dataset(session, DEFAULT_PROJECT, dataset.id))
    assert states(database) == {dataset.storage_key: "abandoned"}
    assert datasets.sweep() == 1
    assert (states(database), storage.list_keys()) == ({}, [])


def test_a_failed_upload_leaves_nothing(database: Database, datasets: Datasets, storage: Storage) -> None:
    """If its row can't be added, its bytes are deleted at once; if the storage is full, its row is swept later."""
    with pytest.raises(RuntimeError, match="no"), datasets.upload(DEFAULT_PROJECT, "t", TABLE):
        raise RuntimeError("no")
    assert storage.list_keys() == []
    assert datasets.sweep() == 1

    class Full(Storage):
        def write(self, key: str, content: bytes) -> None:
            raise StorageFullError("there is no room left for uploads")

    with pytest.raises(StorageFullError):
        Datasets(database, Full(storage._url), Limits()).store(DEFAULT_PROJECT, "t", TABLE)
    assert set(states(database).values()) == {"writing"}


def test_an_object_that_cant_be_deleted_does_not_hold_up_the_others(
    database: Database, datasets: Datasets, storage: Storage, age: Callable[[float], None]
) -> None:
    """It is logged and tried again by the next sweep."""
    stuck, other = begin(database), begin(database)

    class Stuck(Storage):
        def delete(self, key: str) -> None:
            if key == stuck:
                raise PermissionError(key)
            super().delete(key)

    age(WRITING_SECONDS + 60)
    assert Datasets(database, Stuck(storage._url), Limits()).sweep() == 1
    assert states(database) == {stuck: "abandoned"}
    assert datasets.sweep() == 1
    assert other not in states(database)
