"""Exports over HTTP, of a job and of a model's version."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from flask.testing import FlaskClient
from safetensors import numpy as safetensors
from sklearn.datasets import load_iris
from werkzeug.test import TestResponse

from service.context import Parts
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.versions import register_version
from worker.records.weights import find_weights_id

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


@pytest.fixture
def job_id(succeeded: Callable[..., str]) -> str:
    return succeeded(training={"epochs": 10})


@pytest.fixture
def version(job_id: str, parts: Parts) -> str:
    """The address of version 1 of the model iris."""
    parts.database.write(
        lambda session: register_version(session, DEFAULT_PROJECT, "iris", find_weights_id(session, job_id))
    )
    return "/v1/models/iris/versions/1"


def test_the_onnx_file_serves_what_predict_serves(version: str, job_id: str, client: FlaskClient) -> None:
    """From raw columns the file gives the labels and probabilities that the service answers."""
    answer = client.get(f"{version}/export?format=onnx")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="iris-1.onnx"'
    rows = load_iris().data
    session = onnxruntime.InferenceSession(answer.data, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(None, {name: rows[:, n : n + 1] for n, name in enumerate(NAMES)})
    served = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": rows.tolist()}).get_json()
    assert labels.tolist() == served["predictions"]
    np.testing.assert_allclose(probabilities, served["probabilities"], atol=1e-5)
    assert client.get(f"/v1/jobs/{job_id}/export?format=onnx").data == answer.data


def test_an_export_is_answered_once_to_who_has_it(version: str, job_id: str, client: FlaskClient) -> None:
    """Each format has an ETag, and a client that sends it back gets 304."""
    for address in (version, f"/v1/jobs/{job_id}"):
        for kind in ("safetensors", "onnx", "pytorch"):
            first = client.get(f"{address}/export?format={kind}")
            assert first.status_code == 200, first.get_json()
            tag = first.headers["ETag"]
            assert client.get(f"{address}/export?format={kind}", headers={"If-None-Match": tag}).status_code == 304


def test_the_safetensors_export_is_the_weights_file(version: str, job_id: str, client: FlaskClient) -> None:
    """A version's export has the arrays that its job's weights have."""
    exported = safetensors.load(client.get(f"{version}/export?format=safetensors").data)
    weights = safetensors.load(client.get(f"/v1/jobs/{job_id}/weights").data)
    assert exported.keys() == weights.keys()
    assert all(np.array_equal(exported[name], weights[name]) for name in weights)


def test_the_pytorch_export_is_a_program(version: str, client: FlaskClient) -> None:
    """It compiles, and has a name to be saved under. Other tests check that it predicts the same."""
    answer = client.get(f"{version}/export?format=pytorch")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="iris-1.py"'
    assert answer.mimetype == "text/x-python"
    compile(answer.get_data(as_text=True), "iris-1.py", "exec")


def test_a_jobs_export_is_of_the_epoch_that_was_asked_for(job_id: str, client: FlaskClient) -> None:
    """The file's name says which epoch it is of."""
    answer = client.get(f"/v1/jobs/{job_id}/export?format=safetensors&checkpoint=1")
    assert f'"{job_id}-1.safetensors"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/v1/models/iris/versions/1/export", 422),
        ("/v1/models/iris/versions/1/export?format=pickle", 422),
        ("/v1/models/iris/versions/2/export?format=onnx", 404),
        ("/v1/models/iris/versions/99999999999999999999/export?format=onnx", 404),
        ("/v1/models/wine/versions/1/export?format=onnx", 404),
        ("/v1/jobs/job_00000000000000000000000000000000/export?format=onnx", 404),
    ],
)
def test_what_is_not_there_or_not_known_is_refused(
    version: str, client: FlaskClient, address: str, status: int
) -> None:
    """An unknown format is 422, an unknown version or job 404."""
    answer = client.get(address)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_a_job_without_weights_has_no_export(post: Callable[..., TestResponse], client: FlaskClient) -> None:
    """A job that waits is 409 not_ready."""
    job_id = post().get_json()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/export?format=onnx")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "not_ready")
