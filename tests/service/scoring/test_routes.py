"""MLflow's scoring protocol: the bodies that its documentation shows, its errors, its media types."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sklearn.datasets import load_iris

from service.context import Parts

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
X = load_iris().data[::25].tolist()
SPLIT = {"columns": NAMES, "data": X}


@pytest.fixture
def predicted(client: FlaskClient) -> list[str]:
    found: list[str] = client.post("/v1/models/iris/predict", json={"rows": X}).get_json()["predictions"]
    assert len(set(found)) > 1
    return found


@pytest.fixture
def invoke(client: FlaskClient) -> Callable[..., Any]:
    """The predictions of a body."""

    def invoke(body: Any, name: str = "iris", content_type: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = client.post(f"/models/{name}/invocations", data=data, content_type=content_type)
        assert (answer.status_code, answer.content_type) == (200, "application/json"), answer.get_data()
        document = answer.get_json()
        assert list(document) == ["predictions"]
        return document["predictions"]

    return invoke


def test_it_answers_ping_health_and_version(client: FlaskClient) -> None:
    """Ping and health answer an empty line and version our version; an unknown model or version is a 404."""
    for base in ("/models/iris", "/models/iris/versions/1"):
        for call in ("ping", "health"):
            answer = client.get(f"{base}/{call}")
            assert (answer.status_code, answer.data) == (200, b"\n")
        version = client.get(f"{base}/version").get_data(as_text=True)
        assert version == client.get("/v1/system").get_json()["version"]
    assert client.get("/models/none/ping").status_code == 404
    assert client.get("/models/iris/versions/2/health").status_code == 404


@pytest.mark.parametrize(
    "form",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": SPLIT | {"index": list(range(len(X)))}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in X]}},
        {"dataframe_split": {"columns": [*NAMES, "note"], "data": [[*row, "x"] for row in X]}},
        {"dataframe_split": {"columns": [0, 1, 2, 3], "data": X}},
        {"dataframe_split": {"data": X}},
        {"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in X]},
        {"dataframe_records": [dict(zip(NAMES[::-1], row[::-1], strict=True)) | {"note": 1} for row in X]},
        {"instances": X},
        {"instances": [dict(zip(NAMES, row, strict=True)) for row in X]},
        {"instances": [{name: [cell] for name, cell in zip(NAMES, row, strict=True)} for row in X]},
        {"inputs": X},
        {"inputs": {name: list(column) for name, column in zip(NAMES, zip(*X, strict=True), strict=True)}},
        {
            "inputs": {
                name: [[cell] for cell in column] for name, column in zip(NAMES, zip(*X, strict=True), strict=True)
            }
        },
        {"inputs": X, "params": {"temperature": 0.5, "max_tokens": 20}},
        {"inputs": X, "params": None},
    ],
)
def test_every_form_of_the_same_rows_gives_the_predictions_of_v1(
    predicted: list[str], invoke: Callable[..., Any], form: dict[str, Any]
) -> None:
    """All forms of MLflow's body give the predictions of /v1 for the same rows."""
    assert invoke(form) == predicted


def test_the_documentations_own_bodies(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """The bodies in MLflow's "Deploy MLflow Model as a Local Inference Server" and "MLflow Model Serving" predict."""
    columns = ["feature1", "feature2", "feature3", "feature4"]
    for name, features in (("two", columns[:2]), ("four", columns), ("one", columns[:1])):
        rows = [[n * (k + 1) % 7 for k in range(len(features))] + [n] for n in range(20)]
        inline = {"source": "inline", "columns": [*features, "y"], "rows": rows}
        succeeded(model=name, dataset=inline, target="y", training={"epochs": 1})
    bodies = [
        ("two", '{"inputs": [[1, 2], [3, 4], [5, 6]]}', [[1, 2], [3, 4], [5, 6]]),
        ("four", '{"inputs": [[1, 2, 3, 4]]}', [[1, 2, 3, 4]]),
        (
            "four",
            '{"dataframe_split": {"columns": ["feature1", "feature2", "feature3", "feature4"], "data": [[1,2,3,4]]}}',
            [[1, 2, 3, 4]],
        ),
        ("one", '{"instances": [1.0, 2.0, 5.0]}', [[1.0], [2.0], [5.0]]),
    ]
    for name, body, rows in bodies:
        answer = client.post(f"/models/{name}/invocations", data=body, headers={"Content-Type": "application/json"})
        expected = client.post(f"/v1/models/{name}/predict", json={"rows": rows}).get_json()["predictions"]
        assert answer.get_json() == {"predictions": expected}


def test_missing_cells_are_imputed_in_every_form(client: FlaskClient, invoke: Callable[..., Any]) -> None:
    """null, NaN, an absent member of a record and an empty cell of a CSV are missing cells."""
    rows = [["oslo", None], [None, 2.0]]
    expected = client.post("/v1/models/houses/predict", json={"rows": rows}).get_json()["predictions"]
    split = {"dataframe_split": {"columns": ["area", "city"], "data": [[None, "oslo"], [2.0, float("nan")]]}}
    assert invoke(split, "houses") == expected
    assert invoke({"dataframe_records": [{"city": "oslo"}, {"area": 2}]}, "houses") == expected
    assert invoke({"inputs": {"city": ["oslo", None], "area": [None, 2]}}, "houses") == expected
    for text in (b"city,area\noslo,\n,2\n", b",city,area\n0,oslo,\n1,,2\n"):
        assert invoke(text, "houses", "text/csv") == expected


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8", "text/csv;charset=UTF-8"])
def test_csv_is_read_by_column_name(predicted: list[str], invoke: Callable[..., Any], content_type: str) -> None:
    """CSV columns in another order predict the same, with or without a charset."""
    lines = [",".join(reversed(NAMES)), *(",".join(map(str, reversed(row))) for row in X)]
    assert invoke("\n".join(lines).encode(), content_type=content_type) == predicted


def test_a_version_is_asked_by_number_or_alias(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """A version in the address is a number or an alias; without one the newest predicts."""
    succeeded(model="iris", training={"epochs": 1, "seed": 3})
    client.put("/v1/models/iris/aliases/production", json={"version": 1})
    expected = client.post("/v1/models/iris/versions/1/predict", json={"rows": X}).get_json()["predictions"]
    newest = client.post("/v1/models/iris/predict", json={"rows": X}).get_json()["predictions"]
    assert expected != newest
    for version in ("1", "production"):
        answer = client.post(f"/models/iris/versions/{version}/invocations", json={"inputs": X})
        assert answer.get_json() == {"predictions": expected}
    assert client.post("/models/iris/invocations", json={"inputs": X}).get_json() == {"predictions": newest}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[[1, 2, 3, 4]]", "must be an object"),
        (b'"x"', "must be an object"),
        (b"{}", "exactly one of"),
        (b'{"params": {}}', "exactly one of"),
        (b'{"inputs": [], "instances": []}', "exactly one of"),
        (b'{"inputs": null}', "should not be null"),
        (b'{"rows": [[1, 2, 3, 4]]}', "/rows"),
        (b'{"inputs": 1}', "/inputs"),
        (b'{"inputs": [[1, 2, 3]]}', "row 0 expected 4 cells, got 3"),
        (b'{"inputs": [1, 2, 3, 4]}', "row 0 expected 4 cells, got 1"),
        (b'{"inputs": [[1, 2, 3, "4b"]]}', "row 0, column 'petal width' must be a number"),
        (b'{"inputs": [[1, 2, 3, [4]]]}', "row 0, column 'petal width' must be a number"),
        (b'{"inputs": [[1, 2, 3, Infinity]]}', "not JSON"),
        (b'{"inputs": {"sepal length": [1]}}', "column 'sepal width' this column is missing"),
        (b'{"instances": [{"sepal length": 1}]}', "row 0, column 'sepal width' this column is missing"),
        (b'{"dataframe_records": [{"sepal length": 1}]}', "column 'sepal width' this column is missing"),
        (b'{"dataframe_records": [[1]]}', "/dataframe_records/0"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', "two columns have the same name"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', "column 'sepal length' this column is missing"),
        (b'{"dataframe_split": {"columns": ["a"], "dat": [[1]]}}', "/dataframe_split"),
        (b'{"dataframe_split": [[1]]}', "/dataframe_split"),
    ],
)
def test_a_bad_body_is_a_400_in_mlflows_words(client: FlaskClient, body: bytes, said: str) -> None:
    """A body that is not valid is a 400 with MLflow's error_code and a message that says what is wrong."""
    answer = client.post("/models/iris/invocations", data=body, content_type="application/json")
    assert (answer.status_code, answer.content_type) == (400, "application/json"), answer.get_data()
    document = answer.get_json()
    assert (list(document), document["error_code"]) == (["error_code", "message"], "BAD_REQUEST")
    assert said in document["message"]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/csv", "application/json; charset=utf-16", "application/json; format=pandas-split"],
)
def test_another_media_type_charset_or_parameter_is_a_415_as_text(client: FlaskClient, content_type: str) -> None:
    """A media type, charset or parameter that is not known is refused in plain text, as MLflow does."""
    answer = client.post("/models/iris/invocations", data=b'{"inputs": []}', content_type=content_type)
    assert (answer.status_code, answer.mimetype) == (415, "text/plain")
    assert answer.get_data(as_text=True)


def test_errors_of_every_kind_have_mlflows_shape(app: Flask, client: FlaskClient, parts: Parts) -> None:
    """Every error below /models has MLflow's two members and its word for the status."""
    object.__setattr__(parts, "settings", parts.settings.model_copy(update={"predict_rows_limit": 2}))
    answers = {
        (404, "RESOURCE_DOES_NOT_EXIST"): client.post("/models/none/invocations", json={"inputs": X}),
        (405, "BAD_REQUEST"): client.get("/models/iris/invocations"),
        (401, "UNAUTHENTICATED"): app.test_client().get("/models/iris/ping"),
        (413, "BAD_REQUEST"): client.post("/models/iris/invocations", json={"inputs": X}),
    }
    for (status, code), answer in answers.items():
        assert (answer.status_code, answer.get_json()["error_code"]) == (status, code)
        assert list(answer.get_json()) == ["error_code", "message"]
    assert client.get("/models/nothing/here").get_json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
