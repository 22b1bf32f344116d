"""Whole tables through the real predictor, on both databases: every way in which an attempt ends."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import update

from tests.worker.broker.test_doorbell import doorbell_of
from worker.data.sources import make_table
from worker.data.storage import Storage
from worker.errors import LeaseLostError, NotFoundError, SpecError, StateError
from worker.intake.datasets import Datasets
from worker.networks.predictor import Predictor
from worker.networks.trained import read_trained
from worker.records.clock import seconds_from_now
from worker.records.datasets import delete_dataset
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.jobs import delete_job
from worker.records.predictions import (
    PredictionClaim,
    claim_prediction,
    delete_prediction,
    end_prediction,
    get_prediction,
    guard_prediction,
    list_predictions,
    rescue_prediction,
    submit_prediction,
)
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.tables import Prediction, StoredObject
from worker.records.weights import find_weights, find_weights_id
from worker.records.workers import expire_leases, holds_any
from worker.rescue import rescue_expired, ring_undelivered
from worker.running import predicting
from worker.running.predicting import TablePredictor
from worker.running.run import Runner
from worker.settings import Retention, Settings
from worker.specs.dataset import BuiltinDataset
from worker.sweeping import sweep_all

IRIS = {"source": "builtin", "name": "iris"}


@pytest.fixture
def predictor(database: Database, datasets: Datasets, storage: Storage, shutdown: threading.Event) -> TablePredictor:
    return TablePredictor(database, datasets, storage, Settings(lease_seconds=30), shutdown, "wrk_test")


@pytest.fixture
def weights_id(database: Database, runner: Runner, submit: Callable[..., Any]) -> str:
    job_id = submit()["id"]
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        return find_weights_id(session, job_id)


@pytest.fixture
def ask(database: Database, weights_id: str) -> Callable[..., str]:
    """Submit the prediction of a table, and return its id."""

    def ask(dataset: dict[str, Any] = IRIS, **changes: Any) -> str:
        asked = {"weights_id": weights_id, "served": {}, "options": {}, "room": QueueRoom(Prediction, 100)} | changes
        snapshot, *_ = database.write(
            lambda session: submit_prediction(session, DEFAULT_PROJECT, dataset=dataset, **asked)
        )
        return str(snapshot["id"])

    return ask


@pytest.fixture
def claimed(database: Database, ask: Callable[..., str]) -> Callable[..., PredictionClaim]:
    def claimed(lease_seconds: float = 30, **known: Any) -> PredictionClaim:
        return claim_of(database, ask(), lease_seconds=lease_seconds, **known)

    return claimed


def claim_of(database: Database, prediction_id: str, *, lease_seconds: float = 30, **known: Any) -> PredictionClaim:
    owner = known.pop("owner", "wrk_test")
    claim = database.write(
        lambda session: claim_prediction(session, prediction_id, owner=owner, lease_seconds=lease_seconds, **known)
    )
    assert claim is not None
    return claim


def read(database: Database, prediction_id: str) -> Prediction:
    with database.reading() as session:
        return get_prediction(session, DEFAULT_PROJECT, prediction_id)


def upload(datasets: Datasets, text: str) -> dict[str, Any]:
    dataset, _ = datasets.store(DEFAULT_PROJECT, "t", text.encode())
    return {"source": "stored", "id": dataset.id}


def test_a_tables_result_is_what_its_rows_predict(
    database: Database,
    predictor: TablePredictor,
    ask: Callable[..., str],
    weights_id: str,
    storage: Storage,
    monkeypatch: Any,
) -> None:
    """A table in batches of 64 gives what it gives in one piece, in its order."""
    monkeypatch.setattr(predicting, "ROWS_AT_ONCE", 64)
    prediction_id = ask()
    assert predictor.run_prediction(prediction_id) == "succeeded"
    row = read(database, prediction_id)
    assert (row.status, row.rows, row.attempt, row.owner, row.lease_until) == ("succeeded", 150, 1, None, None)
    content = storage.read(row.storage_key or "")
    assert len(content) == row.result_bytes
    result = pa.ipc.open_stream(content).read_all()
    with database.reading() as session:
        trained = read_trained(session, weights_id)
    table = make_table(BuiltinDataset(source="builtin", name="iris"))
    expected = Predictor(trained).predict_table(table)
    assert result["prediction"].to_pylist() == expected.predictions
    found = [result[f"probability of {name}"].to_pylist() for name in expected.classes or ()]
    assert [list(row) for row in zip(*found, strict=True)] == [
        pytest.approx(row, abs=1e-6) for row in expected.probabilities or ()
    ]


def test_the_options_are_kept(
    database: Database, predictor: TablePredictor, ask: Callable[..., str], storage: Storage
) -> None:
    """The columns of the result are those that the options ask for."""
    prediction_id = ask(options={"top_k": 1, "probabilities": False})
    predictor.run_prediction(prediction_id)
    result = pa.ipc.open_stream(storage.read(read(database, prediction_id).storage_key or "")).read_all()
    assert result.column_names == ["top 1"]


def test_a_fault_in_a_table_is_named_by_its_row(
    database: Database, predictor: TablePredictor, ask: Callable[..., str], datasets: Datasets, monkeypatch: Any
) -> None:
    """The row is counted over the whole table, not within its batch, and nothing is stored."""
    monkeypatch.setattr(predicting, "ROWS_AT_ONCE", 2)
    lines = [f"{cell},1,1,1" for cell in (5, 5, 5, "1e300", 5)]
    dataset = upload(datasets, "\n".join(["sepal length,sepal width,petal length,petal width", *lines]) + "\n")
    prediction_id = ask(dataset)
    assert predictor.run_prediction(prediction_id) == "failed"
    row = read(database, prediction_id)
    assert row.error is not None
    assert row.error["code"] == "invalid_data"
    assert "row 3, column 'sepal length'" in row.error["message"]
    assert row.storage_key is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": {"source": "stored", "id": "dst_" + "0" * 32}}, "no such dataset"),
        ({"weights_id": "wts_" + "0" * 32}, "no such weights"),
        ({"dataset": {"source": "builtin", "name": "wine"}}, "column is missing"),
    ],
)
def test_what_went_meanwhile_ends_in_the_record(
    database: Database, predictor: TablePredictor, ask: Callable[..., str], changes: dict[str, Any], said: str
) -> None:
    """A table or weights that were deleted, or that do not fit, fail the prediction as `invalid_data` in words."""
    prediction_id = ask()
    changed = update(Prediction).where(Prediction.id == prediction_id).values(**changes)
    database.write(lambda session: session.execute(changed))
    assert predictor.run_prediction(prediction_id) == "failed"
    error = read(database, prediction_id).error
    assert error is not None
    assert said in error["message"]
    assert error["code"] == "invalid_data"


def test_what_is_gone_already_is_refused_at_once(ask: Callable[..., str]) -> None:
    """The transaction that submits locks the weights and the table, and refuses those that do not exist."""
    with pytest.raises(NotFoundError):
        ask(weights_id="wts_" + "0" * 32)
    with pytest.raises(SpecError, match="/dataset/id"):
        ask(dataset={"source": "stored", "id": "dst_" + "0" * 32})


def test_a_category_is_read_alike_whatever_stands_beside_it(
    database: Database,
    predictor: TablePredictor,
    runner: Runner,
    submit: Callable[..., Any],
    ask: Callable[..., str],
    datasets: Datasets,
) -> None:
    """In a table whose categories all look like numbers they stay the text that training saw."""
    lines = [f"{('1.50', '2.50', 'x')[n % 3]},{n},{'ab'[n % 2]}" for n in range(30)]
    job_id = submit(dataset=upload(datasets, "\n".join(["size,n,label", *lines]) + "\n"))["id"]
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        weights_id = find_weights_id(session, job_id)
    prediction_id = ask(upload(datasets, "size,n\n1.50,1\n2.50,2\n"), weights_id=weights_id)
    assert predictor.run_prediction(prediction_id) == "succeeded"


def test_a_prediction_is_given_to_one_worker_only(
    database: Database, predictor: TablePredictor, claimed: Callable[..., PredictionClaim]
) -> None:
    """A prediction that another holds is not attempted, and neither is an id that names none."""
    claim = claimed()
    assert predictor.run_prediction(claim.prediction_id) is None
    for nonsense in ("prd_x", "job_" + "0" * 32, "prd_" + "0" * 32):
        assert predictor.run_prediction(nonsense) is None


def test_a_worker_that_is_told_to_stop_gives_it_back(
    database: Database, predictor: TablePredictor, ask: Callable[..., str], shutdown: threading.Event
) -> None:
    """It is queued again without a crash, and the next attempt ends it."""
    prediction_id = ask()
    shutdown.set()
    assert predictor.run_prediction(prediction_id) == "queued"
    assert (read(database, prediction_id).crashes, read(database, prediction_id).owner) == (0, None)
    shutdown.clear()
    assert predictor.run_prediction(prediction_id) == "succeeded"
    assert read(database, prediction_id).attempt == 2


def test_an_attempt_that_lost_its_lease_writes_nothing(
    database: Database, claimed: Callable[..., PredictionClaim]
) -> None:
    """Once another attempt has the row, or it was deleted, each write of the first is refused."""
    first = claimed(lease_seconds=-1)
    assert database.write(lambda session: rescue_prediction(session, first.prediction_id, 1)) == "queued"
    second = claim_of(database, first.prediction_id)
    result = {"rows": 1, "result_bytes": 1, "storage_key": "prd_old"}
    for write in (
        lambda session: guard_prediction(session, first),
        lambda session: end_prediction(session, first, "succeeded", **result),
    ):
        with pytest.raises(LeaseLostError):
            database.write(write)
    assert read(database, first.prediction_id).storage_key is None
    assert database.write(lambda session: guard_prediction(session, second)) == "running"
    database.write(lambda session: delete_prediction(session, DEFAULT_PROJECT, first.prediction_id))
    with pytest.raises(LeaseLostError):
        database.write(lambda session: guard_prediction(session, second))


def test_a_result_that_came_too_late_is_named_by_no_row_and_swept(
    database: Database,
    predictor: TablePredictor,
    ask: Callable[..., str],
    storage: Storage,
    datasets: Datasets,
) -> None:
    """Bytes whose attempt lost its lease are deleted an hour later; those of a success are kept."""
    good, late = ask(), ask()
    predictor.run_prediction(good)

    class Slow(Storage):
        def write(self, key: str, content: bytes) -> None:
            super().write(key, content)
            database.write(lambda session: delete_prediction(session, DEFAULT_PROJECT, late))

    slow = replace(predictor, storage=Slow(storage._url))
    assert slow.run_prediction(late) is None
    assert len(storage.list_keys()) == 2
    assert datasets.sweep() == 0
    aged = update(StoredObject).values(created_at=seconds_from_now(-7200))
    database.write(lambda session: session.execute(aged))
    assert datasets.sweep() == 1
    assert storage.list_keys() == [read(database, good).storage_key]


def test_the_third_crash_fails_it(database: Database, ask: Callable[..., str]) -> None:
    """Two crashes queue it again; the third fails it as `crashed`, and the message says how its process died."""
    prediction_id = ask()
    for attempt, expected in ((1, "queued"), (2, "queued"), (3, "failed")):
        claim_of(database, prediction_id, owner="one", pid=7)
        assert database.write(lambda session, n=attempt: rescue_prediction(session, prediction_id, n)) is None  # type: ignore[misc]
        database.write(lambda session: expire_leases(session, owner="one", pid=7, crash="signal 9 (SIGKILL)"))
        status = database.write(lambda session, n=attempt: rescue_prediction(session, prediction_id, n))  # type: ignore[misc]
        assert status == expected
    error = read(database, prediction_id).error
    assert error is not None
    assert (error["code"], "signal 9" in error["message"]) == ("crashed", True)


def test_rescue_frees_and_rings_for_predictions_too(
    database: Database, claimed: Callable[..., PredictionClaim], ask: Callable[..., str], redis_url: str
) -> None:
    """An expired one is queued and rung for, one whose message was lost is rung for, a running one is left alone."""
    doorbell = doorbell_of(redis_url)
    dead, alive = claimed(lease_seconds=-1), claimed(owner="wrk_other")
    assert rescue_expired(database, doorbell) == [dead.prediction_id]
    assert doorbell.waiting() == 1
    lost = ask()
    database.write(
        lambda session: session.execute(
            update(Prediction).where(Prediction.id == lost).values(dispatched_at=seconds_from_now(-60))
        )
    )
    assert ring_undelivered(database, doorbell) == 1
    assert doorbell.waiting() == 2
    assert ring_undelivered(database, doorbell) == 0
    assert read(database, alive.prediction_id).status == "running"
    with database.reading() as session:
        assert (holds_any(session, "wrk_other"), holds_any(session, "wrk_none")) == (True, False)
    doorbell.close()


def test_what_a_waiting_prediction_needs_is_not_deleted(
    database: Database, predictor: TablePredictor, ask: Callable[..., str], datasets: Datasets, weights_id: str
) -> None:
    """Its weights' job and its table can't be deleted until it is over; its result outlives both."""
    dataset = upload(datasets, "sepal length,sepal width,petal length,petal width\n5,1,1,1\n")
    prediction_id = ask(dataset)
    with database.reading() as session:
        job_id = find_weights(session, weights_id).job_id
    assert job_id is not None
    deletions: tuple[Callable[..., Any], ...] = (
        lambda session: delete_job(session, DEFAULT_PROJECT, job_id),
        lambda session: delete_dataset(session, DEFAULT_PROJECT, dataset["id"]),
    )
    for deletion in deletions:
        with pytest.raises(StateError, match="prediction"):
            database.write(deletion)
    assert predictor.run_prediction(prediction_id) == "succeeded"
    for deletion in deletions:
        database.write(deletion)
    assert read(database, prediction_id).rows == 1


def test_too_many_waiting_are_refused_and_others_are_not_shown(database: Database, ask: Callable[..., str]) -> None:
    """Past the limit the code is `queue_full`; a prediction of another project is not found."""
    first = ask(room=QueueRoom(Prediction, 1))
    with pytest.raises(StateError) as refused:
        ask(room=QueueRoom(Prediction, 1))
    assert refused.value.code == "queue_full"
    with database.reading() as session, pytest.raises(NotFoundError):
        get_prediction(session, "prd_other", first)
    with pytest.raises(NotFoundError):
        database.write(lambda session: delete_prediction(session, DEFAULT_PROJECT, new_id("prd")))


def test_an_old_prediction_that_is_over_goes_with_its_bytes(
    database: Database,
    predictor: TablePredictor,
    ask: Callable[..., str],
    storage: Storage,
    datasets: Datasets,
) -> None:
    """A young one is kept, and so is one that still waits, however old it is."""
    old, waiting, young = ask(), ask(), ask()
    predictor.run_prediction(old)
    predictor.run_prediction(young)
    aged = update(Prediction).where(Prediction.id.in_([old, waiting])).values(created_at=seconds_from_now(-2 * 86_400))
    database.write(lambda session: session.execute(aged))
    sweep_all(database, datasets, Retention())
    assert len(storage.list_keys()) == 2
    sweep_all(database, datasets, Retention(predictions_days=1))
    with database.reading() as session:
        assert [row.id for row in list_predictions(session, DEFAULT_PROJECT, limit=10)[0]] == [young, waiting]
    assert storage.list_keys() == [read(database, young).storage_key]
