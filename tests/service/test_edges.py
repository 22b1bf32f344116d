"""Values at the edges of every parameter: refused with a 4xx, alike on both databases; never a 500."""

import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.context import EXTENSION, Parts
from service.settings import ServiceSettings
from tests.conftest import SPEC
from tests.service.conftest import KEY
from worker.running.run import Runner

JOB = "/v1/jobs/job_" + "0" * 32
HUGE = "9" * 20
NASTY = (
    *(
        "%00",
        "a%00b",
        "%ED%A0%80",
        "%FF%FE",
        HUGE,
        "-1",
        str(2**31),
        str(2**63),
        "1_0",
        "+1",
        "%201",
        "01",
        "1.0",
        "1e3",
    ),
    *("NaN", "0x10", "%D9%A1", "True", "yes", "null", "", "..", "a" * 5000, "%E2%80%AE", "%0d%0aX:%20y", "'%22;--"),
)
HEADERS = {
    "Idempotency-Key": ("", " ", "é", "a\tb", "k" * 256),
    "Last-Event-ID": ("", "-1", "1_0", "+1", HUGE, "é"),
    "Inference-Header-Content-Length": ("-1", "1_0", HUGE, "é"),
    "If-Match": ("", "*", "W/", '"', "é"),
    "If-None-Match": ("", "W/", '"', "é"),
    "Prefer": ("wait=" + HUGE, "wait=-1", "wait=\u0661".encode().decode("latin-1"), ";;"),
    "Content-Encoding": ("br", "é", "gzip, gzip"),
    "Accept": ("a/b;q=nan", "*/*;q=abc", ";" * 300),
    "X-Request-Id": ("é", "a" * 5000),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def each_client(request: pytest.FixtureRequest, settings: ServiceSettings) -> Iterator[FlaskClient]:
    """Return a client with the key, on each database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    app = create_app(settings.model_copy(update={"database_url": url}))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    yield client
    parts: Parts = app.extensions[EXTENSION]
    parts.live.close()
    parts.live.join()
    parts.doorbell.close()
    parts.database.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs?name=%00", 422),
        ("/v1/jobs?name=", 422),
        ("/v1/jobs?tag=%00", 422),
        ("/v1/jobs?tag=a%20b", 422),
        ("/v1/jobs?status=succeeded,,failed", 422),
        ("/v1/jobs?limit=1_0", 422),
        ("/v1/jobs?limit=%201", 422),
        ("/v1/jobs?limit=01", 422),
        ("/v1/jobs?limit=1.0", 422),
        ("/v1/jobs?limit=1&limit=2", 422),
        ("/v1/models/iris/versions?cursor=1_0", 422),
        ("/v1/models/iris/compare?a=%2B1&b=1", 422),
        ("/v1/datasets/dst_0/rows?limit=1e2", 422),
        (f"{JOB}/curve?after_epoch={HUGE}", 422),
        (f"{JOB}/curve?max_points=1_0", 422),
        (f"{JOB}/events?after={2**63}", 422),
        (f"{JOB}/histograms?bins=1_0", 422),
        (f"/v1/models/iris/versions/{HUGE}", 404),
        (f"/v1/models/iris/versions/{2**31}", 404),
        (f"/v2/models/iris/versions/{HUGE}", 404),
        (f"/models/iris/versions/{HUGE}/ping", 404),
        (f"{JOB}/steps/{HUGE}", 404),
        ("/v1/jobs/%ED%A0%80", 404),
        ("/v1/jobs/" + "a" * 5000, 404),
        ("/v1/models/%F0%9F%92%A9", 404),
    ],
)
def test_a_value_at_the_edge_is_refused(each_client: FlaskClient, path: str, status: int) -> None:
    """A value that no parameter takes is a 422, and an address that nothing can have is a 404."""
    assert each_client.get(path).status_code == status


@pytest.mark.parametrize(("spelled", "status"), [("true", 200), ("1", 422), ("True", 422), ("on", 422)])
def test_a_boolean_of_a_query_is_spelled_as_in_json(each_client: FlaskClient, spelled: str, status: int) -> None:
    """A boolean is `true` or `false`."""
    assert each_client.post(f"/v1/jobs?dry_run={spelled}", json=SPEC).status_code == status


def test_an_integer_of_metadata_has_64_bits(each_client: FlaskClient) -> None:
    """The largest integer of 64 bits comes back as it was; a larger one is refused."""
    kept = {"a": [{"b": 2**63 - 1}], "c": -(2**63)}
    posted = each_client.post("/v1/jobs", json=SPEC | {"metadata": kept})
    assert posted.get_json()["metadata"] == kept
    refused = each_client.post("/v1/jobs", json=SPEC | {"metadata": {"a": [{"b": 2**63}]}})
    assert (refused.status_code, refused.get_json()["errors"][0]["pointer"]) == (422, "/metadata/a/0/b")


def test_if_match_is_compared_with_the_etag(each_client: FlaskClient) -> None:
    """If-Match is met by the content's own ETag and by a star, and is a 412 problem otherwise."""
    tag = each_client.get("/v1/models").headers["ETag"]
    asked = [
        each_client.get("/v1/models", headers={"If-Match": wanted}) for wanted in (tag, "*", '"other"', f"W/{tag}")
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 412, 412]
    assert asked[2].get_json()["code"] == "precondition_failed"


def npy(shape: str) -> bytes:
    """Return an NPY file of four numbers whose header has this shape."""
    file = io.BytesIO()
    np.save(file, np.ones((1, 4)))
    return file.getvalue().replace(b"(1, 4), }   ", f"{shape}, }}".encode().ljust(12))


def safetensors(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("shape", ["(True, 4)", "(1, 4.0)", "(-1, -4)"])
def test_a_strange_shape_of_an_array_is_refused(
    client: FlaskClient,
    trained: str,
    shape: str,
) -> None:
    """An array whose shape is not of integers is refused, not an error of ours."""
    path = f"/v1/jobs/{trained}/predict"
    assert client.post(path, data=npy("(1, 4)"), content_type="application/x-npy").status_code == 200
    assert client.post(path, data=npy(shape), content_type="application/x-npy").status_code == 422


@pytest.fixture
def trained(succeeded: Any) -> str:
    job_id: str = succeeded(training={"epochs": 1})
    return job_id


@pytest.mark.parametrize("metadata", [None, {}])
def test_a_file_of_weights_without_metadata_is_refused(client: FlaskClient, metadata: Any) -> None:
    """A safetensors file whose metadata are null is read as one that has none."""
    body = safetensors({"__metadata__": metadata})
    answer = client.post("/v1/models/a/versions?format=safetensors", data=body, content_type="application/octet-stream")
    assert answer.status_code == 422


@pytest.fixture
def real(each_client: FlaskClient, settings: ServiceSettings) -> dict[str, str]:
    """Return the parameters of real objects."""
    parts: Parts = each_client.application.extensions[EXTENSION]
    runner = Runner(parts.database, parts.datasets, settings, threading.Event(), "wrk_test", parts.doorbell.announce)
    training = {"epochs": 1, "batch_size": 120, "replay_steps": [1]}
    job_id = each_client.post("/v1/jobs", json=SPEC | {"model": "iris", "training": training}).get_json()["id"]
    assert runner.run_job(job_id) == "succeeded"
    each_client.put("/v1/models/iris/aliases/production", json={"version": 1})
    asked = {"dataset": {"source": "builtin", "name": "iris"}}
    return {
        "job_id": job_id,
        "name": "iris",
        "version": "1",
        "alias": "production",
        "step": "1",
        "dataset_id": each_client.post("/v1/datasets", data=b"x,y\n1,2\n", content_type="text/csv").get_json()["id"],
        "prediction_id": each_client.post("/v1/models/iris/predict", json=asked).get_json()["id"],
    }


@pytest.mark.parametrize("number", ["01", "%D9%A1", "+1", "1.0", HUGE, str(2**31), str(2**32 + 1)])
def test_a_version_has_one_spelling(each_client: FlaskClient, real: dict[str, str], number: str) -> None:
    """Version 1 is at /versions/1 only, and a number that no version can have is a 404."""
    for tail in ("", "/export?format=onnx"):
        assert each_client.get(f"/v1/models/iris/versions/1{tail}").status_code == 200
        assert each_client.get(f"/v1/models/iris/versions/{number}{tail}").status_code == 404


@pytest.mark.timeout(300)
def test_no_parameter_of_the_document_makes_a_server_error(each_client: FlaskClient, real: dict[str, str]) -> None:
    """Nasty values of every parameter of every operation are answered, and with no 5xx."""
    document = each_client.get("/v1/openapi.json").get_json()
    failed = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for url, headers in requests(path, operation["parameters"], real):
                answer = each_client.open(url, method=method.upper(), headers=headers, json={})
                if answer.status_code >= 500:
                    failed.append((method, url, headers, answer.status_code))
                answer.close()
    assert not failed


def requests(path: str, parameters: list[dict[str, Any]], real: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield an address and headers for each nasty value of each parameter; the other parameters are real."""
    for parameter in parameters:
        name = parameter["name"]
        if parameter["in"] == "header":
            yield from ((path.format(**real), {name: value}) for value in HEADERS[name])
        elif parameter["in"] == "query":
            yield from ((f"{path.format(**real)}?{name}={value}", {}) for value in NASTY)
        else:
            yield from ((path.format(**real | {name: value}), {}) for value in NASTY)


def test_a_null_within_metadata_removes_what_it_names(each_client: FlaskClient) -> None:
    """At any depth of the metadata a null removes a member, and one that names nothing does nothing: RFC 7396."""
    kept = SPEC | {"metadata": {"a": {"b": 1, "columns": {"c": 2}}}}
    job_id = each_client.post("/v1/jobs", json=kept).get_json()["id"]
    patch = {"metadata": {"a": {"b": None, "x": None, "columns": {"y": {"z": None}}}}}
    again = each_client.post(f"/v1/jobs/{job_id}/retry", json=patch).get_json()
    assert again["metadata"] == {"a": {"columns": {"c": 2, "y": {}}}}
