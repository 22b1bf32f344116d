"""Uploads whose bytes are not in the worker's storage: the job is tried again, elsewhere, and in the end says why."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.records.clock import seconds_since
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.predictions import get_prediction, submit_prediction
from worker.records.queue import undelivered
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job, Prediction
from worker.records.transitions import change_status
from worker.records.weights import find_weights_id
from worker.running import attempt
from worker.running.predicting import TablePredictor
from worker.running.run import Runner
from worker.settings import Limits, Settings

TABLE = "a,b,label\n" + "1,2,x\n2,1,y\n" * 30


@pytest.fixture
def elsewhere(database: Database, runner: Runner, tmp_path: Path) -> Runner:
    """A runner on a second machine: the same database, and a storage folder of its own."""
    storage = Storage(str(tmp_path / "another machine"))
    return replace(runner, datasets=Datasets(database, storage, Limits()), owner="wrk_elsewhere")


@pytest.fixture
def job_id(datasets: Datasets, submit: Callable[..., Snapshot]) -> str:
    """A job on an uploaded table."""
    return str(submit(dataset=upload(datasets))["id"])


def upload(datasets: Datasets) -> dict[str, Any]:
    dataset, _ = datasets.store(DEFAULT_PROJECT, "t", TABLE.encode())
    return {"source": "stored", "id": dataset.id}


def read_job(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return get_job(session, DEFAULT_PROJECT, job_id)


def notes(database: Database, job_id: str) -> list[dict[str, Any]]:
    with database.reading() as session:
        found = happenings_after(session, job_id, 0, limit=1000)
    return [happening.payload for happening in found if happening.kind == "storage_missing"]


def test_a_job_whose_bytes_are_elsewhere_goes_back_and_is_trained_there(
    database: Database, runner: Runner, elsewhere: Runner, job_id: str
) -> None:
    """It is queued again without a crash, an event says why, and the worker that has the bytes trains it."""
    assert elsewhere.run_job(job_id) == "queued"
    job = read_job(database, job_id)
    assert (job.status, job.crashes, job.owner, job.error) == ("queued", 0, None, None)
    (note,) = notes(database, job_id)
    assert note["dataset_id"] == job.spec["dataset"]["id"]
    assert "GRADMILL_STORAGE_URL" in note["message"]
    assert runner.run_job(job_id) == "succeeded"


def test_a_job_whose_bytes_are_missing_rests_longer_each_time(
    database: Database, elsewhere: Runner, job_id: str
) -> None:
    """It is not rung for until its rest is over: 1, 2, 4 ... and at most 60 seconds."""
    for _ in range(8):
        assert elsewhere.run_job(job_id) == "queued"
    assert [note["again_in_seconds"] for note in notes(database, job_id)] == [1, 2, 4, 8, 16, 32, 60, 60]
    with database.reading() as session:
        rested = session.query(seconds_since(Job.dispatched_at)).where(Job.id == job_id).scalar()
        assert -60 < rested < -55
        assert undelivered(session, older_than_seconds=0, limit=10) == []


def test_bytes_that_nobody_has_fail_the_job_with_the_setting_to_change(
    database: Database, elsewhere: Runner, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last of its attempts the job's error names the dataset and GRADMILL_STORAGE_URL, and no path."""
    monkeypatch.setattr(attempt, "MISSING_BYTES_ATTEMPTS", 3)
    assert [elsewhere.run_job(job_id) for _ in range(3)] == ["queued", "queued", "failed"]
    job = read_job(database, job_id)
    assert job.error is not None
    assert (job.error["code"], job.crashes) == ("internal", 0)
    assert job.spec["dataset"]["id"] in job.error["message"]
    assert "GRADMILL_STORAGE_URL" in job.error["message"]
    assert "another machine" not in job.error["message"]


def test_attempts_are_counted_from_the_last_epoch(
    database: Database, runner: Runner, elsewhere: Runner, submit: Callable[..., Snapshot], datasets: Datasets,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A job that was trained meanwhile begins its count anew when it comes back to a worker without its bytes."""
    monkeypatch.setattr(attempt, "MISSING_BYTES_ATTEMPTS", 2)
    job_id = submit(dataset=upload(datasets), training={"epochs": 100_000, "max_seconds": 60})["id"]
    assert elsewhere.run_job(job_id) == "queued"
    stopped = threading.Event()
    told = iter(range(100))
    announce = lambda _: stopped.set() if next(told) == 1 else None  # noqa: E731
    assert replace(runner, shutdown=stopped, announce=announce).run_job(job_id) == "queued"
    assert read_job(database, job_id).epoch > 0
    assert elsewhere.run_job(job_id) == "queued"
    assert elsewhere.run_job(job_id) == "failed"


def test_attempts_are_counted_from_the_last_pause(
    database: Database, elsewhere: Runner, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mended the storage pauses and resumes the job, and it is tried as often as at first."""
    monkeypatch.setattr(attempt, "MISSING_BYTES_ATTEMPTS", 2)
    assert elsewhere.run_job(job_id) == "queued"
    for change in ("pause", "resume"):
        database.write(partial(change_status, project_id=DEFAULT_PROJECT, job_id=job_id, change=change))
    assert elsewhere.run_job(job_id) == "queued"
    assert elsewhere.run_job(job_id) == "failed"


def test_a_cancel_of_a_job_that_rests_is_obeyed(database: Database, elsewhere: Runner, job_id: str) -> None:
    """A job that waits for its bytes is an ordinary queued job."""
    elsewhere.run_job(job_id)
    database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, "cancel"))
    assert elsewhere.run_job(job_id) is None
    assert read_job(database, job_id).status == "cancelled"


def test_a_dataset_that_was_deleted_is_not_tried_again(database: Database, runner: Runner, job_id: str) -> None:
    """Without its row the upload is gone for everybody: that is a fault of the specification, at once."""
    gone = {"source": "stored", "id": "dst_" + "0" * 32}
    spec = read_job(database, job_id).spec | {"dataset": gone}
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(spec=spec)))
    assert runner.run_job(job_id) == "failed"
    assert notes(database, job_id) == []


def test_a_table_prediction_whose_bytes_are_elsewhere_goes_back_too(
    database: Database, runner: Runner, elsewhere: Runner, datasets: Datasets, job_id: str, tmp_path: Path,
    shutdown: threading.Event, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It is queued for a worker that has them, and fails in words if none of its attempts finds them."""
    monkeypatch.setattr(attempt, "MISSING_BYTES_ATTEMPTS", 2)
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        weights_id = find_weights_id(session, job_id)
    storage, settings = Storage(str(tmp_path / "results")), Settings(lease_seconds=30)
    here = TablePredictor(database, datasets, storage, settings, shutdown, "wrk_test")
    away = replace(here, datasets=elsewhere.datasets)

    def submit_table() -> str:
        asked: dict[str, Any] = {
            "weights_id": weights_id,
            "served": {},
            "options": {},
            "room": QueueRoom(Prediction, 100),
        }
        asked["dataset"] = upload(datasets)
        work = lambda session: submit_prediction(session, DEFAULT_PROJECT, **asked)  # noqa: E731
        return str(database.write(work)[0]["id"])

    taken_up, lost = submit_table(), submit_table()
    assert [away.run_prediction(taken_up), here.run_prediction(taken_up)] == ["queued", "succeeded"]
    assert [away.run_prediction(lost), away.run_prediction(lost)] == ["queued", "failed"]
    with database.reading() as session:
        error = get_prediction(session, DEFAULT_PROJECT, lost).error
    assert error is not None
    assert (error["code"], "GRADMILL_STORAGE_URL" in error["message"]) == ("internal", True)
