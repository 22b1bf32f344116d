"""Imports over HTTP: a version that is served, and what is refused."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from safetensors import numpy as safetensors
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from service.context import Parts
from tests.worker.networks.strangers import ACTIVE, STATE, W1, model_of, then
from worker.records.tables import Blob, Chunk, Weights

BINARY = "application/octet-stream"
ROW = [0.5, -1.0, 2.0]


def send(client: FlaskClient, content: bytes, description: Any = None, name: str = "mine", **more: Any) -> TestResponse:
    """Send a state_dict as a form, with its description."""
    form: dict[str, Any] = {"file": (io.BytesIO(content), "../weights")}
    if description is not None:
        form["description"] = description if isinstance(description, str) else json.dumps(description)
    return client.post(f"/v1/models/{name}/versions?format=safetensors", data=form, **more)


TOLD = ACTIVE.model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_an_export_comes_back_and_predicts_the_same(
    client: FlaskClient, succeeded: Callable[..., str], kind: str
) -> None:
    """A job's export becomes a version without a job, which gives the same answers and the same files again."""
    job_id = succeeded()
    exported = client.get(f"/v1/jobs/{job_id}/export?format={kind}").data
    answer = client.post(f"/v1/models/back/versions?format={kind}", data=exported, content_type=BINARY)
    assert answer.status_code == 201, answer.get_json()
    version = answer.get_json()
    assert answer.headers["Location"] == "/v1/models/back/versions/1"
    assert (version["name"], version["version"], version["job_id"]) == ("back", 1, None)
    again = client.get("/v1/models/back/versions/1/export?format=safetensors").data
    ours, theirs = safetensors.load(client.get(f"/v1/jobs/{job_id}/weights").data), safetensors.load(again)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    rows = {"rows": [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 4.8, 1.8]]}
    by_job, by_version = (
        client.post(f"{address}/predict", json=rows).get_json()["probabilities"]
        for address in (f"/v1/jobs/{job_id}", "/v1/models/back/versions/1")
    )
    assert by_job == by_version
    assert client.get("/v1/models/back/versions/1/export?format=onnx").status_code == 200


def test_a_state_dict_becomes_a_version_that_is_served(client: FlaskClient, parts: Parts) -> None:
    """It predicts what its own arithmetic gives; the next import is version 2."""
    answer = send(client, safetensors.save(STATE), TOLD | {"classes": ["no", "yes"], "features": ["a", "b", "c"]})
    assert answer.status_code == 201, answer.get_json()
    assert answer.get_json()["classes"] == ["no", "yes"]
    a = np.maximum(np.array(ROW) @ W1 + STATE["0.bias"], 0)
    z = a @ STATE["2.weight"].T + STATE["2.bias"]
    expected = np.exp(z) / np.exp(z).sum()
    with parts.database.reading() as session:
        weights_id = session.scalar(select(Weights.id).where(Weights.kind == "imported"))
    served = parts.predictors.of_weights(weights_id).predict_rows([dict(zip("abc", ROW, strict=True))])
    np.testing.assert_allclose(served.probabilities, [expected], atol=1e-6)
    assert send(client, safetensors.save(STATE), TOLD).get_json()["version"] == 2


def test_an_onnx_file_becomes_a_version(client: FlaskClient) -> None:
    """A foreign ONNX file is imported, and its features get names."""
    content = model_of(then("Tanh"), {"w": W1})
    answer = client.post("/v1/models/net/versions?format=onnx", data=content, content_type=BINARY)
    assert answer.status_code == 201, answer.get_json()
    shown = client.get("/v1/models/net/versions/1").get_json()
    assert list(shown["input_schema"]["properties"]) == ["x0", "x1", "x2"]


def test_an_import_can_be_trained_further(
    client: FlaskClient, run: Callable[[str], str | None], post: Callable[..., TestResponse]
) -> None:
    """A job starts from its layers; while the job waits, the version can't be deleted."""
    state = {"0.weight": np.ones((6, 4), np.float32), "1.weight": np.ones((3, 6), np.float32)}
    features = ["sepal length", "sepal width", "petal length", "petal width"]
    description = {"activations": ["tanh", "softmax"], "features": features}
    assert send(client, safetensors.save(state), description, "start").status_code == 201
    job = {"dataset": {"source": "builtin", "name": "iris"}, "target": "label", "training": {"epochs": 2}}
    job_id = client.post("/v1/jobs", json=job | {"start_from": {"model": "start", "freeze": 1}}).get_json()["id"]
    assert client.delete("/v1/models/start/versions/1").status_code == 409
    assert run(job_id) == "succeeded"
    arrays = safetensors.load(client.get(f"/v1/jobs/{job_id}/weights").data)
    assert (arrays["layers.0.w"] == 1).all()
    assert not (arrays["layers.1.w"] == 1).all()
    assert client.delete("/v1/models/start/versions/1").status_code == 204


def test_an_imports_weights_go_with_its_last_version(client: FlaskClient, parts: Parts) -> None:
    """A large file is stored in several chunks, and none of them stays."""
    content = model_of(then("Relu"), {"w": np.ones((1500, 1000), np.float32)})
    assert client.post("/v1/models/wide/versions?format=onnx", data=content, content_type=BINARY).status_code == 201

    def left() -> list[Any]:
        with parts.database.reading() as session:
            return [session.scalar(select(func.count()).select_from(table)) for table in (Weights, Blob, Chunk)]

    assert left() == [1, 1, 2]
    assert client.delete("/v1/models/wide").status_code == 204
    assert left() == [0, 0, 0]


def test_the_same_key_imports_once(client: FlaskClient) -> None:
    """A repeat gets the answer of the first, and makes no second version."""
    content = model_of(then("Relu"), {"w": W1})
    answers = [
        client.post(
            "/v1/models/once/versions?format=onnx",
            data=content,
            content_type=BINARY,
            headers={"Idempotency-Key": "import-1"},
        )
        for _ in range(2)
    ]
    assert [answer.get_json()["version"] for answer in answers] == [1, 1]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("description", "pointer", "said"),
    [
        (None, "/activations", "one for each layer"),
        ({"activations": ["relu", "exec"]}, "/activations/1", ""),
        (TOLD | {"pickle": 1}, "/pickle", "extra"),
        (TOLD | {"features": ["a"]}, "/features", "must be 3 names"),
    ],
)
def test_a_bad_description_is_refused_by_pointer(
    client: FlaskClient, description: Any, pointer: str, said: str
) -> None:
    """The problem points at the member of the description that does not fit."""
    answer = send(client, safetensors.save(STATE), description)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == pointer
    assert said in answer.get_json()["errors"][0]["detail"]


def test_a_file_that_can_not_be_taken_is_refused_with_its_reason(client: FlaskClient, parts: Parts) -> None:
    """The problem names the node, and nothing is stored."""
    content = model_of(then("Conv", "w"), {"w": W1})
    answer = client.post("/v1/models/bad/versions?format=onnx", data=content, content_type=BINARY)
    assert answer.status_code == 422
    assert "node 1 (Conv 'second') can't be imported" in answer.get_json()["errors"][0]["detail"]
    assert client.get("/v1/models/bad").status_code == 404
    with parts.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Blob)) == 0


def test_a_bad_request_is_refused(client: FlaskClient) -> None:
    """A wrong format, media type, form, name or description has its status and a problem document."""
    address, content = "/v1/models/mine/versions", safetensors.save(STATE)
    fine = model_of(then("Relu"), {"w": W1})
    for refused, status in (
        (client.post(address, data=content, content_type=BINARY), 422),
        (client.post(f"{address}?format=pickle", data=content, content_type=BINARY), 422),
        (client.post(f"{address}?format=onnx", json={}), 415),
        (client.post(f"{address}?format=onnx", data={"file": (io.BytesIO(b"x"), "x"), "more": "y"}), 400),
        (client.post(f"{address}?format=onnx", data={"description": "{}"}, content_type="multipart/form-data"), 400),
        (client.post("/v1/models/a%20b/versions?format=onnx", data=fine, content_type=BINARY), 422),
        (send(client, content, "{not json"), 400),
        (send(client, content, '{"activations": [' + "[" * 100), 400),
    ):
        assert (refused.status_code, refused.mimetype) == (status, "application/problem+json"), refused.get_json()


def test_the_document_says_what_a_description_is(client: FlaskClient) -> None:
    """The OpenAPI document lists the form's parts: the file, and a description with the validator's schema."""
    document = client.get("/v1/openapi.json").get_json()
    sent = document["paths"]["/v1/models/{name}/versions"]["post"]["requestBody"]["content"]
    form = sent["multipart/form-data"]["schema"]["properties"]
    assert form["description"] == {"$ref": "#/components/schemas/Description"}
    assert "activations" in document["components"]["schemas"]["Description"]["properties"]
