"""A backup is one moment of the record, made while others write, with every object that it names."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from tests.worker.backup.conftest import CSV, Record
from worker.backup import back_up as backing_up
from worker.backup import moment as moments
from worker.backup.back_up import LEFT_OUT, back_up
from worker.backup.check import check_backup
from worker.backup.manifest import FILE, OBJECTS, read_manifest
from worker.data.storage import Storage
from worker.errors import StartError
from worker.records.events import show_job
from worker.records.sessions import Database
from worker.records.tables import Base, Dataset, Job


def add_status_event(session: Session, job_id: str) -> None:
    job = session.get_one(Job, job_id)
    job.seq += 1
    session.flush()
    show_job(session, job, "status")


def test_a_backup_says_what_is_in_it(record: Record, tmp_path: Path) -> None:
    """Every table but two, with its rows; every object with its size; and nothing else is in the folder."""
    folder = tmp_path / "backup"
    manifest = back_up(record.database, record.storage, folder)
    assert read_manifest(folder) == manifest
    assert {table.name for table in manifest.tables} == Base.metadata.tables.keys() - LEFT_OUT
    with record.database.engine.connect() as connection:
        for table in manifest.tables:
            assert table.rows == connection.scalar(text(f"SELECT count(*) FROM {table.name}"))
    assert {stored.name: stored.bytes for stored in manifest.objects} == {record.dataset: len(CSV), record.result: 8000}
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {FILE, *(path for path, _ in manifest.files())}
    assert (folder.stat().st_mode & 0o777, list(tmp_path.glob("*.partial"))) == (0o700, [])
    assert [finding for finding in check_backup(folder).findings if finding.is_fault] == []


def test_a_backup_is_one_moment_while_others_write(record: Record, tmp_path: Path) -> None:
    """Each write raises a job's number and adds an event with it: in the backup they agree, and no write waits long."""
    ended, waits = threading.Event(), [0.0]
    database = Database(record.database.engine.url.render_as_string(hide_password=False))

    def write() -> None:
        while not ended.is_set():
            began = time.monotonic()
            database.write(lambda session: add_status_event(session, record.jobs["queued"]))
            waits.append(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            back_up(record.database, record.storage, tmp_path / str(number))
    finally:
        ended.set()
        writer.join()
        database.close()
    assert len(waits) > 10
    assert max(waits) < 2
    for number in range(3):
        report = check_backup(tmp_path / str(number))
        assert [finding for finding in report.findings if finding.is_fault] == []


def test_a_database_that_stays_locked_is_given_up(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a writer that froze, for example: the copy ends with a line, and leaves nothing."""
    monkeypatch.setattr(moments, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(str(sqlite.engine.url.database), isolation_level=None)) as frozen:
        frozen.execute("BEGIN IMMEDIATE")
        # nobody can read either once the pages are being written
        frozen.execute("PRAGMA locking_mode = EXCLUSIVE")
        frozen.execute("UPDATE projects SET name = name")
        frozen.execute("COMMIT")
        copying = moments.moment(sqlite, tmp_path)
        with pytest.raises(StartError, match="was locked by a writer for"):
            copying.__enter__()
    assert list(tmp_path.glob("moment-*")) == []


def test_a_mount_point_is_refused_at_once(record: Record) -> None:
    """It can't be renamed to: better said before than after everything was copied."""
    with pytest.raises(StartError, match="/proc is a mount point"):
        back_up(record.database, record.storage, Path("/proc"))


@pytest.mark.parametrize("name", [".", "file"])
def test_a_folder_that_is_not_empty_is_refused(record: Record, tmp_path: Path, name: str) -> None:
    """Nothing is overwritten, and nothing is left behind."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(StartError, match="is not an empty folder: name one that does not exist yet"):
        back_up(record.database, record.storage, tmp_path / "there" / name)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file"]


def test_a_backup_that_was_killed_is_not_taken_for_a_whole_one(record: Record, tmp_path: Path) -> None:
    """What it left is named by the next backup into the same folder."""
    (tmp_path / "backup.partial").mkdir()
    with pytest.raises(StartError, match=r"backup\.partial exists: a backup into it still runs, or was killed"):
        back_up(record.database, record.storage, tmp_path / "backup")
    with pytest.raises(StartError, match="holds no whole backup"):
        read_manifest(tmp_path / "backup.partial")


def test_a_backup_that_fails_leaves_nothing(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the folder nor its partial form, so that it can be tried again."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backing_up, "write_manifest", full)
    with pytest.raises(OSError, match="No space"):
        back_up(record.database, record.storage, tmp_path / "backup")
    assert list(tmp_path.glob("backup*")) == []


def test_an_object_that_is_lost_is_named_and_the_rest_backed_up(record: Record, tmp_path: Path) -> None:
    """Missing, or not as its row says: the damage is the storage's, and the backup has everything else."""
    record.storage.delete(record.dataset)
    record.storage.write(record.result, b"another result")
    manifest = back_up(record.database, record.storage, tmp_path / "backup")
    assert {missing.key: missing.reason for missing in manifest.missing} == {
        record.dataset: "is not in the storage",
        record.result: "has 14 bytes; its row says 8000",
    }
    assert manifest.objects == ()
    assert list((tmp_path / "backup" / OBJECTS).iterdir()) == []


class Deleting(Storage):
    """Deletes an upload as a client would, row and bytes, just before it is copied."""

    def __init__(self, storage: Storage, delete_it: Callable[[], Any], key: str) -> None:
        super().__init__(storage._url)
        self._delete_it, self._key = delete_it, key

    def open(self, key: str, mode: str = "rb") -> Any:
        if key == self._key:
            self._delete_it()
        return super().open(key, mode)


def test_an_upload_that_is_deleted_meanwhile_is_not_in_the_backup(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added after the first copies and deleted before it is copied: another moment is taken, without its row."""
    values = {
        "id": "dst_late", "project_id": "prj_default", "name": "late", "media_type": "text/csv",
        "bytes": 1, "sha256": "2" * 64, "rows": 1, "profile": {}, "storage_key": "dst_late",
    }  # fmt: skip
    moments_taken: list[int] = []
    write_tables, copy = backing_up._write_tables, backing_up._Objects.copy

    def counting(connection: Any, folder: Path) -> Any:
        moments_taken.append(1)
        return write_tables(connection, folder)

    def copying(self: Any, named: Any) -> None:
        # nothing is copied before the first moment
        copy(self, named if moments_taken else [])

    def delete_late() -> None:
        record.database.write(lambda session: session.execute(delete(Dataset).where(Dataset.id == "dst_late")))
        record.storage.delete("dst_late")

    monkeypatch.setattr(backing_up, "_write_tables", counting)
    monkeypatch.setattr(backing_up._Objects, "copy", copying)
    record.storage.write("dst_late", b"x")
    record.database.write(lambda session: session.execute(insert(Dataset).values(**values)))
    manifest = back_up(record.database, Deleting(record.storage, delete_late, "dst_late"), tmp_path / "backup")
    assert len(moments_taken) == 2
    assert manifest.missing == ()
    assert [stored.name for stored in manifest.objects] == sorted([record.dataset, record.result])
    assert [finding for finding in check_backup(tmp_path / "backup").findings if finding.is_fault] == []


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A wrong data folder is refused, and no empty database appears in it."""
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(StartError, match="There is no database at"):
        back_up(database, Storage(str(tmp_path)), tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_a_column_that_the_code_does_not_know_is_not_lost_in_silence(record: Record, tmp_path: Path) -> None:
    """A backup without it would be no backup."""
    with record.database.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("ALTER TABLE job_tags ADD COLUMN colour TEXT"))
    try:
        with pytest.raises(StartError, match="The table job_tags has columns that gradmill does not know: colour"):
            back_up(record.database, record.storage, tmp_path / "backup")
    finally:
        with record.database.engine.execution_options(writes=True).begin() as connection:
            connection.execute(text("ALTER TABLE job_tags DROP COLUMN colour"))


def test_a_moment_holds_up_no_writer_and_sees_none(record: Record, tmp_path: Path) -> None:
    """While it is read, others write at once; it does not change. SQLite's copy of it is gone at the end."""
    numbers = select(Job.seq).order_by(Job.id)
    with moments.moment(record.database, tmp_path) as connection:
        before = connection.scalars(numbers).all()
        assert len(list(tmp_path.glob("moment-*"))) == (connection.dialect.name == "sqlite")
        began = time.monotonic()
        record.database.write(lambda session: add_status_event(session, record.jobs["queued"]))
        assert time.monotonic() - began < 2
        assert connection.scalars(numbers).all() == before
    with moments.moment(record.database) as connection:
        assert sum(connection.scalars(numbers).all()) == sum(before) + 1
    assert list(tmp_path.glob("moment-*")) == []
