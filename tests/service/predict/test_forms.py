"""Predicting by name, and in every media type of body and answer: all give the same."""

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from service.context import Parts
from worker.records.identifiers import DEFAULT_PROJECT

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [7.0, 3.0, 6.1, 2.3], [6.0, 2.7, 4.2, 1.3]]
COLUMNS = {name: list(cells) for name, cells in zip(NAMES, zip(*ROWS, strict=True), strict=True)}
JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def arrow(columns: dict[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def text(columns: dict[str, Any]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


BODIES: dict[str, Any] = {JSON: None, CSV: text(COLUMNS), NPY: npy(ROWS), ARROW: arrow(COLUMNS)}


@pytest.fixture
def job_id(succeeded: Callable[..., str]) -> str:
    return succeeded(model="iris", training={"epochs": 40, "batch_size": 8})


@pytest.fixture
def ask(client: FlaskClient, job_id: str) -> Callable[..., TestResponse]:
    """Post a body of one media type to predict, and accept another."""

    def ask(
        body: Any = None, content_type: str = JSON, accept: str | None = None, query: str = "", path: str = ""
    ) -> TestResponse:
        headers = {} if accept is None else {"Accept": accept}
        place = path or f"/v1/jobs/{job_id}/predict"
        if content_type == JSON and not isinstance(body, bytes):
            return client.post(f"{place}{query}", json=body or {"rows": ROWS}, headers=headers)
        return client.post(f"{place}{query}", data=body, content_type=content_type, headers=headers)

    return ask


def probabilities_of(answer: TestResponse) -> Any:
    """Return the probabilities of each row and class, whatever the answer's media type."""
    if answer.mimetype == JSON:
        return np.array(answer.get_json()["probabilities"])
    if answer.mimetype == NPY:
        return np.load(io.BytesIO(answer.data), allow_pickle=False)
    if answer.mimetype == ARROW:
        rows = pa.ipc.open_stream(answer.data).read_all().to_pylist()
    else:
        rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert [row["prediction"] for row in rows] == ["setosa", "virginica", "versicolor"]
    return np.array(
        [[float(row[f"probability of {c}"]) for c in ("setosa", "versicolor", "virginica")] for row in rows]
    )


def test_a_job_its_model_a_version_and_an_alias_predict_alike(
    client: FlaskClient, job_id: str, ask: Callable[..., TestResponse]
) -> None:
    """Every address of the same weights gives the same probabilities, and names what predicted."""
    client.put("/v1/models/iris/aliases/production", json={"version": 1})
    expected = ask().get_json()
    assert expected["model"] == {"name": None, "version": None, "job_id": job_id}
    for path in ("iris", "iris/versions/1", "iris/aliases/production"):
        found = ask(path=f"/v1/models/{path}/predict").get_json()
        assert found["model"] == {"name": "iris", "version": 1, "job_id": job_id}
        assert found["probabilities"] == expected["probabilities"]
    for path in ("other", "iris/versions/2", "iris/aliases/canary", "iris/versions/99999999999999"):
        assert ask(path=f"/v1/models/{path}/predict").status_code == 404


def test_a_moved_alias_answers_at_once_with_the_other_version(
    client: FlaskClient, job_id: str, succeeded: Callable[..., str], ask: Callable[..., TestResponse]
) -> None:
    """The process that moved an alias answers with the new version at once; the bare name means the newest version."""
    second = succeeded(model="iris", training={"epochs": 1})
    path = "/v1/models/iris/aliases/production"
    for version, made_by in ((1, job_id), (2, second), (1, job_id)):
        client.put(path, json={"version": version})
        assert ask(path=f"{path}/predict").get_json()["model"]["job_id"] == made_by
    assert ask(path="/v1/models/iris/predict").get_json()["model"]["version"] == 2
    client.delete("/v1/models/iris/versions/2")
    assert ask(path="/v1/models/iris/predict").get_json()["model"]["version"] == 1
    assert ask(path="/v1/models/iris/versions/2/predict").status_code == 404


def test_a_warm_predict_by_alias_asks_the_database_nothing(
    client: FlaskClient, parts: Parts, ask: Callable[..., TestResponse]
) -> None:
    """Within a second of the last request by this alias, no statement is sent."""
    client.put("/v1/models/iris/aliases/production", json={"version": 1})
    path = "/v1/models/iris/aliases/production/predict"
    ask(path=path)
    statements: list[str] = []
    event.listen(parts.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert ask(path=path).status_code == 200
    assert statements == []


@pytest.mark.parametrize("accept", [None, *BODIES])
@pytest.mark.parametrize("content_type", BODIES)
def test_every_form_in_and_every_form_out_tell_the_same(
    ask: Callable[..., TestResponse], content_type: str, accept: str | None
) -> None:
    """All media types carry the same probabilities; without Accept the answer has the body's."""
    answer = ask(BODIES[content_type], content_type, accept)
    assert (answer.status_code, answer.mimetype) == (200, accept or content_type)
    expected = np.array(ask().get_json()["probabilities"])
    np.testing.assert_allclose(probabilities_of(answer), expected, atol=1e-6)


def test_columns_are_taken_by_name_in_any_order(ask: Callable[..., TestResponse]) -> None:
    """Columns in another order predict the same."""
    backwards = dict(reversed(COLUMNS.items()))
    assert ask({"columns": backwards}).get_json() == ask().get_json()


@pytest.mark.parametrize(
    ("columns", "pointer", "row"),
    [
        ({}, "/columns", None),
        (COLUMNS | {"petal width ": [1, 2, 3]}, "/columns/petal width", None),
        (COLUMNS | {"petal width": [1, 2]}, "/columns/petal width", None),
        (COLUMNS | {"petal width": [1, "2b", 3]}, "/columns/petal width/1", 1),
    ],
)
def test_a_faulty_column_is_pointed_at(
    ask: Callable[..., TestResponse], columns: Any, pointer: str, row: int | None
) -> None:
    """A missing, unknown, short or mistyped column is refused with its pointer and row."""
    answer = ask({"columns": columns})
    error = answer.get_json()["errors"][0]
    assert (answer.status_code, error["pointer"], error.get("row")) == (422, pointer, row)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", ""),
        (b'{"rows": [], "columns": {}}', ""),
        (b'{"rows": [1], "top_k": 1}', "/rows/0"),
        (b'{"columns": {"a": 1}}', "/columns/a"),
        (b'{"columns": []}', "/columns"),
        (b'{"rows": [], "top_k": 0}', "/top_k"),
        (b'{"rows": [], "top_k": true}', "/top_k"),
        (b'{"rows": [], "probabilities": 1}', "/probabilities"),
        (b'{"rows": [], "top": 1}', "/top"),
        (b"null", ""),
    ],
)
def test_a_body_of_another_shape_is_pointed_at(ask: Callable[..., TestResponse], body: bytes, pointer: str) -> None:
    """Each member that is not valid is refused with its pointer."""
    answer = ask(body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.get_json()["errors"]]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (NPY, b"", 422),
        (NPY, npy(np.zeros((2, 3))), 422),
        (NPY, npy(np.array([[np.inf, 1, 1, 1]])), 422),
        (ARROW, b"", 422),
        (ARROW, b"ARROW1\0\0", 422),
        (ARROW, arrow({"x": [1]}), 422),
        (ARROW, arrow(COLUMNS | {"petal width": ["1", "2", "b"]}), 422),
        (CSV, b"", 422),
        ("application/x-pickle", b"x", 415),
        ("", b"x", 415),
    ],
)
def test_a_body_that_can_not_be_read_is_refused(
    ask: Callable[..., TestResponse], content_type: str, body: bytes, status: int
) -> None:
    """A broken array, stream or table is a 422, and another media type a 415."""
    answer = ask(body, content_type)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def test_a_form_that_nobody_offers_is_not_acceptable(ask: Callable[..., TestResponse]) -> None:
    """An Accept without any of our media types is a 406; otherwise its preference decides."""
    assert ask(accept="image/png").status_code == 406
    assert ask(BODIES[CSV], CSV, accept="*/*").mimetype == CSV
    assert ask(accept="text/csv;q=0.5, application/x-npy").mimetype == NPY


@pytest.mark.parametrize("limit", [{"predict_rows_limit": 2}, {"predict_memory_bytes_limit": 500}])
def test_the_limits_hold_for_every_form(ask: Callable[..., TestResponse], parts: Parts, limit: dict[str, int]) -> None:
    """More rows than the limit, or more than the limit of memory has room for, are a 413 in every media type."""
    object.__setattr__(parts, "settings", parts.settings.model_copy(update=limit))
    for content_type, body in (BODIES | {JSON: {"columns": COLUMNS}}).items():
        assert ask(body, content_type).status_code == 413, content_type
    assert ask({"rows": ROWS}).status_code == 413


@pytest.mark.parametrize("how", ["query", "body"])
def test_the_most_probable_classes_come_in_order(ask: Callable[..., TestResponse], how: str) -> None:
    """top_k gives what an independent sort of all the probabilities gives, and leaves out the rest."""
    whole = ask().get_json()
    told = ask(query="?top_k=2").get_json() if how == "query" else ask({"rows": ROWS, "top_k": 2}).get_json()
    assert told["predictions"] == whole["predictions"]
    assert not {"classes", "probabilities"} & set(told)
    for row, every in zip(told["top"], whole["probabilities"], strict=True):
        ranked = sorted(zip(every, whole["classes"], strict=True), reverse=True)[:2]
        assert [(entry["class"], entry["probability"]) for entry in row] == [(name, p) for p, name in ranked]
    assert len(ask(query="?top_k=1000").get_json()["top"][0]) == 3
    plain = ask(query="?top_k=1&probabilities=false").get_json()["top"]
    assert plain == [[{"class": name}] for name in whole["predictions"]]
    table = pa.ipc.open_stream(ask(accept=ARROW, query="?top_k=2").data).read_all()
    assert table.column_names == ["top 1", "probability of top 1", "top 2", "probability of top 2"]
    assert table["top 1"].to_pylist() == whole["predictions"]


def test_probabilities_can_be_left_out(ask: Callable[..., TestResponse]) -> None:
    """probabilities=false leaves them out in every media type, and the body's option wins over the query's."""
    told = ask({"rows": ROWS, "probabilities": False}, query="?probabilities=true").get_json()
    assert (told["predictions"], "probabilities" in told) == (["setosa", "virginica", "versicolor"], False)
    assert told["classes"] == ["setosa", "versicolor", "virginica"]
    assert ask(BODIES[CSV], CSV, query="?probabilities=false").get_data(as_text=True).split()[0] == '"prediction"'
    positions = np.load(io.BytesIO(ask(accept=NPY, query="?probabilities=false").data))
    assert positions.tolist() == [0, 2, 1]


def test_an_option_without_a_use_is_refused(
    client: FlaskClient, succeeded: Callable[..., str], ask: Callable[..., TestResponse]
) -> None:
    """top_k for numbers or for an array is refused, with the place where it was given."""
    numbers = succeeded(dataset={"source": "generator", "name": "linear"}, target="target")
    path = f"/v1/jobs/{numbers}/predict"
    by_query = ask({"rows": [[0.1, 0.2]]}, query="?top_k=2", path=path)
    assert (by_query.status_code, by_query.get_json()["errors"][0]["parameter"]) == (422, "top_k")
    by_body = ask({"rows": [[0.1, 0.2]], "top_k": 2}, path=path)
    assert (by_body.status_code, by_body.get_json()["errors"][0]["pointer"]) == (422, "/top_k")
    assert ask(accept=NPY, query="?top_k=2").status_code == 422
    assert ask(query="?top_k=0").status_code == 422
    predicted = ask({"rows": [[0.1, 0.2], [0.3, 0.4]]}, path=path).get_json()["predictions"]
    as_array = np.load(io.BytesIO(ask({"rows": [[0.1, 0.2], [0.3, 0.4]]}, accept=NPY, path=path).data))
    np.testing.assert_allclose(as_array, predicted)


def test_values_that_training_never_saw_draw_a_warning(ask: Callable[..., TestResponse]) -> None:
    """A value outside the range of training is listed in JSON, and counted in a header elsewhere."""
    far = [*ROWS, [5.1, 3.5, 70, 0.2]]
    told = ask({"rows": far}).get_json()
    (warning,) = told["warnings"]
    assert (warning["row"], warning["column"]) == (3, "petal length")
    assert "above" in warning["detail"]
    assert "warnings" not in ask().get_json()
    for accept in (CSV, NPY, ARROW):
        assert ask({"rows": far}, accept=accept).headers["Prediction-Warnings"] == "1"
        assert "Prediction-Warnings" not in ask(accept=accept).headers


def test_an_integer_past_what_a_float_holds_is_rounded(ask: Callable[..., TestResponse]) -> None:
    """2^53 + 1 is a number in a table as it is in JSON."""
    big = COLUMNS | {"petal width": [2**53 + 1, 1, 1]}
    as_rows = [list(row) for row in zip(*big.values(), strict=True)]
    expected = ask({"rows": as_rows}).get_json()["probabilities"]
    for content_type, body in ((CSV, text(big)), (ARROW, arrow(big))):
        answer = ask(body, content_type, accept=JSON)
        assert answer.status_code == 200, answer.get_json()
        np.testing.assert_allclose(answer.get_json()["probabilities"], expected, atol=1e-6)


def test_ranked_classes_count_towards_the_memory_of_a_request(
    ask: Callable[..., TestResponse], parts: Parts, job_id: str
) -> None:
    """An answer that names several classes of each row takes more memory, and so it may have fewer rows."""
    predictor = parts.predictors.of_job(DEFAULT_PROJECT, job_id).predictor
    limit = len(ROWS) * predictor.row_bytes()
    settings = parts.settings.model_copy(update={"predict_memory_bytes_limit": limit})
    object.__setattr__(parts, "settings", settings)
    assert ask({"rows": ROWS}).status_code == 200
    assert ask({"rows": ROWS, "top_k": 2}).status_code == 413
