"""Blobs, weights, checkpoints, datasets, login tokens, and the migrations."""

from collections.abc import Callable

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from migrations.schema import is_current
from worker.backprop.fit import State
from worker.errors import NotFoundError, StateError
from worker.records.blobs import CHUNK_BYTES, put_blob, read_blob, sweep_blobs
from worker.records.checkpoints import newest_checkpoint, publish_checkpoint, state_from_bytes, state_to_bytes
from worker.records.clock import seconds_from_now
from worker.records.datasets import add_dataset, delete_dataset, get_dataset
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import delete_job
from worker.records.lease import Claim
from worker.records.logins import begin_session, end_session, find_session, new_login_token, use_login_token
from worker.records.objects import start_object
from worker.records.sessions import Database
from worker.records.tables import Base, Blob, Checkpoint, Chunk, LoginToken, UiSession
from worker.records.transitions import end_attempt
from worker.records.weights import NetworkColumns, find_weights_id, publish_weights, read_weights, to_bytes


def test_a_large_blob_is_chunked_and_a_damaged_one_is_not_served(database: Database) -> None:
    """A blob is read whole, or not at all: a changed or missing chunk is an error."""
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
    """A blob that is published, or young, stays."""
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
    """An epoch is published once. `latest` means the final weights if they exist, else the newest snapshot."""
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
        find_weights_id(session, claim.job_id)
    assert caught.value.code == "not_ready"
    first, third = publish("snapshot", 1), publish("snapshot", 3)
    assert publish("snapshot", 3) is None
    with database.reading() as session:
        assert find_weights_id(session, claim.job_id) == third
        assert find_weights_id(session, claim.job_id, "1") == first
        with pytest.raises(NotFoundError):
            find_weights_id(session, claim.job_id, "2")
    final = publish("final", 3)
    with database.reading() as session:
        assert find_weights_id(session, claim.job_id) == final
        row, stored = read_weights(session, str(final))
        assert stored.shapes == {name: array.shape for name, array in arrays.items()}
        read = {name: np.zeros(shape, stored.dtype) for name, shape in stored.shapes.items()}
        stored.read_into(read)
    assert (row.kind, row.epoch) == ("final", 3)
    np.testing.assert_array_equal(read["layers.0.w"], arrays["layers.0.w"])


def test_a_state_survives_its_bytes_exactly() -> None:
    """Both precisions, floats to the last bit, and integers as huge as those in a generator's state."""
    arrays = {"a": np.array([0.1, np.nextafter(1, 2)]), "b": np.array([1e-45], np.float32)}
    values = {"sum": 0.1 + 0.2, "state": {"state": 2**127 + 1}, "none": None}
    again = state_from_bytes(state_to_bytes(State(arrays, values)))
    assert again.values == values
    for name, array in arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == array.dtype


def test_the_last_two_checkpoints_are_kept_with_their_blobs(database: Database, claimed: Callable[..., Claim]) -> None:
    """A third one replaces the oldest, and the job's deletion removes all their bytes."""
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
    database.write(lambda session: end_attempt(session, claim, "failed"))
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, claim.job_id))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Blob)) == 0
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0


def dataset(database: Database, sha256: str = "a" * 64) -> str:
    def add(session: Session) -> str:
        key = start_object(session, DEFAULT_PROJECT, "dst", content_bytes=1, sha256=sha256)
        return add_dataset(
            session, DEFAULT_PROJECT, dataset_id=key, name="t", media_type="text/csv", content_bytes=1,
            sha256=sha256, rows=1, profile={"rows": 1, "columns": []}, storage_key=key, pieces=None,
        ).id  # fmt: skip

    return database.write(add)


def test_the_same_bytes_are_the_same_dataset(database: Database) -> None:
    """Stored twice they have one row; other bytes have another."""
    first = dataset(database)
    assert dataset(database) == first
    assert dataset(database, "b" * 64) != first
    assert database.write(lambda session: delete_dataset(session, DEFAULT_PROJECT, first)) == first
    with database.reading() as session, pytest.raises(NotFoundError):
        get_dataset(session, DEFAULT_PROJECT, first)


def test_a_login_token_works_once_and_not_for_ever(database: Database) -> None:
    """It is refused when it was used, when it is unknown, and when it has expired."""
    token, old = database.write(new_login_token), database.write(new_login_token)
    assert database.write(lambda session: use_login_token(session, token))
    assert not database.write(lambda session: use_login_token(session, token))
    assert not database.write(lambda session: use_login_token(session, "other"))
    database.write(lambda session: session.execute(update(LoginToken).values(expires_at=seconds_from_now(-1))))
    assert not database.write(lambda session: use_login_token(session, old))


def test_a_session_lasts_until_it_is_ended_or_expires(database: Database) -> None:
    """Its row decides, by the database's clock, and holds no token."""
    first, second = [database.write(lambda session: begin_session(session, seconds=60)) for _ in range(2)]
    with database.reading() as session:
        assert find_session(session, first) == DEFAULT_PROJECT
        assert find_session(session, "other") is None
        assert not {first, second} & set(session.scalars(select(UiSession.sha256)))
    database.write(lambda session: end_session(session, first))
    with database.reading() as session:
        assert (find_session(session, first), find_session(session, second)) == (None, DEFAULT_PROJECT)
    database.write(lambda session: session.execute(update(UiSession).values(expires_at=seconds_from_now(-1))))
    with database.reading() as session:
        assert find_session(session, second) is None


def test_the_migrations_make_the_tables(database: Database) -> None:
    """Alembic finds nothing to change, and every table but projects and workers has a project."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert is_current(connection)
    for table in Base.metadata.tables.values():
        if table.name not in ("projects", "workers"):
            assert not table.columns["project_id"].nullable, table.name
