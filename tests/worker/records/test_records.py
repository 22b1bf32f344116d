"""Curves, blobs, weights, checkpoints, datasets, login tokens, migrations and sessions."""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from migrations.schema import is_current
from worker.backprop.fit import State
from worker.errors import LeaseLostError, NotFoundError, StateError, UnavailableError
from worker.records.blobs import CHUNK_BYTES, put_blob, read_blob, sweep_blobs
from worker.records.checkpoints import newest_checkpoint, publish_checkpoint, state_from_bytes, state_to_bytes
from worker.records.clock import now, seconds_from_now
from worker.records.curves import Point, read_curve, record_epochs
from worker.records.datasets import add_dataset, delete_dataset, get_dataset
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.lease import Claim
from worker.records.listing import delete_job, get_job
from worker.records.projects import new_login_token, use_login_token
from worker.records.sessions import Database, wal_is_safe
from worker.records.tables import Base, Blob, Checkpoint, Chunk, LoginToken
from worker.records.transitions import end_attempt
from worker.records.weights import NetworkColumns, newest_weights_id, publish_weights, read_weights, to_bytes


def points(first: int, last: int) -> list[Point]:
    return [Point(n, 1 / n, None, 0.1, 0.5, {"train_accuracy": 0.5}, 0.01) for n in range(first, last + 1)]


def record(database: Database, claim: Claim, found: list[Point], recorded: int = 0) -> list[int]:
    return database.write(
        lambda session: record_epochs(session, claim, found, recorded=recorded, best=found[-1], eta_seconds=1.0)
    )[1]


def test_epochs_are_recorded_once_and_in_order_with_events(database: Database, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    record(database, claim, points(1, 3))
    record(database, claim, points(4, 6), recorded=3)
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == points(1, 6)
        assert read_curve(session, claim.job_id, after_epoch=4) == points(5, 6)
        for most, kept in (
            (2, [1, 6]),
            (3, [1, 3, 6]),
            (4, [1, 2, 4, 6]),
            (6, [1, 2, 3, 4, 5, 6]),
            (99, [1, 2, 3, 4, 5, 6]),
        ):
            assert [point.epoch for point in read_curve(session, claim.job_id, max_points=most)] == kept
        assert [point.epoch for point in read_curve(session, claim.job_id, after_epoch=2, max_points=2)] == [3, 6]
        happened = happenings_after(session, claim.job_id, 0, limit=100)
        job = get_job(session, DEFAULT_PROJECT, claim.job_id)
    assert [found.seq for found in happened] == list(range(1, 9))
    assert [found.payload["epoch"] for found in happened if found.kind == "epoch"] == [1, 2, 3, 4, 5, 6]
    assert (job.seq, job.epoch, job.latest, job.best) == (8, 6, points(6, 6)[0].summary, points(6, 6)[0].summary)


def test_a_thinned_curve_keeps_the_figures_of_layers(database: Database, claimed: Callable[..., Claim]) -> None:
    """Of 3,000 epochs with figures in every seventh hundred, where there is room; and they come back as they were."""
    claim = claimed()
    layers: list[dict[str, float | None]] = [{"units": 4, "weight_norm": 0.1 + 0.2, "dead_units": None}]
    curve = [replace(point, layers=layers) if point.epoch % 700 == 3 else point for point in points(1, 3000)]
    record(database, claim, curve)
    with database.reading() as session:
        roomy = read_curve(session, claim.job_id, max_points=600)
        narrow = read_curve(session, claim.job_id, max_points=50)
    assert {point.epoch: point.layers for point in roomy if point.layers is not None} == dict.fromkeys(
        (3, 703, 1403, 2103, 2803), layers
    )
    assert len(roomy) <= 605
    assert len(narrow) <= 51


def test_a_repeated_epoch_is_compared_and_never_overwritten(database: Database, claimed: Callable[..., Claim]) -> None:
    """Equal bits pass whatever their time; a different loss is reported, and the first record stays."""
    claim = claimed()
    record(database, claim, points(1, 3))
    same = [replace(point, seconds=9.0) for point in points(2, 3)]
    assert record(database, claim, same, recorded=3) == []
    other = [replace(points(2, 2)[0], train_loss=0.5000001), *points(3, 4)]
    assert record(database, claim, other, recorded=3) == [2]
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == points(1, 4)


def test_a_write_without_the_lease_leaves_no_trace(database: Database, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    with pytest.raises(LeaseLostError):
        record(database, replace(claim, attempt=2), points(1, 3))
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == []
        assert get_job(session, DEFAULT_PROJECT, claim.job_id).seq == 2


def test_a_large_blob_is_chunked_and_a_damaged_one_is_not_served(database: Database) -> None:
    content = np.random.default_rng(0).bytes(CHUNK_BYTES + 17)
    blob_id = database.write(lambda session: put_blob(session, DEFAULT_PROJECT, content))
    with database.reading() as session:
        assert read_blob(session, blob_id) == content
        assert session.scalar(select(func.count()).select_from(Chunk)) == 2
    database.write(lambda session: session.execute(update(Chunk).where(Chunk.position == 1).values(content=bytes(17))))
    with database.reading() as session, pytest.raises(NotFoundError, match="missing or damaged"):
        read_blob(session, blob_id)
    database.write(lambda session: session.execute(delete(Chunk).where(Chunk.position == 1)))
    with database.reading() as session, pytest.raises(NotFoundError, match="missing or damaged"):
        read_blob(session, blob_id)


def test_only_unpublished_blobs_of_an_hour_ago_are_swept(database: Database) -> None:
    ids = [database.write(lambda session: put_blob(session, DEFAULT_PROJECT, b"x")) for _ in range(3)]
    database.write(
        lambda session: session.execute(
            update(Blob).where(Blob.id != ids[0]).values(created_at=seconds_from_now(-4000))
        )
    )
    database.write(lambda session: session.execute(update(Blob).where(Blob.id == ids[1]).values(published=True)))
    assert database.write(sweep_blobs) == 1
    with database.reading() as session:
        assert set(session.scalars(select(Blob.id))) == {ids[0], ids[1]}


def test_weights_are_published_once_and_the_final_ones_come_first(
    database: Database, claimed: Callable[..., Claim]
) -> None:
    claim = claimed()
    columns: NetworkColumns = {"network": [], "encoders": {}}
    arrays = {"layers.0.w": np.ones((2, 3), np.float32)}

    def publish(kind: str, epoch: int) -> str | None:
        return database.write(
            lambda session: publish_weights(
                session, claim, columns, kind=kind, epoch=epoch,
                blob_id=put_blob(session, DEFAULT_PROJECT, to_bytes(arrays)),
            )
        )  # fmt: skip

    with database.reading() as session, pytest.raises(StateError) as caught:
        newest_weights_id(session, claim.job_id)
    assert caught.value.code == "not_ready"
    first, third = publish("snapshot", 1), publish("snapshot", 3)
    assert publish("snapshot", 3) is None
    with database.reading() as session:
        assert newest_weights_id(session, claim.job_id) == third
        assert newest_weights_id(session, claim.job_id, "1") == first
        with pytest.raises(NotFoundError):
            newest_weights_id(session, claim.job_id, "2")
    final = publish("final", 3)
    with database.reading() as session:
        assert newest_weights_id(session, claim.job_id) == final
        row, read = read_weights(session, str(final))
    assert (row.kind, row.epoch) == ("final", 3)
    np.testing.assert_array_equal(read["layers.0.w"], arrays["layers.0.w"])


def test_a_state_survives_its_bytes_exactly() -> None:
    """Arrays of both types and values with floats and huge integers, as a generator's state has."""
    arrays = {"a": np.array([0.1, np.nextafter(1, 2)]), "b": np.array([1e-45], np.float32)}
    values = {"sum": 0.1 + 0.2, "state": {"state": 2**127 + 1}, "none": None}
    again = state_from_bytes(state_to_bytes(State(arrays, values)))
    assert again.values == values
    for name, array in arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == array.dtype


def test_the_last_two_checkpoints_are_kept_with_their_blobs(database: Database, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    with database.reading() as session:
        assert newest_checkpoint(session, claim.job_id) is None
    for epoch in (1, 2, 3):
        content = state_to_bytes(State({"x": np.array([float(epoch)])}, {"epoch": epoch}))
        database.write(
            lambda session, content=content, epoch=epoch: publish_checkpoint(
                session, claim, epoch=epoch, step=0, fingerprint={},
                blob_id=put_blob(session, DEFAULT_PROJECT, content),
            )
        )  # fmt: skip
    with database.reading() as session:
        newest = newest_checkpoint(session, claim.job_id)
        assert newest is not None
        assert newest[1].values == {"epoch": 3}
        assert session.scalar(select(func.count()).select_from(Checkpoint)) == 2
        assert session.scalar(select(func.count()).select_from(Blob)) == 2
    database.write(lambda session: end_attempt(session, claim, "cancelled"))
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, claim.job_id))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Blob)) == 0
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0


def dataset(database: Database, sha256: str = "a" * 64) -> str:
    dataset_id = new_id("dst")
    return database.write(
        lambda session: add_dataset(
            session, DEFAULT_PROJECT, dataset_id=dataset_id, name="t", media_type="text/csv", content_bytes=1,
            sha256=sha256, rows=1, profile={"rows": 1, "columns": []}, storage_key=dataset_id,
        )
    ).id  # fmt: skip


def test_the_same_bytes_are_the_same_dataset(database: Database) -> None:
    first = dataset(database)
    assert dataset(database) == first
    assert dataset(database, "b" * 64) != first
    assert database.write(lambda session: delete_dataset(session, DEFAULT_PROJECT, first)) == first
    with database.reading() as session, pytest.raises(NotFoundError):
        get_dataset(session, DEFAULT_PROJECT, first)


def test_a_login_token_works_once_and_not_for_ever(database: Database) -> None:
    token, old = database.write(new_login_token), database.write(new_login_token)
    assert database.write(lambda session: use_login_token(session, token))
    assert not database.write(lambda session: use_login_token(session, token))
    assert not database.write(lambda session: use_login_token(session, "other"))
    database.write(lambda session: session.execute(update(LoginToken).values(expires_at=seconds_from_now(-1))))
    assert not database.write(lambda session: use_login_token(session, old))


def test_the_migrations_make_the_tables(database: Database) -> None:
    """What Alembic would still change is nothing, and every table but projects and workers has a project."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert is_current(connection)
    for table in Base.metadata.tables.values():
        if table.name not in ("projects", "workers"):
            assert not table.columns["project_id"].nullable, table.name


def test_the_clock_is_the_databases_and_moves_within_a_transaction(database: Database) -> None:
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
    assert wal_is_safe(version) is safe
