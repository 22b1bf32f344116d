"""A backup of either database restores into either, whole or not at all; what ran waits again."""

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import func, insert, select, text, update

from migrations.schema import configuration, is_current
from tests.worker.backup.conftest import CSV, Record, job_of, rows_of
from worker.backup import restore as restoring
from worker.backup.back_up import LEFT_OUT, back_up
from worker.backup.check import check, check_backup
from worker.backup.manifest import FILE, read_manifest
from worker.backup.restore import restore
from worker.data.storage import Storage
from worker.errors import StartError
from worker.intake.objects import sweep_objects, unknown_objects, write_object
from worker.records.clock import seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.logins import begin_session, find_session
from worker.records.sessions import Database
from worker.records.tables import Base, Checkpoint, Event, Job, Prediction, Project, Worker

Empty = Callable[..., Database]
LEASE = 30.0
CHANGED = {"jobs", "events", "predictions", "job_count_changes"}
"Tables in which a restore releases what ran."


def into(folder: Path, target: Database, storage: Storage) -> restoring.Restored:
    return restore(target, storage, folder, lease_seconds=LEASE)


@pytest.fixture
def backup(record: Record, tmp_path: Path) -> Path:
    folder = tmp_path / "backup"
    back_up(record.database, record.storage, folder)
    return folder


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty one."""
    return Storage(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_row_of_either_database_comes_back_in_either(
    record: Record, backup: Path, empty: Empty, storage: Storage, kind: str
) -> None:
    """Each value of each column, to the bit; of instants SQLite keeps the milliseconds."""
    target = empty(kind)
    into(backup, target, storage)
    digits = 3 if "sqlite" in (kind, record.database.engine.dialect.name) else 6
    for table in Base.metadata.sorted_tables:
        before = rows_of(record.database, table, digits=digits)
        assert before, f"{table.name} has no row to compare"
        if table.name in LEFT_OUT:
            assert rows_of(target, table) == []
        elif table.name in CHANGED:
            assert set(before) & set(rows_of(target, table, digits=digits))
        else:
            assert rows_of(target, table, digits=digits) == before
    with target.engine.connect() as connection:
        assert is_current(connection)
    assert [finding for finding in check(target, storage).findings if finding.is_fault] == []


def test_the_objects_come_back_whole(record: Record, backup: Path, empty: Empty, storage: Storage) -> None:
    """The bytes that were uploaded, and the result of a prediction; nothing else."""
    into(backup, empty("sqlite"), storage)
    assert storage.read(record.dataset) == CSV
    assert storage.read(record.result) == b"a result" * 1000
    assert sorted(storage.list_keys()) == sorted([record.dataset, record.result])


def test_what_was_being_written_is_unknown_afterwards(
    record: Record, tmp_path: Path, empty: Empty, storage: Storage
) -> None:
    """An upload that ended after the backup may be in the storage: the restored database leaves it alone."""
    key = write_object(record.database, record.storage, DEFAULT_PROJECT, "dst", b"x")
    back_up(record.database, record.storage, tmp_path / "later")
    target = empty("sqlite")
    into(tmp_path / "later", target, record.storage)
    assert unknown_objects(target, record.storage) == [key]
    assert sweep_objects(target, record.storage) == 0


def test_what_ran_is_released_and_nothing_else_changes(
    record: Record, backup: Path, empty: Empty, storage: Storage
) -> None:
    """As if each lease had expired, but no crash is counted; the attempt and the checkpoints are kept."""
    target = empty("sqlite", migrated=True)
    assert into(backup, target, storage).released == 4
    expected = {"running": "queued", "pausing": "paused", "cancelling": "cancelled"}
    for status, job_id in record.jobs.items():
        before, after = job_of(record.database, job_id), job_of(target, job_id)
        assert (before.status, after.status) == (status, expected.get(status, status))
        assert (after.attempt, after.crashes, after.epoch) == (before.attempt, before.crashes, before.epoch)
        assert (after.owner, after.owner_pid, after.lease_until) == (None, None, None)
        assert after.seq == before.seq + (status in expected)
    with target.reading() as session:
        assert session.scalar(select(func.count()).select_from(Checkpoint)) >= 1
        statuses = session.scalars(select(Prediction.status).order_by(Prediction.id))
        assert sorted(statuses) == ["queued", "succeeded"]
        ends = select(func.count()).where(Event.job_id == record.jobs["cancelling"], Event.kind == "end")
        assert session.scalar(ends) == 1


def test_a_torn_backup_is_refused(backup: Path, empty: Empty, storage: Storage) -> None:
    """The manifest is written last: without it there is no backup, whatever else is in the folder."""
    (backup / FILE).unlink()
    for attempt in (lambda: into(backup, empty("sqlite"), storage), lambda: check_backup(backup)):
        with pytest.raises(StartError, match="holds no whole backup"):
            attempt()


def test_a_byte_that_was_changed_is_found_in_every_file(backup: Path, empty: Empty, storage: Storage) -> None:
    """By check and by restore, before anything is written; also a file that is cut or lost."""
    target = empty("sqlite")
    for path in sorted(path for path in backup.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        position = len(whole) // 2
        changed = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        for damaged in (changed, whole[:-2], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(StartError, match=r"damaged|holds no whole backup"):
                into(backup, target, storage)
            if path.name == FILE:
                with pytest.raises(StartError, match=r"damaged|holds no whole backup"):
                    check_backup(backup)
            else:
                assert not check_backup(backup).is_sound
            path.write_bytes(whole)
    assert storage.list_keys() == []
    with target.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sqlite_master")) == 0


def test_a_database_with_rows_is_refused(backup: Path, empty: Empty, storage: Storage) -> None:
    """Also by a second restore of the same backup: rows are never mixed."""
    target = empty("sqlite")
    into(backup, target, storage)
    with pytest.raises(StartError, match="not empty: it has rows in"):
        into(backup, target, storage)
    other = empty("sqlite", migrated=True)
    other.write(lambda session: session.execute(insert(Project).values(id="prj_other", name="other")))
    with pytest.raises(StartError, match="rows in projects"):
        into(backup, other, storage)


def test_logins_of_the_target_end(backup: Path, empty: Empty, storage: Storage) -> None:
    """Whoever was logged in to the empty installation logs in to the restored one."""
    target = empty("sqlite", migrated=True)
    token = target.write(lambda session: begin_session(session, seconds=60))
    into(backup, target, storage)
    with target.reading() as session:
        assert find_session(session, token) is None


def test_a_database_that_a_worker_uses_is_refused(backup: Path, empty: Empty, storage: Storage) -> None:
    """It would claim jobs, and sweep objects, before all rows are there. One that is silent has ended."""
    target = empty("sqlite", migrated=True)
    values = {"id": "wrk_1", "hostname": "here", "pid": 1, "processes": 1, "version": "0"}
    target.write(lambda session: session.execute(insert(Worker).values(**values)))
    with pytest.raises(StartError, match="A worker on here uses this database"):
        into(backup, target, storage)
    silent = update(Worker).values(heartbeat_at=seconds_from_now(-LEASE - 1))
    target.write(lambda session: session.execute(silent))
    into(backup, target, storage)


def test_another_object_under_the_same_key_is_refused(
    record: Record, backup: Path, empty: Empty, storage: Storage
) -> None:
    """The same bytes are kept, so that a storage that was not lost can be used again."""
    storage.write(record.dataset, b"other bytes")
    with pytest.raises(StartError, match=f"other bytes under the key {record.dataset}"):
        into(backup, empty("sqlite"), storage)
    assert storage.list_keys() == [record.dataset]
    assert into(backup, empty("sqlite"), record.storage).present == 2


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restore_that_fails_writes_no_row_and_can_be_repeated(
    record: Record, backup: Path, empty: Empty, storage: Storage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It fails at its last table, all objects stored."""
    target, insert_rows = empty(kind), restoring.insert_rows

    def failing(connection: Any, name: str, path: Path) -> bool:
        if name == "checkpoints":
            raise OSError("no room")
        return insert_rows(connection, name, path)

    monkeypatch.setattr(restoring, "insert_rows", failing)
    with pytest.raises(OSError, match="no room"):
        into(backup, target, storage)
    monkeypatch.undo()
    with target.engine.connect() as connection:
        assert not target.engine.dialect.has_table(connection, "jobs")
    assert into(backup, target, storage).present == 2
    assert check(target, storage).is_sound
    assert record.jobs.keys() == {"succeeded", "queued", "running", "pausing", "cancelling"}


DEATHS: dict[str, Any] = {"rename": Storage, "insert_rows": restoring, "_release": restoring}
"Where a restore is killed, and the owner of that function."
# a plain fork of this process may deadlock: other tests of it have started threads
CONTEXT = multiprocessing.get_context("forkserver")


def restore_and_die(backup: Path, url: str, storage: Storage, name: str) -> None:
    setattr(DEATHS[name], name, dying(getattr(DEATHS[name], name)))
    into(backup, Database(url), storage)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restore_that_is_killed_can_be_repeated(backup: Path, empty: Empty, storage: Storage, kind: str) -> None:
    """Between two objects, between two tables, and just before the commit: the next one finds an empty database."""
    target = empty(kind)
    url = target.engine.url.render_as_string(hide_password=False)
    for name in DEATHS:
        process = CONTEXT.Process(target=restore_and_die, args=(backup, url, storage, name))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with target.engine.connect() as connection:
            assert not target.engine.dialect.has_table(connection, "jobs")
    into(backup, target, storage)
    assert check(target, storage).findings == []


def dying(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose second call, or whose end if there is but one, is kill -9."""
    calls = itertools.count()

    def call(*arguments: Any) -> Any:
        if next(calls) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments)
        if function.__name__ == "_release":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def test_rows_that_are_not_read_back_as_written_are_refused(
    backup: Path, empty: Empty, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that changes values on the way is noticed before the commit."""
    target = empty("sqlite", migrated=True)
    with target.engine.execution_options(writes=True).begin() as connection:
        trigger = "CREATE TRIGGER lossy AFTER INSERT ON last_blocks BEGIN UPDATE last_blocks SET first_seq = 0; END"
        connection.execute(text(trigger))
    with pytest.raises(StartError, match="does not hold the rows of last_blocks as they were written"):
        into(backup, target, storage)
    with target.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_rows_that_a_database_can_not_hold_are_refused(empty: Empty, tmp_path: Path, storage: Storage) -> None:
    """Such as a NUL in a text, which SQLite keeps and PostgreSQL does not: in one line that shows no value."""
    source = empty("sqlite", migrated=True)
    source.write(lambda session: session.execute(insert(Project).values(id="prj_nul", name="secret\0")))
    back_up(source, storage, tmp_path / "backup")
    target = empty("postgresql")
    with pytest.raises(StartError, match="does not take the rows of projects: DataError") as refused:
        into(tmp_path / "backup", target, storage)
    assert "secret" not in str(refused.value)
    with target.engine.connect() as connection:
        assert not target.engine.dialect.has_table(connection, "jobs")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_older_schema_is_backed_up_and_restored_as_the_newest(empty: Empty, tmp_path: Path, kind: str) -> None:
    """A backup before a migration; the restore brings the rows to this version's schema."""
    old, target = empty(kind), empty(kind)
    with old.engine.execution_options(writes=True).begin() as connection:
        command.upgrade(configuration(connection), "0004")
        connection.execute(text("UPDATE projects SET name = 'mine'"))
    storage = Storage(str(tmp_path / "none"))
    assert back_up(old, storage, tmp_path / "backup").revision == "0004"
    with pytest.raises(StartError, match="has an older schema: run `gradmill migrate` first"):
        check(old, storage)
    into(tmp_path / "backup", target, storage)
    with target.engine.connect() as connection:
        assert is_current(connection)
        assert connection.scalar(select(Project.name)) == "mine"
    with pytest.raises(StartError, match=r"at revision .*, the backup at 0004: restore into a database without tables"):
        into(tmp_path / "backup", empty(kind, migrated=True), storage)


def test_a_backup_of_a_newer_version_is_refused(
    backup: Path, empty: Empty, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its schema revision, before anything is read or written."""
    newer = read_manifest(backup).model_copy(update={"revision": "9999"})
    monkeypatch.setattr(restoring, "read_manifest", lambda _folder: newer)
    with pytest.raises(StartError, match="which is newer: upgrade gradmill"):
        into(backup, empty("sqlite"), storage)


def test_a_manifest_names_no_path(backup: Path) -> None:
    """A key that leads out of the folder is refused, even with a right sha256."""
    from worker.backup import manifest as manifests

    content = json.loads((backup / FILE).read_text())
    content["backup"]["objects"][0]["name"] = "../../etc/passwd"
    content["sha256"] = manifests._digest(content["backup"])
    (backup / FILE).write_text(json.dumps(content))
    with pytest.raises(StartError, match="another version's format"):
        read_manifest(backup)
