"""Imported weights in the record: served, needed, and gone with their last version."""

from typing import Any

import pytest
from sqlalchemy import func, select

from tests.conftest import spec_of
from worker.errors import StateError
from worker.records.blobs import CHUNK_BYTES, read_blob, write_blob
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.imports import publish_import
from worker.records.new_jobs import JobColumns, submit_job
from worker.records.predictions import delete_prediction, submit_prediction
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.tables import Blob, Chunk, Job, Prediction, Weights
from worker.records.transitions import change_status
from worker.records.versions import delete_model, delete_version, find_version, register_version

CONTENT = bytes(range(256)) * (CHUNK_BYTES // 256) + b"the rest"


@pytest.fixture
def weights_id(database: Database) -> str:
    """Imported weights in two chunks, that are version 1 of the model a."""
    blob_id = write_blob(database, DEFAULT_PROJECT, CONTENT)
    weights_id = database.write(
        lambda session: publish_import(session, DEFAULT_PROJECT, {"network": [], "encoders": {}}, blob_id)
    )
    register(database, "a", weights_id)
    return weights_id


def register(database: Database, name: str, weights_id: str) -> None:
    database.write(lambda session: register_version(session, DEFAULT_PROJECT, name, weights_id))


def left(database: Database) -> list[int | None]:
    with database.reading() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in (Weights, Blob, Chunk)]


def test_imported_weights_have_no_job(database: Database, weights_id: str) -> None:
    """Their row names no job, and their bytes are whole however many chunks they take."""
    with database.reading() as session:
        assert find_version(session, DEFAULT_PROJECT, "a")[1:] == (1, weights_id, None)
        row = session.get_one(Weights, weights_id)
        assert (row.kind, row.job_id) == ("imported", None)
        assert read_blob(session, row.blob_id) == CONTENT
    assert left(database) == [1, 1, 2]


def test_they_go_with_the_last_version_that_serves_them(database: Database, weights_id: str) -> None:
    """Imported weights and their bytes are deleted with their last version, whichever model that belongs to."""
    register(database, "b", weights_id)
    database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "a", 1))
    assert left(database) == [1, 1, 2]
    database.write(lambda session: delete_model(session, DEFAULT_PROJECT, "b"))
    assert left(database) == [0, 0, 0]


def test_they_stay_while_a_job_or_a_prediction_needs_them(database: Database, weights_id: str) -> None:
    """A job that is over needs them no more, and its row outlives them."""
    plan = JobColumns(features=[], classes=None, parameters=1, layers=[], source=weights_id)
    submitted, *_ = database.write(
        lambda session: submit_job(session, DEFAULT_PROJECT, spec_of(), plan, room=QueueRoom(Job, 9))
    )
    with pytest.raises(StateError, match="starts from these weights"):
        database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "a", 1))
    with database.reading() as session:
        assert find_version(session, DEFAULT_PROJECT, "a").version == 1
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, submitted["id"], "cancel"))
    predicted: dict[str, Any] = {"weights_id": weights_id, "served": {}, "dataset": {}, "options": {}}
    waiting, *_ = database.write(
        lambda session: submit_prediction(session, DEFAULT_PROJECT, **predicted, room=QueueRoom(Prediction, 9))
    )
    with pytest.raises(StateError, match="needs these weights"):
        database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "a", 1))
    database.write(lambda session: delete_prediction(session, DEFAULT_PROJECT, waiting["id"]))
    database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "a", 1))
    assert left(database) == [0, 0, 0]
