"""Health, figures, and the OpenAPI document, which agrees with the routes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import text, update
from werkzeug.test import TestResponse

from service.context import Parts
from worker.records.clock import seconds_from_now
from worker.records.tables import Worker
from worker.records.workers import beat

WEIGHT = {"weight": {"layer": 1, "from": 0, "to": 1}}


NO_WORKER = "No worker is running"


def show_life(parts: Parts) -> None:
    known = {"hostname": "here", "pid": 1, "processes": 1, "version": "0"}
    parts.database.write(lambda session: beat(session, "wrk_test", **known))  # type: ignore[arg-type]


def test_alive_and_ready(client: FlaskClient, parts: Parts) -> None:
    """The API is ready until the schema is not this version's."""
    show_life(parts)
    assert client.get("/healthz").get_json() == {"status": "alive"}
    assert client.get("/readyz").get_json()["status"] == "ready"
    with parts.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'old'"))
    assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize("silent_seconds", [None, 31])
def test_without_a_worker_that_is_alive_everything_says_so(
    client: FlaskClient, parts: Parts, post: Callable[..., TestResponse], silent_seconds: float | None
) -> None:
    """No worker ever beat, or the last one did more than a lease ago: degraded, 200, and a line on each page."""
    job_id = post().get_json()["id"]
    if silent_seconds is not None:
        show_life(parts)
        silent = update(Worker).values(heartbeat_at=seconds_from_now(-silent_seconds))
        parts.database.write(lambda session: session.execute(silent))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() | {"status": "degraded", "workers": "none"} == answer.get_json()
    assert client.get("/v1/system").get_json()["workers_state"] == "none"
    pages = ("/ui/jobs", "/ui/jobs/rows", f"/ui/jobs/{job_id}")
    assert all(NO_WORKER in client.get(page).get_data(as_text=True) for page in pages)
    assert NO_WORKER not in client.get("/ui/login").get_data(as_text=True)
    show_life(parts)
    assert client.get("/readyz").get_json()["workers"] == "up"
    assert client.get("/v1/system").get_json()["workers_state"] == "up"
    assert not any(NO_WORKER in client.get(page).get_data(as_text=True) for page in pages)


def test_figures_of_the_queue(client: FlaskClient, post: Callable[..., TestResponse]) -> None:
    """A waiting job is counted in /v1/system and in /metrics."""
    post()
    system = client.get("/v1/system").get_json()
    assert system["queue"]["depth"] == 1
    assert system["queue"]["oldest_seconds"] >= 0
    assert system["limits"]["parameters"] == 50_000_000
    assert system["limits"]["training"]["max_seconds"]["default"] == 86_400
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    assert "gradmill_queue_depth 1.0" in lines
    assert 'gradmill_jobs{status="queued"} 1.0' in lines


def test_objects_that_the_database_does_not_know_are_counted_once_a_minute(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload is known, a stray object is counted; a storage that can't be listed is null, and nothing else fails."""

    def count() -> int | None:
        found: int | None = client.get("/v1/system").get_json()["storage"]["unknown_objects"]
        return found

    client.post("/v1/datasets", data=b"x,label\n1,a\n2,b\n", content_type="text/csv")
    assert count() == 0
    parts.storage.write("dst_stray", b"x")
    assert count() == 0
    monkeypatch.setattr("worker.intake.objects.LOOK_SECONDS", 0.0)
    assert count() == 1

    def away(_storage: object) -> list[str]:
        raise OSError("the bucket is away")

    monkeypatch.setattr("worker.data.storage.Storage.list_keys", away)
    assert count() is None


def test_the_document_is_valid_and_names_every_route(client: FlaskClient, app: Flask) -> None:
    """The OpenAPI document is valid and has exactly the routes of the app."""
    document = client.get("/v1/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routed = {
        (method, re.sub(r"<(?:int:)?([^>]+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith(("/ui", "/docs")) and rule.rule != "/"
    }
    assert described == routed


def test_every_operation_names_the_statuses_of_its_refusals(client: FlaskClient) -> None:
    """What is checked before a handler runs is documented by status; no operation leaves it to `default`."""
    document = client.get("/v1/openapi.json").get_json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            expected = {"400", "406"} if operation["responses"].keys() & {"200", "201", "202"} else {"400"}
            expected |= {"401", "403", "429", "503"} if "x-scope" in operation else set()
            expected |= {"413", "415"} if "requestBody" in operation else set()
            expected |= {"404"} if "{" in path else set()
            expected |= {"422"} if path.startswith("/v1/") else set()
            expected |= {"412"} if "304" in operation["responses"] else set()
            assert expected <= operation["responses"].keys(), (method, path)
            assert "default" not in operation["responses"], (method, path)


def answers_about_models(client: FlaskClient, job_id: str) -> list[tuple[str, str, Any]]:
    """Return method, path in the document, and answer, for the only version of iris."""
    model, rows = "/v1/models/{name}", {"rows": [[1, 2, 3, 90]]}
    alias = f"{model}/aliases/{{alias}}"
    asked = [
        ("post", "/v1/models", {"name": "other", "job_id": job_id}),
        ("get", "/v1/models", None),
        ("get", model, None),
        ("patch", model, {"description": "flowers"}),
        ("get", f"{model}/versions", None),
        ("get", f"{model}/versions/{{version}}", None),
        ("get", f"{model}/compare", None),
        ("put", alias, {"version": 1}),
        ("get", alias, None),
        ("get", f"{model}/aliases", None),
        ("get", f"{alias}/history", None),
        ("post", f"{model}/predict", rows),
        ("post", f"{model}/versions/{{version}}/predict", rows | {"top_k": 2}),
        ("post", f"{alias}/predict", {"dataset": {"source": "builtin", "name": "iris"}}),
        ("get", "/v1/predictions", None),
    ]
    answers = []
    for method, path, body in asked:
        address = path.replace("{name}", "iris").replace("{version}", "1").replace("{alias}", "production")
        address += "?a=1&b=1" if path.endswith("compare") else ""
        answers.append((method, path, client.open(address, method=method.upper(), json=body)))
    assert all(answer.status_code < 300 for _, _, answer in answers)
    prediction = answers[-1][2].get_json()["data"][0]["id"]
    shown = client.get(f"/v1/predictions/{prediction}")
    early = client.get(f"/v1/predictions/{prediction}/result")
    path = "/v1/predictions/{prediction_id}"
    return [*answers, ("get", path, shown), ("get", f"{path}/result", early)]


def test_answers_are_what_the_document_says(client: FlaskClient, succeeded: Callable[..., str], post: Any) -> None:
    """Each JSON answer of each resource validates against its documented schema."""
    document = client.get("/v1/openapi.json").get_json()
    job_id = succeeded(training={"test": {"fraction": 0.1}, "replay_steps": [1]}, model="iris")
    dataset = client.post("/v1/datasets", data=b"a,b\n1,x\n", content_type="text/csv")
    dataset_id = dataset.get_json()["id"]
    own = f"/v1/jobs/{job_id}"
    answers = [
        ("get", "/v1/jobs", client.get("/v1/jobs")),
        ("post", "/v1/jobs", post()),
        ("post", "/v1/jobs", post(query="?dry_run=true")),
        ("post", "/v1/jobs", post(name="")),
        ("get", "/v1/jobs/{job_id}", client.get(own)),
        ("get", "/v1/jobs/{job_id}", client.get("/v1/jobs/job_none")),
        ("get", "/v1/jobs/{job_id}/curve", client.get(f"{own}/curve")),
        ("get", "/v1/jobs/{job_id}/evaluation", client.get(f"{own}/evaluation")),
        ("post", "/v1/jobs/{job_id}/predict", client.post(f"{own}/predict", json={"rows": [[1, 2, 3, 4]]})),
        ("post", "/v1/jobs/{job_id}/chain-rule", client.post(f"{own}/chain-rule", json=WEIGHT | {"dataset_row": 1})),
        ("post", "/v1/jobs/{job_id}/chain-rule", client.post(f"{own}/chain-rule", json=WEIGHT | {"dataset_rows": [1]})),
        ("post", "/v1/jobs/{job_id}/chain-rule", client.post(f"{own}/chain-rule", json=WEIGHT)),
        ("get", "/v1/jobs/{job_id}/certificate", client.get(f"{own}/certificate")),
        ("get", "/v1/jobs/{job_id}/steps", client.get(f"{own}/steps")),
        ("get", "/v1/jobs/{job_id}/histograms", client.get(f"{own}/histograms")),
        ("post", "/v1/jobs/{job_id}/cancel", client.post(f"{own}/cancel")),
        ("post", "/v1/datasets", dataset),
        ("get", "/v1/datasets", client.get("/v1/datasets")),
        ("get", "/v1/datasets/{dataset_id}/rows", client.get(f"/v1/datasets/{dataset_id}/rows")),
        *answers_about_models(client, job_id),
        ("get", "/v1/system", client.get("/v1/system")),
        ("get", "/healthz", client.get("/healthz")),
        ("get", "/readyz", client.get("/readyz")),
    ]
    for method, path, answer in answers:
        described = document["paths"][path][method]["responses"][str(answer.status_code)]
        schema = described["content"][answer.mimetype]["schema"] | {"components": document["components"]}
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(answer.get_json())]
        assert errors == [], (method, path, answer.status_code)


@pytest.mark.parametrize("word", ["Traceback", "sqlalchemy", "/site-packages", "SELECT"])
def test_an_error_of_ours_leaks_nothing(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """An internal error shows no stack trace, path or SQL."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("SELECT secret FROM /site-packages/sqlalchemy")

    monkeypatch.setattr("service.api.jobs.list_jobs", broken)
    answer = client.get("/v1/jobs")
    assert answer.status_code == 500
    assert word not in answer.get_data(as_text=True)


def test_a_database_that_is_away_is_a_503_with_a_time_to_come_back(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """Without its database the API answers 503 with Retry-After, and is not ready."""
    parts.database.close()
    path = parts.database.engine.url.database
    assert path is not None
    Path(path).write_bytes(b"")
    answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert client.get("/readyz").status_code == 503
