"""Inference by the Open Inference Protocol, compared with /v1 and with the weights' own arithmetic."""

import gzip
import json
import zlib
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sklearn.datasets import load_iris
from sqlalchemy import event

from service.context import Parts
from tests.service.open_inference.conftest import tensor
from worker.records.identifiers import DEFAULT_PROJECT

X = load_iris().data[::10]
ROWS = {"name": "rows", "datatype": "FP64", "shape": list(X.shape), "data": X.ravel().tolist()}


def flat(rows: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(rows))


def raw_request(array: np.ndarray[Any, Any], datatype: str, **members: Any) -> tuple[bytes, dict[str, str]]:
    """Return a body with one raw input called rows, and its headers."""
    raw = array.tobytes()
    known = {"name": "rows", "datatype": datatype, "shape": list(array.shape)}
    known["parameters"] = {"binary_data_size": len(raw)}
    header = json.dumps({"inputs": [known]} | members).encode()
    return header + raw, {"Inference-Header-Content-Length": str(len(header))}


def test_classes_are_those_of_v1_to_the_bit(client: FlaskClient, infer: Callable[..., Any]) -> None:
    """One matrix, nested data, or one input for each column give the very numbers of /v1."""
    expected = client.post("/v1/models/iris/predict", json={"rows": X.tolist()}).get_json()
    outputs = infer("iris", ROWS)
    assert outputs == {
        "predictions": expected["predictions"],
        "probabilities": flat(expected["probabilities"]),
    }
    columns = [tensor(name, column.tolist()) for name, column in zip(names_of(client, "iris"), X.T, strict=True)]
    assert infer("iris", *reversed(columns)) == outputs
    assert infer("iris", ROWS | {"data": X.tolist()}) == outputs


def names_of(client: FlaskClient, name: str) -> list[str]:
    return list(client.get(f"/v1/models/{name}/versions/1").get_json()["input_schema"]["properties"])


def test_raw_tensors_in_and_out_are_those_of_v1_to_the_bit(client: FlaskClient) -> None:
    """Raw tensors give the very numbers of /v1, also without a Content-Type, as the public client sends them."""
    expected = client.post("/v1/models/iris/predict", json={"rows": X.tolist()}).get_json()["probabilities"]
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    body, headers = raw_request(X, "FP64", outputs=[output], id="7")
    answer = client.post("/v2/models/iris/infer", data=body, headers=headers)
    assert answer.content_type == "application/octet-stream"
    length = int(answer.headers["Inference-Header-Content-Length"])
    document = json.loads(answer.data[:length])
    assert (document["model_name"], document["model_version"], document["id"]) == ("iris", "1", "7")
    (told,) = document["outputs"]
    assert told["parameters"]["binary_data_size"] == len(answer.data) - length
    got = np.frombuffer(answer.data, "<f4", offset=length).reshape(told["shape"])
    np.testing.assert_array_equal(got, np.array(expected, np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int64", "uint16"])
def test_numbers_of_any_type_are_the_numbers_that_they_are(client: FlaskClient, dtype: str) -> None:
    """A matrix of any numeric datatype predicts what the same numbers predict in /v1."""
    sent = X.astype(dtype)
    datatype = np.dtype(dtype).name.replace("float", "fp").upper()
    expected = client.post("/v1/models/iris/predict", json={"rows": sent.astype(float).tolist()}).get_json()
    body, headers = raw_request(sent, datatype)
    outputs = client.post("/v2/models/iris/infer", data=body, headers=headers).get_json()["outputs"]
    assert outputs[1]["data"] == flat(expected["probabilities"])


def test_categories_missing_cells_and_an_ensembles_spread(client: FlaskClient, infer: Callable[..., Any]) -> None:
    """Empty text, null and NaN are missing cells, as null is in /v1, and an ensemble answers the same spread."""
    rows = [["oslo", 1.5], ["rome", None], [None, 3.0], ["rome", None]]
    expected = client.post("/v1/models/houses/predict", json={"rows": rows}).get_json()
    cities = tensor("city", ["oslo", "rome", "", "rome"], "BYTES", [4, 1])
    outputs = infer("houses", tensor("area", [1.5, None, 3.0, None]), cities)
    assert outputs == {"predictions": expected["predictions"], "spread": expected["spread"]}
    body = json.dumps({"inputs": [cities, tensor("area", [1.5, float("nan"), 3, float("nan")])]})
    assert "NaN" in body
    assert client.post("/v2/models/houses/infer", data=body).get_json()["outputs"][0]["data"] == outputs["predictions"]


def test_labels_are_ones_and_zeros(client: FlaskClient, infer: Callable[..., Any]) -> None:
    """Yes/no labels are answered as integers, with the probabilities of /v1."""
    rows = [[1, 2], [2, 4], [30, 3]]
    expected = client.post("/v1/models/tags/predict", json={"rows": rows}).get_json()
    outputs = infer("tags", tensor("rows", rows, "INT64", [3, 2]))
    assert outputs["predictions"] == flat(expected["predictions"])
    assert outputs["probabilities"] == flat(expected["probabilities"])


def test_encoded_rows_go_straight_into_the_network(
    client: FlaskClient, parts: Parts, infer: Callable[..., Any]
) -> None:
    """Rows that the test standardises itself, with the encoders of the weights' file, give the same bits."""
    served = parts.predictors.of_model(DEFAULT_PROJECT, "iris")
    codes = served.predictor.encoders.features
    x = ((X - [code.mean for code in codes]) / [code.scale for code in codes]).astype(np.float32)
    given = tensor("encoded", x.ravel().tolist(), "FP32", list(x.shape))
    assert infer("iris.encoded", given) == infer("iris", ROWS)
    answer = client.post("/v2/models/iris.encoded/infer", json={"inputs": [given]}).get_json()
    assert (answer["model_name"], answer["model_version"]) == ("iris.encoded", "1")


@pytest.mark.parametrize("number", [-1, 3, 0.5, 1e9])
def test_a_number_that_is_no_category_is_refused(client: FlaskClient, number: float) -> None:
    """A number that is not a category is refused: it would pick another category's weights, or none at all."""
    given = tensor("encoded", [[0, 1], [number, 1]], "FP32", [2, 2])
    answer = client.post("/v2/models/letters.encoded/infer", json={"inputs": [given]})
    assert answer.status_code == 400
    assert answer.get_json()["error"].endswith("from 0 to 2, the last for one never seen")
    assert "row 1, column 'colour'" in answer.get_json()["error"]
    given["data"] = [[0, 1], [2, 1]]
    assert client.post("/v2/models/letters.encoded/infer", json={"inputs": [given]}).status_code == 200


def test_a_model_of_that_very_name_goes_before(
    succeeded: Callable[..., str], client: FlaskClient, parts: Parts
) -> None:
    """A model whose own name ends in .encoded is found under that name."""
    assert client.get("/v2/models/iris.encoded").get_json()["inputs"][0]["name"] == "encoded"
    job_id = succeeded(training={"epochs": 1})
    client.post("/v1/models", json={"name": "iris.encoded", "job_id": job_id})
    parts.addresses._no_models.clear()
    assert client.get("/v2/models/iris.encoded").get_json()["inputs"][0]["name"] == "rows"
    assert client.get("/v2/models/iris.encoded.encoded").get_json()["inputs"][0]["name"] == "encoded"


def test_the_highest_are_told_as_value_index_and_label(infer: Callable[..., Any]) -> None:
    """With `classification` the highest probabilities come in order, each as value:index:label."""
    probabilities = np.reshape(infer("iris", ROWS)["probabilities"], (-1, 3))
    asked = [{"name": "probabilities", "parameters": {"classification": 2}}]
    strings = infer("iris", ROWS, outputs=asked)["probabilities"]
    order = np.argsort(-probabilities, axis=1)[:, :2]
    assert len(strings) == order.size
    for text, row, n in zip(strings, np.repeat(probabilities, 2, axis=0), order.ravel(), strict=True):
        value, index, label = text.split(":")
        assert (np.float32(value), int(index)) == (row[n], n)
        assert label == ("setosa", "versicolor", "virginica")[n]
    asked[0]["parameters"]["classification"] = 99
    assert len(infer("iris", ROWS, outputs=asked)["probabilities"]) == probabilities.size


def test_an_outputs_own_word_goes_before_the_requests(client: FlaskClient) -> None:
    """binary_data of an output takes precedence over binary_data_output of the request."""
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "predictions"}]
    document = {"inputs": [ROWS], "parameters": {"binary_data_output": True}, "outputs": outputs}
    answer = client.post("/v2/models/iris/infer", json=document)
    length = int(answer.headers["Inference-Header-Content-Length"])
    told = json.loads(answer.data[:length])["outputs"]
    assert [output["name"] for output in told] == ["probabilities", "predictions"]
    assert "data" in told[0]
    assert told[1]["parameters"]["binary_data_size"] == len(answer.data) - length


def test_no_rows_give_no_predictions(infer: Callable[..., Any]) -> None:
    """A matrix or columns of no rows are answered with empty outputs."""
    assert infer("iris", ROWS | {"shape": [0, 4], "data": []}) == {"predictions": [], "probabilities": []}
    given = (tensor("city", [], "BYTES", [0]), tensor("area", [], "FP64", [0]))
    assert infer("houses", *given)["predictions"] == []


def test_versions_by_number_and_by_alias(succeeded: Callable[..., str], client: FlaskClient) -> None:
    """A version in the address is a number or an alias; anything else is a 404."""
    succeeded(model="iris", training={"epochs": 1})
    client.put("/v1/models/iris/aliases/production", json={"version": 1})
    for version, number in (("1", "1"), ("2", "2"), ("production", "1")):
        answer = client.post(f"/v2/models/iris/versions/{version}/infer", json={"inputs": [ROWS]})
        assert answer.get_json()["model_version"] == number
    assert client.post("/v2/models/iris/infer", json={"inputs": [ROWS]}).get_json()["model_version"] == "2"
    for version in ("3", "0", "01", "none", "9999999999", "-1", "a b"):
        assert client.post(f"/v2/models/iris/versions/{version}/infer", json={"inputs": [ROWS]}).status_code == 404


ENCODINGS = {"gzip": (gzip.compress, gzip.decompress), "deflate": (zlib.compress, zlib.decompress)}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bodies_are_inflated_and_answers_deflated(client: FlaskClient, encoding: str) -> None:
    """Compressed requests and answers carry the same bytes, and the header counts the JSON before compression."""
    compress, decompress = ENCODINGS[encoding]
    body, headers = raw_request(X, "FP64", parameters={"binary_data_output": True})
    plain = client.post("/v2/models/iris/infer", data=body, headers=headers)
    answer = client.post(
        "/v2/models/iris/infer",
        data=compress(body),
        headers=headers | {"Content-Encoding": encoding, "Accept-Encoding": encoding},
    )
    assert answer.headers["Content-Encoding"] == encoding
    assert decompress(answer.data) == plain.data
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"no gzip", 400),
        ("gzip", gzip.compress(b"{}" * 100, mtime=0)[:-9], 400),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"rest", 400),
        ("deflate", zlib.compress(b"{}" * 100)[:-5], 400),
        ("deflate", zlib.compress(b"{}") + b"rest", 400),
        ("deflate", b"no deflate", 400),
        ("br", b"{}", 415),
        ("gzip, gzip", b"{}", 415),
        ("gzip", gzip.compress(b"0" * 3_000_000, mtime=0), 413),
        ("deflate", zlib.compress(b"0" * 3_000_000), 413),
    ],
)
def test_a_body_that_does_not_inflate_is_refused(
    client: FlaskClient, parts: Parts, encoding: str, body: bytes, status: int
) -> None:
    """A body that does not inflate, or that inflates past the limit, is refused."""
    object.__setattr__(parts, "settings", parts.settings.model_copy(update={"body_bytes_limit": 2_000_000}))
    answer = client.post("/v2/models/iris/infer", data=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, list(answer.get_json())) == (status, ["error"])
    said = {400: f"the body is not {encoding}", 413: "inflates to more than 2000000 bytes", 415: "gzip or deflate"}
    assert said[status] in answer.get_json()["error"]


def changed(**members: Any) -> dict[str, Any]:
    return {"inputs": [ROWS | members]}


def without(name: str) -> dict[str, Any]:
    return {"inputs": [{member: value for member, value in ROWS.items() if member != name}]}


BINARY = {"parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "/inputs"),
        ([], "should be"),
        ({"inputs": []}, "'rows': is missing"),
        ({"inputs": [ROWS, ROWS]}, "twice"),
        ({"inputs": [ROWS, ROWS | {"name": "other"}]}, "'other': the model has none of this name"),
        (changed(name="row"), "'row': the model has none of this name; it takes 'rows'"),
        ({"inputs": [tensor("sepal length", [1])]}, "'sepal width': is missing"),
        ({"inputs": [tensor("sepal length", [1]), tensor("rows", [1])]}, "none of this name"),
        (changed(shape=[60]), "must be of shape [-1, 4], got [60]"),
        (changed(shape=[3, 5, 4]), "must be of shape [-1, 4], got [3, 5, 4]"),
        (changed(shape=[20, 3]), "must be of shape [-1, 4], got [20, 3]"),
        (changed(shape=[-15, -4]), "/inputs/0/shape/0"),
        (changed(shape=[14, 4]), "has 56 elements, the data have 60"),
        (changed(shape=[16, 4]), "has 64 elements, the data have 60"),
        (changed(data=X.T.tolist()), "not nested as their shape"),
        (changed(datatype="FP8"), "/inputs/0/datatype"),
        (changed(datatype="BYTES"), "must be numbers, got BYTES"),
        (changed(datatype="BOOL"), "must be numbers, got BOOL"),
        (changed(datatype="INT64"), "element 0 is not INT64"),
        (changed(datatype="FP16"), "binary"),
        (changed(data=[1e300] * 60), "too large"),
        (without("data"), "neither data nor"),
        (without("shape"), "/inputs/0/shape"),
        (changed(**BINARY), "both data and"),
        ({"inputs": [without("data")["inputs"][0] | BINARY]}, "is 8 bytes, of which the body has 0"),
        (changed(parameters={"binary_data_size": -1}), "binary_data_size"),
        (changed(parameters={"shared_memory_region": "x"}), "shared_memory_region"),
        (changed() | {"outputs": [{"name": "nothing"}]}, "'nothing': the model has none of this name"),
        (changed() | {"outputs": [{"name": "predictions"}] * 2}, "asked for twice"),
        (changed() | {"outputs": [{"name": "predictions", "parameters": {"classification": 1}}]}, "needs numbers"),
        (changed() | {"outputs": [{"name": "probabilities", "parameters": {"classification": 0}}]}, "classification"),
        (changed() | {"input": 1}, "/input"),
        (changed() | {"id": 7}, "/id"),
    ],
)
def test_a_request_that_does_not_fit_is_a_400(client: FlaskClient, document: Any, said: str) -> None:
    """Every fault of a document or its tensors is a 400 that names it."""
    answer = client.post("/v2/models/iris/infer", json=document)
    assert (answer.status_code, answer.content_type) == (400, "application/json"), answer.get_data()
    assert list(answer.get_json()) == ["error"]
    assert said in answer.get_json()["error"]


@pytest.mark.parametrize(
    ("length", "cut", "said"),
    [
        ("99999", 0, "says 99999 bytes; the body has"),
        ("-1", 0, "must be a number"),
        ("1e3", 0, "must be a number"),
        ("", 0, "must be a number"),
        ("9" * 5000, 0, "must be a number"),
        ("5", 0, "not JSON"),
        ("0", 0, "empty"),
        (None, 1, "of which the body has"),
        (None, -1, "1 bytes are left over"),
    ],
)
def test_a_body_whose_parts_do_not_add_up_is_a_400(
    client: FlaskClient, length: str | None, cut: int, said: str
) -> None:
    """A header or sizes that do not match the bytes of the body are a 400."""
    body, headers = raw_request(X, "FP64")
    if length is not None:
        headers = {"Inference-Header-Content-Length": length}
    body = body[: len(body) - cut] if cut >= 0 else body + b"x"
    answer = client.post("/v2/models/iris/infer", data=body, headers=headers)
    assert (answer.status_code, list(answer.get_json())) == (400, ["error"])
    assert said in answer.get_json()["error"]


def test_raw_bytes_of_another_size_than_their_shape_are_a_400(client: FlaskClient) -> None:
    """Raw bytes that are too many for their shape are a 400 with both sizes."""
    body, headers = raw_request(X, "FP32")
    answer = client.post("/v2/models/iris/infer", data=body, headers=headers)
    assert answer.get_json() == {"error": "the input 'rows': FP32 of shape [15, 4] is 240 bytes, got 480"}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([tensor("city", ["oslo"], "BYTES")], "'area': is missing"),
        ([tensor("city", ["oslo"], "BYTES"), tensor("area", ["1"], "BYTES")], "must be numbers, got BYTES"),
        ([tensor("city", ["oslo", "rome"], "BYTES"), tensor("area", [1])], "must be of shape [2] or [2, 1]"),
        ([tensor("city", ["oslo"], "BYTES", [1, 1, 1]), tensor("area", [1])], "must be of shape"),
        (
            [tensor("rows", [[1, 2]], "FP64", [1, 2])],
            "'rows': the model has none of this name; it takes 'city', 'area'",
        ),
    ],
)
def test_columns_that_do_not_fit_are_a_400(client: FlaskClient, inputs: Any, said: str) -> None:
    """Missing, misshapen or mistyped columns, and unknown categories, are a 400 that names the input."""
    answer = client.post("/v2/models/houses/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert said in answer.get_json()["error"]


def test_more_rows_than_the_limit_are_refused_before_they_are_read(client: FlaskClient, parts: Parts) -> None:
    """The shape alone shows that there are too many rows: the data need not even be valid."""
    object.__setattr__(parts, "settings", parts.settings.model_copy(update={"predict_rows_limit": 14}))
    assert client.post("/v2/models/iris/infer", json={"inputs": [ROWS | {"data": []}]}).status_code == 413


def test_errors_of_every_kind_are_told_in_the_protocols_words(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not found, not allowed, no key, too long and an internal error all have the protocol's form."""

    def broken(*_: object) -> None:
        raise RuntimeError("SELECT secret")

    app.config["MAX_CONTENT_LENGTH"] = 10_000
    answers = {
        404: client.get("/v2/models/nothing"),
        405: client.get("/v2/models/iris/infer"),
        401: app.test_client().post("/v2/models/iris/infer"),
        413: client.post("/v2/models/iris/infer", data=b"x" * 10_001),
        406: client.get("/v2", headers={"Accept": "text/html"}),
    }
    monkeypatch.setattr("service.open_inference.infer_routes.read_inference", broken)
    answers[500] = client.post("/v2/models/iris/infer", json={})
    for status, answer in answers.items():
        assert (answer.status_code, answer.content_type) == (status, "application/json")
        assert list(answer.get_json()) == ["error"]
        assert "SELECT" not in answer.get_data(as_text=True)
    for path in ("/v2/nothing", "/v2/models/a/b/c", "/v2/models/iris%2Fx/infer", "/v2/models/a%00b"):
        assert list(client.get(path).get_json()) == ["error"], path
    assert client.get("/v1/nothing").get_json()["code"] == "not_found"
    assert answers[401].headers["WWW-Authenticate"] == "Bearer"
    assert answers[405].headers["Allow"]


def test_a_warm_request_asks_the_database_nothing(client: FlaskClient, parts: Parts) -> None:
    """Within a second of the last request to a model or to NAME.encoded, no statement is sent."""
    given = tensor("encoded", X.tolist(), "FP64", list(X.shape))
    asked = [("iris", ROWS), ("iris.encoded", given)]
    for name, input_ in asked:
        client.post(f"/v2/models/{name}/infer", json={"inputs": [input_]})
    statements: list[str] = []
    event.listen(parts.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    for name, input_ in asked:
        assert client.post(f"/v2/models/{name}/infer", json={"inputs": [input_]}).status_code == 200
    assert statements == []
