"""start_from over HTTP: what is answered, what is stored, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.context import Parts
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.versions import register_version
from worker.records.weights import find_weights_id

ABSENT = "job_" + "0" * 32


@pytest.fixture
def source_id(succeeded: Callable[..., str]) -> str:
    return succeeded()


@pytest.fixture
def post_started(client: FlaskClient) -> Callable[..., TestResponse]:
    """Post a job with only the members that it must have."""

    def post(start_from: Any, query: str = "", **changes: Any) -> TestResponse:
        job = {"dataset": {"source": "builtin", "name": "iris"}, "target": "label", "start_from": start_from}
        return client.post(f"/v1/jobs{query}", json=job | changes)

    return post


def test_a_job_takes_the_sources_layers(
    source_id: str, post_started: Callable[..., TestResponse], run: Callable[[str], str | None], client: FlaskClient
) -> None:
    """The dry run and the job show the source's layers; a frozen job trains, and its retry has the same source."""
    start = {"job": source_id, "freeze": 1}
    source = client.get(f"/v1/jobs/{source_id}").get_json()
    dry = post_started(start, "?dry_run=true")
    assert dry.get_json()["layers"] == source["layers"]
    job = post_started(start).get_json()
    assert job["spec"]["network"] == source["spec"]["network"]
    assert job["spec"]["start_from"] == {"job": source_id, "model": None, "version": None, "alias": None, "freeze": 1}
    assert run(job["id"]) == "succeeded"
    again = client.post(f"/v1/jobs/{job['id']}/retry")
    assert again.get_json()["spec"] == job["spec"]


def test_a_source_in_use_is_not_deleted(
    source_id: str, post_started: Callable[..., TestResponse], run: Callable[[str], str | None], client: FlaskClient
) -> None:
    """A job can't be deleted while another that starts from it waits."""
    job_id = post_started({"job": source_id}).get_json()["id"]
    assert client.delete(f"/v1/jobs/{source_id}").status_code == 409
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    assert client.delete(f"/v1/jobs/{source_id}").status_code == 204


def test_a_version_is_a_source(source_id: str, parts: Parts, post_started: Callable[..., TestResponse]) -> None:
    """Without a number the newest version is the source, and the specification keeps its number."""
    parts.database.write(
        lambda session: register_version(session, DEFAULT_PROJECT, "iris", find_weights_id(session, source_id))
    )
    for named in ({}, {"version": 1}):
        kept = post_started({"model": "iris"} | named).get_json()["spec"]["start_from"]
        assert (kept["model"], kept["version"]) == ("iris", 1)


@pytest.mark.parametrize(
    ("start", "changes", "pointer", "said"),
    [
        ({}, {}, "/start_from", "a job or a model"),
        ({"job": ABSENT}, {}, "/start_from/job", "no such job"),
        ({"job": "../x"}, {}, "/start_from/job", "pattern"),
        ({"model": "absent"}, {}, "/start_from/model", "no such version"),
        ({"model": "iris", "version": 1, "alias": "x"}, {}, "/start_from", "not both"),
        ({"job": ABSENT, "alias": "x"}, {}, "/start_from", "only a model has"),
        ({"job": ABSENT, "freeze": -1}, {}, "/start_from/freeze", "greater"),
        ({"job": ABSENT, "weights": "x"}, {}, "/start_from/weights", ""),
        (None, {}, "/network", "required"),
        ("OWN", {"freeze": 2}, "/start_from/freeze", "1 or less"),
        ("OWN", {"network": {"layers": [{"type": "dense", "units": 9}]}}, "/network/layers/0", "source's shape"),
        ("OWN", {"features": ["sepal length"]}, "/network/layers/0", "got dense of 1 inputs and 8 units"),
    ],
)
def test_what_can_not_be_started_is_named(
    source_id: str,
    post_started: Callable[..., TestResponse],
    start: Any,
    changes: dict[str, Any],
    pointer: str,
    said: str,
) -> None:
    """A source that can't be used is refused at submission, with a pointer into the body.

    OWN: the job that succeeded.
    """
    if start == "OWN":
        start = {"job": source_id} | {name: changes[name] for name in ("freeze",) if name in changes}
        changes = {name: value for name, value in changes.items() if name != "freeze"}
    answer = post_started(start, **changes)
    assert answer.status_code == 422, answer.get_json()
    error = answer.get_json()["errors"][0]
    assert error["pointer"] == pointer
    assert said in error["detail"]


def test_a_job_that_has_not_succeeded_is_no_source(
    post: Callable[..., TestResponse], post_started: Callable[..., TestResponse]
) -> None:
    """A waiting job is refused as a source."""
    waiting = post().get_json()["id"]
    answer = post_started({"job": waiting})
    assert answer.status_code == 422
    assert "not succeeded" in answer.get_json()["errors"][0]["detail"]
