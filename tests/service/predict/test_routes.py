"""Predict and weights over HTTP."""

import csv
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from flask.testing import FlaskClient
from safetensors import numpy as safetensors
from sklearn.datasets import load_iris
from sqlalchemy import event
from werkzeug.test import TestResponse

from service.context import Parts

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture
def job_id(succeeded: Callable[..., str]) -> str:
    return succeeded(training={"epochs": 40, "batch_size": 8})


def test_rows_by_name_and_by_position_predict_the_same(job_id: str, client: FlaskClient) -> None:
    """An object by name and a list by position predict the same, and null is a missing cell."""
    by_position = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [ROW]}).get_json()
    by_name = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [dict(zip(NAMES, ROW, strict=True))]}).get_json()
    assert by_position == by_name
    assert by_position["predictions"] == ["setosa"]
    assert by_position["model"] == {"name": None, "version": None, "job_id": job_id}
    assert by_position["classes"] == ["setosa", "versicolor", "virginica"]
    assert sum(by_position["probabilities"][0]) == pytest.approx(1, abs=1e-5)
    missing = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [[5.1, None, 1.4, 0.2]]})
    assert missing.get_json()["predictions"] == ["setosa"]


def test_csv_in_is_csv_out(job_id: str, client: FlaskClient) -> None:
    """A CSV body is answered in CSV; its columns are found by name, and unknown ones are ignored."""
    text = "petal width,note,petal length,sepal width,sepal length\n0.2,x,1.4,3.5,5.1\n2.3,y,6.1,3.0,7.0\n"
    answer = client.post(f"/v1/jobs/{job_id}/predict", data=text, content_type="text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert [row["prediction"] for row in rows] == ["setosa", "virginica"]
    assert float(rows[0]["probability of setosa"]) > 0.8


def test_the_files_weights_compute_the_same_prediction(job_id: str, client: FlaskClient) -> None:
    """A forward pass in NumPy, from the safetensors file and its encoders, gives the served probabilities."""
    answer = client.get(f"/v1/jobs/{job_id}/weights")
    content = answer.data
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    arrays = safetensors.load(content)
    codes = json.loads(header["encoders"])["features"]
    x = load_iris().data
    x = (x - [code["mean"] for code in codes]) / [code["scale"] for code in codes]
    a = np.tanh(x @ arrays["layers.0.w"] + arrays["layers.0.b"])
    z = a @ arrays["layers.1.w"] + arrays["layers.1.b"]
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    served = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": load_iris().data.tolist()}).get_json()
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    assert json.loads(header["spec"])["name"] == "iris"
    unchanged = client.get(f"/v1/jobs/{job_id}/weights", headers={"If-None-Match": answer.headers["ETag"]})
    assert unchanged.status_code == 304
    assert client.get(f"/v1/jobs/{job_id}/weights?checkpoint=1").status_code == 200
    assert client.get(f"/v1/jobs/{job_id}/weights?checkpoint=39").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/weights?checkpoint=../x").status_code == 422


@pytest.mark.parametrize(
    ("rows", "row", "column", "said"),
    [
        ([[1, 2, 3]], 0, None, "expected 4 cells, got 3"),
        ([ROW, [1, 2, "3 cm", 4]], 1, "petal length", "must be a number, not '3 cm'"),
        ([ROW, [1, 2, True, 4]], 1, "petal length", "must be a number"),
        ([{"sepal length": 1}], 0, "sepal width", "missing"),
        ([dict(zip(NAMES, ROW, strict=True)) | {" sepal width": 1}], 0, "sepal width", "two columns have this name"),
        ([[1e300, 1, 1, 1]], 0, "sepal length", "too large"),
    ],
)
def test_a_bad_row_is_named_by_row_and_column(
    job_id: str, client: FlaskClient, rows: object, row: int, column: str | None, said: str
) -> None:
    """A row that can't be used is refused with its row, column and pointer."""
    answer = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": rows})
    assert answer.status_code == 422
    error = answer.get_json()["errors"][0]
    assert (error["row"], error.get("column"), error["pointer"]) == (row, column, f"/rows/{row}")
    assert said in error["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b'{"rows": [[NaN, 1, 1, 1]]}', 400),
        (b"[]", 422),
        (b'{"rows": {}}', 422),
        (b'{"rows": [1]}', 422),
        (b'{"rows": [[1,2,3,4]], "x": 1}', 422),
        (b'{"rows": [[1e400, 1, 1, 1]]}', 422),
        (b'{"rows": [[' + b"9" * 400 + b", 1, 1, 1]]}", 422),
    ],
)
def test_a_bad_body_is_refused(job_id: str, client: FlaskClient, body: bytes, status: int) -> None:
    """Bodies that are not JSON, not valid, or of another media type are refused."""
    answer = client.post(f"/v1/jobs/{job_id}/predict", data=body, content_type="application/json")
    assert answer.status_code == status, answer.get_json()
    assert client.post(f"/v1/jobs/{job_id}/predict", data=b"{}", content_type="text/plain").status_code == 415


def test_a_csv_row_is_read_alike_whatever_stands_beside_it(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """Categories that look like booleans, dates and numbers keep their letters, in training and in each request."""
    header = "flag,when,zip,n,label"
    flags, zips = ("True", "False", "maybe"), ("01234", "K1A", "77")
    lines = [f"{flags[n % 3]},2024-01-0{n % 3 + 1}T10:00:00,{zips[n % 3]},{n},{'ab'[n % 2]}" for n in range(30)]
    table = "\n".join([header, *lines]) + "\n"
    dataset_id = client.post("/v1/datasets", data=table, content_type="text/csv").get_json()["id"]
    job_id = succeeded(dataset={"source": "stored", "id": dataset_id})
    path = f"/v1/jobs/{job_id}/predict"

    def predicted(rows: list[str]) -> list[dict[str, str]]:
        answer = client.post(path, data="\n".join([header, *rows]) + "\n", content_type="text/csv")
        assert answer.status_code == 200, answer.get_json()
        return list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))

    together = predicted(lines)
    for line, beside in zip(lines[:6], together, strict=False):
        (alone,) = predicted([line])
        # a product of one row is rounded in another order than that of thirty
        for name in ("probability of a", "probability of b"):
            assert float(alone.pop(name)) == pytest.approx(float(beside[name]), abs=1e-6)
        assert alone == {"prediction": beside["prediction"]}
    row = dict(zip(header.split(",")[:4], lines[0].split(","), strict=False)) | {"n": 0}
    by_json = client.post(path, json={"rows": [row]}).get_json()
    assert by_json["probabilities"][0][0] == pytest.approx(float(together[0]["probability of a"]), abs=1e-6)


def test_the_final_weights_are_named_after_their_epoch(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """With restore_best they are the best epoch's; the last epoch's number still gives that epoch's snapshot."""
    job_id = succeeded(
        training={"epochs": 40, "early_stopping": {"patience": 40}, "optimizer": {"type": "adam", "learning_rate": 0.3}}
    )
    job = client.get(f"/v1/jobs/{job_id}").get_json()
    best = job["best"]["epoch"]
    assert best < 40
    final = client.get(f"/v1/jobs/{job_id}/weights")
    assert f"-{best}.safetensors" in final.headers["Content-Disposition"]
    last = client.get(f"/v1/jobs/{job_id}/weights?checkpoint=40")
    assert "-40.safetensors" in last.headers["Content-Disposition"]
    assert not np.array_equal(safetensors.load(final.data)["layers.0.w"], safetensors.load(last.data)["layers.0.w"])


def test_no_rows_give_no_predictions(job_id: str, client: FlaskClient) -> None:
    """An empty list of rows is answered with an empty list of predictions."""
    assert client.post(f"/v1/jobs/{job_id}/predict", json={"rows": []}).get_json()["predictions"] == []


def test_a_job_without_weights_is_not_ready(post: Callable[..., TestResponse], client: FlaskClient) -> None:
    """Before its first weights a job answers 409 not_ready."""
    job_id = post().get_json()["id"]
    for answer in (
        client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [ROW]}),
        client.get(f"/v1/jobs/{job_id}/weights"),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (409, "not_ready")


def test_a_warm_predict_asks_the_database_nothing(job_id: str, client: FlaskClient, parts: Parts) -> None:
    """Weights never change once published: within a second of the last lookup no statement is sent."""
    path, body = f"/v1/jobs/{job_id}/predict", {"rows": [ROW]}
    client.post(path, json=body)
    statements: list[str] = []
    event.listen(parts.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    client.post(path, json=body)
    assert statements == []


def test_more_rows_than_the_limit_are_refused(job_id: str, client: FlaskClient, parts: Parts) -> None:
    """One row more than the limit is a 413."""
    object.__setattr__(parts, "settings", parts.settings.model_copy(update={"predict_rows_limit": 3}))
    assert client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [ROW] * 4}).status_code == 413


@pytest.mark.parametrize(
    "body",
    [b'{"rows": [[1, 2, 3, "\\ud800"]]}', b'{"rows": [{"\\ud800": 1}]}', b'{"columns": {"\\ud800": [1]}}'],
)
def test_half_a_surrogate_pair_is_no_text(succeeded: Callable[..., str], client: FlaskClient, body: bytes) -> None:
    """Half a surrogate pair is refused: JSON can write it, but neither a category nor an answer can hold it."""
    job_id = succeeded()
    answer = client.post(f"/v1/jobs/{job_id}/predict", data=body, content_type="application/json")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid")
