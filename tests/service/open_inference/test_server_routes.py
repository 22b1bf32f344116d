"""The Open Inference Protocol's metadata of the server and its models, and its count of requests."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from sqlalchemy import text

from service.context import Parts
from tests.service.conftest import MODELS
from tests.service.open_inference.conftest import tensor

ROWS = tensor("rows", [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], "FP64", [2, 4])


def test_the_server_is_alive_ready_and_says_what_it_speaks(client: FlaskClient, parts: Parts) -> None:
    """The server names its extensions, and is not ready if the schema is not this version's."""
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}
    for path in ("/v2", "/v2/"):
        server = client.get(path).get_json()
        assert (server["name"], sorted(server)) == ("gradmill", ["extensions", "name", "version"])
        assert server["extensions"] == ["binary_tensor_data", "classification", "statistics"]
    with parts.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'old'"))
    answer = client.get("/v2/health/ready")
    assert (answer.status_code, list(answer.get_json())) == (503, ["error"])


CLASSES = [
    {"name": "predictions", "datatype": "BYTES", "shape": [-1]},
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
]


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("iris", [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}], CLASSES),
        ("iris.encoded", [{"name": "encoded", "datatype": "FP32", "shape": [-1, 4]}], CLASSES),
        (
            "houses",
            [
                {"name": "city", "datatype": "BYTES", "shape": [-1]},
                {"name": "area", "datatype": "FP64", "shape": [-1]},
            ],
            [
                {"name": "predictions", "datatype": "FP64", "shape": [-1, 1]},
                {"name": "spread", "datatype": "FP64", "shape": [-1, 1]},
            ],
        ),
        # three indicators and a number: oslo, rome, missing
        ("houses.encoded", [{"name": "encoded", "datatype": "FP32", "shape": [-1, 4]}], None),
        ("letters.encoded", [{"name": "encoded", "datatype": "FP32", "shape": [-1, 2]}], None),
        (
            "tags",
            [{"name": "rows", "datatype": "FP32", "shape": [-1, 2]}],
            [
                {"name": "predictions", "datatype": "INT64", "shape": [-1, 2]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
            ],
        ),
    ],
)
def test_a_model_tells_its_inputs_and_outputs(
    client: FlaskClient, name: str, inputs: list[Any], outputs: list[Any] | None
) -> None:
    """A model's metadata have the names, datatypes and shapes of its tensors, raw and encoded."""
    model = client.get(f"/v2/models/{name}").get_json()
    assert (model["name"], model["versions"], model["platform"]) == (name, ["1"], "gradmill")
    assert model["inputs"] == inputs
    assert outputs is None or model["outputs"] == outputs
    assert client.get(f"/v2/models/{name}/versions/1").get_json() == model
    assert client.get(f"/v2/models/{name}/ready").get_json() == {"name": name, "ready": True}
    assert client.get(f"/v2/models/{name}/versions/1/ready").status_code == 200
    for path in (f"/v2/models/{name}/versions/2", f"/v2/models/{name}/versions/2/ready", "/v2/models/none/ready"):
        assert client.get(path).status_code == 404


def test_what_is_told_of_outputs_is_what_comes(client: FlaskClient) -> None:
    """For every kind of target, the outputs of an inference are those of the metadata."""
    asked = {
        "iris": [ROWS],
        "tags": [tensor("rows", [[1, 2], [3, 4]], "FP32", [2, 2])],
        "houses": [tensor("city", ["oslo", ""], "BYTES"), tensor("area", [1, 2])],
        "letters": [tensor("colour", ["red", "blue"], "BYTES"), tensor("size", [1, 2])],
    }
    for name, inputs in asked.items():
        told = client.get(f"/v2/models/{name}").get_json()["outputs"]
        outputs = client.post(f"/v2/models/{name}/infer", json={"inputs": inputs}).get_json()["outputs"]
        shapes = [[2, *output["shape"][1:]] for output in told]
        assert [(output["name"], output["datatype"]) for output in outputs] == [
            (output["name"], output["datatype"]) for output in told
        ]
        assert [output["shape"] for output in outputs] == shapes


def test_the_index_lists_the_newest_versions(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """The index lists each model's newest version, with or without a body, and refuses a body that is not valid."""
    succeeded(model="iris", training={"epochs": 1})
    expected = sorted((name, "2" if name == "iris" else "1") for name in MODELS)
    for body in (b"", b"{}", b'{"ready": true}'):
        listed = client.post("/v2/repository/index", data=body).get_json()
        assert [(model["name"], model["version"]) for model in listed] == expected
        assert {(model["state"], model["reason"]) for model in listed} == {("READY", "")}
    for body in (b"[]", b"{", b'{"bogus": 1}'):
        answer = client.post("/v2/repository/index", data=body)
        assert (answer.status_code, list(answer.get_json())) == (400, ["error"])


def test_statistics_count_rows_requests_and_failures(client: FlaskClient) -> None:
    """The counts are zero before any request, and the times of the phases add up to the whole."""
    before = time.time() * 1000
    (zero,) = client.get("/v2/models/iris/stats").get_json()["model_stats"]
    assert (zero["name"], zero["version"], zero["last_inference"], zero["inference_count"]) == ("iris", "1", 0, 0)
    for _ in range(3):
        assert client.post("/v2/models/iris/infer", json={"inputs": [ROWS]}).status_code == 200
    assert client.post("/v2/models/iris/infer", json={"inputs": []}).status_code == 400
    given = ROWS | {"name": "encoded"}
    assert client.post("/v2/models/iris.encoded/infer", json={"inputs": [given]}).status_code == 200
    (figures,) = client.get("/v2/models/iris/versions/1/stats").get_json()["model_stats"]
    assert (figures["inference_count"], figures["execution_count"], figures["batch_stats"]) == (6, 3, [])
    assert before <= figures["last_inference"] <= time.time() * 1000
    phases = figures["inference_stats"]
    counts = {phase: told["count"] for phase, told in phases.items()}
    assert counts == {
        "success": 3,
        "fail": 1,
        "queue": 3,
        "compute_input": 3,
        "compute_infer": 3,
        "compute_output": 3,
    }
    parts_of_it = sum(phases[name]["ns"] for name in ("compute_input", "compute_infer", "compute_output"))
    assert phases["success"]["ns"] == parts_of_it > 0
    assert phases["fail"]["ns"] > 0
    every = client.get("/v2/models/stats").get_json()["model_stats"]
    asked = {model["name"]: model["execution_count"] for model in every}
    assert asked == dict.fromkeys(MODELS, 0) | {"iris": 3, "iris.encoded": 1}
    assert client.get("/v2/models/iris.encoded/stats").get_json()["model_stats"][0]["execution_count"] == 1
    assert client.get("/v2/models/none/stats").status_code == 404


def test_answers_and_refusals_are_what_the_document_says(client: FlaskClient, app: Flask) -> None:
    """Every answer of the protocol's routes validates against the OpenAPI document."""
    document = client.get("/v1/openapi.json").get_json()
    one, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    answers = [
        ("get", "/v2", client.get("/v2")),
        ("get", "/v2/health/live", client.get("/v2/health/live")),
        ("get", "/v2/health/ready", client.get("/v2/health/ready")),
        ("get", one, client.get("/v2/models/iris")),
        ("get", version, client.get("/v2/models/iris/versions/9")),
        ("get", f"{one}/ready", client.get("/v2/models/iris/ready")),
        ("get", f"{one}/stats", client.get("/v2/models/iris/stats")),
        ("get", "/v2/models/stats", app.test_client().get("/v2/models/stats")),
        ("post", "/v2/repository/index", client.post("/v2/repository/index")),
        ("post", f"{one}/infer", client.post("/v2/models/iris/infer", json={"inputs": [ROWS]})),
        ("post", f"{version}/infer", client.post("/v2/models/iris/versions/1/infer", json={})),
    ]
    for method, path, answer in answers:
        responses = document["paths"][path][method]["responses"]
        described = responses[str(answer.status_code)]
        schema = described["content"][answer.mimetype]["schema"] | {"components": document["components"]}
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(answer.get_json())]
        assert errors == [], (method, path, answer.status_code)
