"""Check names every kind of damage, and changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tests.worker.backup.conftest import Record, rows_of
from worker.backup.check import check, check_rows, difference
from worker.backup.objects import named_objects
from worker.errors import StartError
from worker.records.sessions import Database
from worker.records.tables import Base

DAMAGE = [
    ("DELETE FROM chunks WHERE blob_id = (SELECT min(blob_id) FROM weights)", "bytes; its row says"),
    ("UPDATE blobs SET sha256 = '0' WHERE id = (SELECT min(blob_id) FROM weights)", "differs from its sha256"),
    ("DELETE FROM blobs WHERE id = (SELECT min(blob_id) FROM weights)", "its blob_id is not in blobs"),
    ("DELETE FROM blobs WHERE id = (SELECT min(blob_id) FROM checkpoints)", "its blob_id is not in blobs"),
    ("DELETE FROM blobs WHERE id = (SELECT min(blob_id) FROM kept_steps)", "its blob_id is not in blobs"),
    ("UPDATE blobs SET published = {false}", "not published, and will be swept"),
    ("DELETE FROM epoch_blocks WHERE first_epoch = 33", "epochs, from 1 to"),
    ("DELETE FROM epoch_blocks WHERE first_epoch = 1", "epochs, from 33 to"),
    ("DELETE FROM last_blocks", "has 0 epochs, from 0 to 0; its row says 5"),
    ("UPDATE last_blocks SET first_epoch = first_epoch + 1", "is not where a block may be"),
    ("UPDATE last_blocks SET last_epoch = last_epoch + 1", "its row says"),
    ("UPDATE last_blocks SET first_seq = first_seq + 1", "whose epochs or numbers are others"),
    (
        "UPDATE last_blocks SET content = (SELECT content FROM epoch_blocks WHERE first_epoch = 33 LIMIT 1)",
        "whose epochs or numbers are others",
    ),
    ("UPDATE epoch_blocks SET content = {zeros}", "that can't be read"),
    ("DELETE FROM epoch_layers WHERE epoch = 2", "without the figures of layers of epoch 2"),
    ("UPDATE epoch_layers SET epoch = epoch + 1000 WHERE epoch = 1", "has figures of layers of epoch 1001"),
    ("DELETE FROM curve_summaries WHERE first_epoch = 1", "has no right summary of epochs 1 to 512"),
    (
        "UPDATE curve_summaries SET content = (SELECT content FROM epoch_blocks WHERE first_epoch = 33 LIMIT 1)",
        "has no right summary of epochs 1 to 512",
    ),
    ("UPDATE jobs SET epoch = epoch + 1 WHERE status = 'succeeded'", "has 5 epochs, from 1 to 5; its row says 6"),
    (
        "UPDATE events SET seq = (SELECT last_seq FROM last_blocks WHERE job_id = events.job_id) WHERE kind = 'end'",
        "has an epoch and an event with",
    ),
    ("UPDATE jobs SET seq = 1", "which its row has not given yet"),
    ("UPDATE weights SET kind = 'final' WHERE epoch = 1", "is succeeded and has 2 sets of final weights"),
    ("DELETE FROM events WHERE kind = 'end'", "is succeeded and has 0 end events"),
    ("UPDATE job_counts SET count = count - 1", "counts 1 succeeded jobs too few"),
    ("UPDATE job_count_changes SET change = 2 WHERE change = 1", "counts 1 failed jobs too many"),
    ("UPDATE datasets SET bytes = bytes + 1", "bytes; its row says"),
    ("UPDATE datasets SET sha256 = '0'", "differs from the sha256 in its row"),
    ("UPDATE datasets SET storage_key = 'dst_gone'", "is not in the storage"),
    ("UPDATE predictions SET result_bytes = 1 WHERE status = 'succeeded'", "has 8000 bytes; its row says 1"),
]


@contextmanager
def unguarded(database: Database) -> Iterator[Connection]:
    """Write what foreign keys and triggers would refuse; it is rolled back at the end."""
    with database.engine.connect() as connection:
        if database.engine.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
        else:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA foreign_keys = OFF")
        yield connection
        connection.rollback()
        connection.invalidate()


def test_a_record_that_is_whole_has_no_fault(record: Record) -> None:
    """With jobs in every state; and what was looked at is counted."""
    report = check(record.database, record.storage)
    assert report.findings == []
    assert (report.counted["jobs"], report.counted["objects"]) == (5, 2)
    assert report.counted["blobs"] > 5


def test_damage_of_each_kind_is_named(record: Record) -> None:
    """By its words, and with no fault before it."""
    unnoticed = []
    for statement, words in DAMAGE:
        with unguarded(record.database) as connection:
            false = "0" if connection.dialect.name == "sqlite" else "false"
            zeros = "x'00'" if connection.dialect.name == "sqlite" else "'\\x00'"
            connection.execute(text(statement.format(false=false, zeros=zeros)))
            details = [finding.detail for finding in check_rows(connection).findings if finding.is_fault]
            details += [str(difference(record.storage, one)) for one in named_objects(connection)]
        if not any(words in detail for detail in details):
            unnoticed.append((statement, details))
    assert unnoticed == []


def test_a_check_changes_nothing(record: Record) -> None:
    """Every row is as it was."""
    before = {table.name: rows_of(record.database, table) for table in Base.metadata.sorted_tables}
    check(record.database, record.storage)
    assert {table.name: rows_of(record.database, table) for table in Base.metadata.sorted_tables} == before


def test_objects_that_no_row_names_are_listed_and_kept(record: Record) -> None:
    """They may be what a lost database named: no fault, and never deleted."""
    record.storage.write("dst_stray", b"x")
    report = check(record.database, record.storage)
    assert [(finding.subject, finding.detail) for finding in report.findings] == [
        ("object dst_stray", "is named by no row")
    ]
    assert report.is_sound
    assert record.storage.read("dst_stray") == b"x"


def test_a_lost_storage_is_a_fault_for_each_object(record: Record) -> None:
    """Each upload and each result is named."""
    for key in record.storage.list_keys():
        record.storage.delete(key)
    details = {finding.subject: finding.detail for finding in check(record.database, record.storage).findings}
    missing = "is not in the storage"
    assert details == {f"object {record.dataset}": missing, f"object {record.result}": missing}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_file_that_is_damaged_is_reported_and_not_raised(record: Record) -> None:
    """Zeros in the middle of SQLite's file: by its integrity check, or by the first query that meets them."""
    path = Path(str(record.database.engine.url.database))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\0" * 8192)
    report = check(record.database, record.storage)
    assert not report.is_sound
    assert any(finding.subject == "database" for finding in report.findings)


def test_a_database_without_our_tables_is_refused(tmp_path: Path, record: Record) -> None:
    """It is not reported as damaged: it is another program's."""
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    with database.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("CREATE TABLE mine (x INTEGER)"))
    with pytest.raises(StartError, match="has no tables of gradmill's"):
        check(database, record.storage)
    database.close()
