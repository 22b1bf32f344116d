"""Certificates and histograms over HTTP."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from safetensors import numpy as safetensors
from sklearn.datasets import load_iris
from werkzeug.test import TestResponse

NORMED = [{"type": "dense", "units": 6, "activation": "identity"}, {"type": "batch_norm", "activation": "tanh"}]


def test_a_finished_jobs_certificate_is_linked_and_shown(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """A job that has succeeded links to its certificate, which has a verdict for each layer."""
    job = client.get(f"/v1/jobs/{succeeded()}").get_json()
    found = client.get(job["links"]["certificate"]).get_json()
    assert found["verdict"] == "agrees"
    assert [layer["layer"] for layer in found["layers"]] == [0, 1]
    assert all(layer["relative_error"] < 1e-4 for layer in found["layers"])
    assert job["links"]["chain_rule"] == f"/v1/jobs/{job['id']}/chain-rule"


def test_there_is_no_certificate_before_the_end(client: FlaskClient, post: Callable[..., TestResponse]) -> None:
    """Before a job has succeeded, its certificate and histograms are not ready."""
    job_id = post().get_json()["id"]
    for name in ("certificate", "histograms"):
        answer = client.get(f"/v1/jobs/{job_id}/{name}")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "not_ready")
        assert client.get(f"/v1/jobs/job_none/{name}").status_code == 404


def test_histograms_count_what_numpy_computes_from_the_weights_file(
    client: FlaskClient, succeeded: Callable[..., str]
) -> None:
    """All 150 rows of iris, forward and backward by hand; weights, activations and gradients of both layers."""
    job_id = succeeded(training={"precision": "float64"})
    found = client.get(f"/v1/jobs/{job_id}/histograms?bins=7").get_json()
    weights = safetensors.load(client.get(f"/v1/jobs/{job_id}/weights").data)
    assert found["rows"] == 150
    encoders = _encoders(client, job_id)
    x = (load_iris().data - [code["mean"] for code in encoders]) / [code["scale"] for code in encoders]
    y = np.eye(3)[load_iris().target]
    a = np.tanh(x @ weights["layers.0.w"] + weights["layers.0.b"])
    z = a @ weights["layers.1.w"] + weights["layers.1.b"]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    grad_a = (p - y) @ weights["layers.1.w"].T
    grad_z = grad_a * (1 - a * a)
    first, last = found["layers"]
    for shown, values in (
        (first["weights"]["w"], weights["layers.0.w"]),
        (first["activations"]["a"], a),
        (first["gradients"]["w"], x.T @ grad_z / 150),
        (first["gradients"]["b"], grad_z.mean(axis=0)),
        (first["unit_gradients"]["a"], grad_a),
        (first["unit_gradients"]["z"], grad_z),
        (last["activations"]["z"], z),
        (last["activations"]["a"], p),
        (last["gradients"]["w"], a.T @ (p - y) / 150),
        (last["unit_gradients"]["z"], p - y),
    ):
        counts, edges = np.histogram(values, 7)
        np.testing.assert_allclose(shown["edges"], edges, rtol=1e-9)
        assert shown["counts"] == counts.tolist()
    assert found["loss"] == pytest.approx(-np.log((p * y).sum(axis=1)).mean())


def _encoders(client: FlaskClient, job_id: str) -> Any:
    content = client.get(f"/v1/jobs/{job_id}/weights").data
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return json.loads(header["encoders"])["features"]


def test_one_layer_of_one_checkpoint_can_be_asked(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """Running figures are weights without gradients; at most 256 rows are looked at."""
    dataset = {"source": "generator", "name": "moons", "rows": 1000}
    job_id = succeeded(dataset=dataset, network={"layers": NORMED})
    found = client.get(f"/v1/jobs/{job_id}/histograms?layer=1&checkpoint=2").get_json()
    assert (found["rows"], found["checkpoint"]["epoch"]) == (256, 2)
    (layer,) = found["layers"]
    assert (layer["layer"], layer["type"]) == (1, "batch_norm")
    assert set(layer["weights"]) == {"scale", "shift", "mean", "variance"}
    assert set(layer["gradients"]) == {"scale", "shift"}
    assert sum(layer["activations"]["a"]["counts"]) == 6 * 256
    assert len(layer["activations"]["a"]["edges"]) == 31


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("layer=3", "layer"), ("layer=-1", "layer"), ("bins=1", "bins"), ("checkpoint=x", "checkpoint"),
     ("member=1", "member"), ("bogus=1", "bogus")],
)  # fmt: skip
def test_a_parameter_that_does_not_fit_is_named(
    client: FlaskClient, succeeded: Callable[..., str], query: str, parameter: str
) -> None:
    """A query parameter that does not fit the job is named in the error."""
    answer = client.get(f"/v1/jobs/{succeeded(training={'epochs': 1})}/histograms?{query}")
    assert (answer.status_code, answer.get_json()["errors"][0]["parameter"]) == (422, parameter)
