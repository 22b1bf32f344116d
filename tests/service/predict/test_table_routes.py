"""Predictions of whole tables over HTTP."""

import csv
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.context import Parts
from worker.broker.app import QUEUE
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.predictions import get_prediction
from worker.running.predicting import TablePredictor

CSV, ARROW, LINES = "text/csv", "application/vnd.apache.arrow.stream", "application/x-ndjson"
HEADER = "petal width,petal length,sepal width,sepal length,note"
TABLE = f"{HEADER}\n0.2,1.4,3.5,5.1,first\n2.3,6.1,3.0,7.0,second\n,4.2,2.7,6.0,third\n"


@pytest.fixture
def job_id(succeeded: Callable[..., str]) -> str:
    return succeeded(model="iris", training={"epochs": 40, "batch_size": 8})


@pytest.fixture
def dataset(client: FlaskClient) -> dict[str, str]:
    answer = client.post("/v1/datasets", data=TABLE, content_type=CSV)
    return {"source": "stored", "id": answer.get_json()["id"]}


@pytest.fixture
def ask(client: FlaskClient, job_id: str) -> Callable[..., TestResponse]:
    def ask(dataset: Any, path: str = "/v1/models/iris", headers: Any = None, **options: Any) -> TestResponse:
        return client.post(f"{path}/predict", json={"dataset": dataset} | options, headers=headers)

    return ask


@pytest.fixture
def work(parts: Parts) -> Callable[[str], str | None]:
    """Carry out a prediction in this process, and return its status."""
    known = (parts.database, parts.datasets, parts.storage, parts.settings, threading.Event(), "wrk_test")
    return TablePredictor(*known).run_prediction


def test_a_table_is_accepted_rung_for_and_predicted(
    client: FlaskClient,
    parts: Parts,
    job_id: str,
    dataset: dict[str, str],
    ask: Callable[..., TestResponse],
    work: Callable[[str], str | None],
) -> None:
    """The result, in every media type, is what the same rows predict when they are posted."""
    before = parts.doorbell.waiting()
    accepted = ask(dataset)
    prediction = accepted.get_json()
    path = f"/v1/predictions/{prediction['id']}"
    assert (accepted.status_code, accepted.headers["Location"]) == (202, path)
    assert prediction["model"] == {"name": "iris", "version": 1, "job_id": job_id}
    assert parts.doorbell.waiting() == (before or 0) + 1
    assert prediction["id"].encode() in parts.doorbell._redis.lindex(QUEUE, 0)
    early = client.get(f"{path}/result")
    assert (early.status_code, early.get_json()["code"]) == (409, "not_ready")
    tag = client.get(path).headers["ETag"]
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert work(prediction["id"]) == "succeeded"
    done = client.get(path, headers={"If-None-Match": tag}).get_json()
    assert (done["status"], done["rows"], done["attempt"]) == ("succeeded", 3, 1)

    posted = client.post("/v1/models/iris/predict", data=TABLE, content_type=CSV).get_data(as_text=True)
    expected = list(csv.DictReader(io.StringIO(posted)))
    as_csv = client.get(f"{path}/result")
    assert as_csv.mimetype == CSV
    rows = [
        list(csv.DictReader(io.StringIO(as_csv.get_data(as_text=True)))),
        pa.ipc.open_stream(client.get(f"{path}/result", headers={"Accept": ARROW}).data).read_all().to_pylist(),
        [json.loads(line) for line in client.get(f"{path}/result", headers={"Accept": LINES}).text.splitlines()],
    ]
    for found in rows:
        assert [row["prediction"] for row in found] == ["setosa", "virginica", expected[2]["prediction"]]
        for row, other in zip(found, expected, strict=True):
            assert float(row["probability of setosa"]) == pytest.approx(float(other["probability of setosa"]), abs=1e-6)
    changed = client.get(f"{path}/result", headers={"If-Match": '"another"'})
    assert (changed.status_code, changed.json["code"]) == (412, "precondition_failed")
    unchanged = client.get(f"{path}/result", headers={"If-None-Match": as_csv.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert client.get(f"{path}/result", headers={"Accept": "image/png"}).status_code == 406


def test_a_result_of_several_batches_has_one_header(
    client: FlaskClient, ask: Callable[..., TestResponse], work: Callable[[str], str | None], monkeypatch: Any
) -> None:
    """A CSV result has its header once, however many batches it was computed in."""
    monkeypatch.setattr("worker.running.predicting.ROWS_AT_ONCE", 40)
    prediction_id = ask({"source": "builtin", "name": "iris"}, probabilities=False).get_json()["id"]
    work(prediction_id)
    lines = client.get(f"/v1/predictions/{prediction_id}/result").text.splitlines()
    assert (lines[0], len(lines), lines.count(lines[0])) == ('"prediction"', 151, 1)


def test_a_job_a_version_and_an_alias_predict_tables(
    client: FlaskClient, job_id: str, dataset: dict[str, str], ask: Callable[..., TestResponse]
) -> None:
    """Every address that predicts rows also accepts a table, and the predictions are listed in pages."""
    client.put("/v1/models/iris/aliases/production", json={"version": 1})
    for path, name in (
        (f"/v1/jobs/{job_id}", None),
        ("/v1/models/iris/versions/1", "iris"),
        ("/v1/models/iris/aliases/production", "iris"),
    ):
        assert ask(dataset, path).get_json()["model"]["name"] == name
    listed = client.get("/v1/predictions?limit=2")
    assert (len(listed.get_json()["data"]), listed.get_json()["has_more"]) == (2, True)
    assert len(client.get(listed.headers["Link"].split(">")[0][1:]).get_json()["data"]) == 1


@pytest.mark.parametrize(
    ("dataset", "options", "pointer"),
    [
        ({"source": "stored", "id": "dst_" + "0" * 32}, {}, "/dataset/id"),
        ({"source": "stored", "id": "../x"}, {}, "/dataset/id"),
        ({"source": "inline", "columns": ["x"], "rows": []}, {}, "/dataset/source"),
        ({"source": "builtin", "name": "wine"}, {}, "/dataset"),
        ({"source": "builtin", "name": "iris"}, {"rows": []}, ""),
        ({"source": "builtin", "name": "iris"}, {"top_k": 0}, "/top_k"),
        ("iris", {}, "/dataset"),
    ],
)
def test_a_table_that_can_not_be_predicted_is_refused(
    client: FlaskClient, ask: Callable[..., TestResponse], dataset: Any, options: Any, pointer: str
) -> None:
    """A table that is unknown, lacks a feature or comes with rows is refused with its pointer; nothing is stored."""
    answer = ask(dataset, **options)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.get_json()["errors"]]
    assert client.get("/v1/predictions").get_json()["data"] == []


def test_the_most_probable_are_of_classes_only(
    ask: Callable[..., TestResponse], succeeded: Callable[..., str], client: FlaskClient
) -> None:
    """top_k for a model of numbers is refused at the place where it was given."""
    linear = {"source": "generator", "name": "linear"}
    path = f"/v1/jobs/{succeeded(dataset=linear, target='target')}"
    assert ask(linear, path, top_k=2).get_json()["errors"][0]["pointer"] == "/top_k"
    in_query = client.post(f"{path}/predict?top_k=2", json={"dataset": linear})
    assert in_query.get_json()["errors"][0]["parameter"] == "top_k"
    assert ask(linear, path).status_code == 202


def test_a_failed_prediction_has_no_result(
    client: FlaskClient, ask: Callable[..., TestResponse], work: Callable[[str], str | None]
) -> None:
    """A table with a value that can't be used fails with its row and column, and its result is a 409."""
    text = TABLE.replace("0.2,", "1e300,")
    dataset_id = client.post("/v1/datasets", data=text, content_type=CSV).get_json()["id"]
    prediction_id = ask({"source": "stored", "id": dataset_id}).get_json()["id"]
    assert work(prediction_id) == "failed"
    error = client.get(f"/v1/predictions/{prediction_id}").get_json()["error"]
    assert (error["code"], "row 0, column 'petal width'" in error["message"]) == ("invalid_data", True)
    answer = client.get(f"/v1/predictions/{prediction_id}/result")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "failed")


def test_a_result_in_another_storage_is_not_a_404(
    client: FlaskClient, parts: Parts, dataset: dict[str, str], ask: Callable[..., TestResponse],
    work: Callable[[str], str | None],
) -> None:  # fmt: skip
    """A worker on another machine wrote it to a folder of its own: the answer is a 503 that names the setting."""
    prediction_id = ask(dataset).get_json()["id"]
    work(prediction_id)
    with parts.database.reading() as session:
        parts.storage.delete(get_prediction(session, DEFAULT_PROJECT, prediction_id).storage_key)
    answer = client.get(f"/v1/predictions/{prediction_id}/result")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "storage_missing")


def test_a_repeated_request_predicts_once(
    client: FlaskClient, dataset: dict[str, str], ask: Callable[..., TestResponse]
) -> None:
    """The same Idempotency-Key and body get the same prediction; another body with that key is a 422."""
    key = {"Idempotency-Key": "once"}
    first, again = ask(dataset, headers=key), ask(dataset, headers=key)
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ask(dataset, headers=key, top_k=1).status_code == 422
    assert len(client.get("/v1/predictions").get_json()["data"]) == 1


def test_a_deleted_prediction_is_gone_with_its_bytes(
    client: FlaskClient, parts: Parts, ask: Callable[..., TestResponse], work: Callable[[str], str | None]
) -> None:
    """Deleting a prediction, finished or waiting, deletes its result and ends its work."""
    done, waiting = (ask({"source": "builtin", "name": "iris"}).get_json()["id"] for _ in range(2))
    work(done)
    assert len(parts.storage.list_keys()) == 1
    for prediction_id in (done, waiting):
        assert client.delete(f"/v1/predictions/{prediction_id}").status_code == 204
        for path in ("", "/result"):
            assert client.get(f"/v1/predictions/{prediction_id}{path}").status_code == 404
        assert client.delete(f"/v1/predictions/{prediction_id}").status_code == 404
    assert parts.storage.list_keys() == []
    assert work(waiting) is None
