"""Jobs over HTTP: accepted, shown, polled, changed, retried and deleted."""

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.context import Parts
from worker.records.tables import Job

Post = Callable[..., TestResponse]
Run = Callable[[str], str | None]


def test_a_job_is_accepted_with_its_defaults_filled_in(post: Post, client: FlaskClient) -> None:
    """The 202 has what a later GET has: defaults, features, classes, parameters and the place in the queue."""
    answer = post(tags=["demo"], metadata={"owner": "me"})
    assert answer.status_code == 202
    job = answer.get_json()
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["attempt"], job["queue_position"]) == ("queued", 0, 1)
    assert job["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert job["classes"] == ["setosa", "versicolor", "virginica"]
    assert job["features"][0] == {"name": "sepal length", "type": "numeric"}
    assert job["spec"]["training"]["batch_size"] == 32
    assert (job["tags"], job["metadata"]) == (["demo"], {"owner": "me"})
    shown = client.get(job["links"]["self"]).get_json()
    assert shown == job


def test_a_dry_run_stores_nothing(post: Post, client: FlaskClient) -> None:
    """It answers sizes and costs, and leaves neither a job nor a dataset."""
    plan = post(query="?dry_run=true", training={"test": {"fraction": 0.1}}).get_json()
    assert (plan["inputs"], plan["outputs"], plan["parameters"]) == (4, 3, 67)
    assert plan["rows"] == {"train": 105, "validation": 30, "test": 15}
    assert [layer["outputs"] for layer in plan["layers"]] == [8, 3]
    assert plan["flops"] == 6 * 67 * 150 * 5
    inline = {"source": "inline", "columns": ["x", "y"], "rows": [[1, 2], [2, 3]]}
    assert post(query="?dry_run=true", dataset=inline, target="y").status_code == 200
    assert client.get("/v1/jobs").get_json()["data"] == []
    assert client.get("/v1/datasets").get_json()["data"] == []


def test_inline_rows_become_a_dataset_that_the_spec_names(post: Post, run: Run, client: FlaskClient) -> None:
    """The same rows are stored once, can be read back, and are not deleted while a job names them."""
    inline = {"source": "inline", "columns": ["x", "y"], "rows": [[n, 2 * n] for n in range(40)]}
    job = post(dataset=inline, target="y").get_json()
    again = post(dataset=inline, target="y").get_json()
    assert job["spec"]["dataset"] == again["spec"]["dataset"]
    dataset_id = job["spec"]["dataset"]["id"]
    assert client.get(f"/v1/datasets/{dataset_id}/rows?limit=2").get_json() == {
        "columns": ["x", "y"],
        "rows": [[0, 0], [1, 2]],
    }
    assert run(job["id"]) == "succeeded"
    assert client.delete(f"/v1/datasets/{dataset_id}").status_code == 409


def test_polling_costs_nothing_while_nothing_changes(post: Post, run: Run, client: FlaskClient) -> None:
    """Job, list and curve have ETags: the answer is 304 until the job changes, and 200 after."""
    job_id = post().get_json()["id"]
    paths = [f"/v1/jobs/{job_id}", "/v1/jobs", f"/v1/jobs/{job_id}/curve"]
    tags = {path: client.get(path).headers["ETag"] for path in paths}
    for path, tag in tags.items():
        unchanged = client.get(path, headers={"If-None-Match": tag})
        assert (unchanged.status_code, unchanged.data) == (304, b"")
    run(job_id)
    for path, tag in tags.items():
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_prefer_wait_answers_at_the_next_change(post: Post, client: FlaskClient, later: Callable[..., None]) -> None:
    """The answer comes within a moment of the change, or after the given time with the job as it is."""
    job_id = post().get_json()["id"]
    later(0.3, client.post, f"/v1/jobs/{job_id}/cancel")
    began = time.monotonic()
    answer = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=20"})
    assert answer.get_json()["status"] == "cancelled"
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert 0.2 < time.monotonic() - began < 3
    other = post().get_json()["id"]
    began = time.monotonic()
    assert client.get(f"/v1/jobs/{other}", headers={"Prefer": "wait=1"}).get_json()["status"] == "queued"
    assert 0.9 < time.monotonic() - began < 3


def test_the_curve_is_columns_or_csv(succeeded: Callable[..., str], client: FlaskClient) -> None:
    """Both have the same figures; the columns can start after an epoch and be thinned."""
    job_id = succeeded()
    curve = client.get(f"/v1/jobs/{job_id}/curve").get_json()
    assert curve["epochs"] == [1, 2, 3, 4, 5]
    assert {len(curve[name]) for name in ("train_loss", "validation_loss", "learning_rate", "seconds")} == {5}
    assert list(curve["metrics"]) == ["train_accuracy", "validation_accuracy"]
    assert [len(layers) for layers in curve["layers"]] == [2] * 5
    assert curve["layers"][0][0]["units"] == 8
    assert client.get(f"/v1/jobs/{job_id}/curve?after_epoch=3").get_json()["epochs"] == [4, 5]
    assert client.get(f"/v1/jobs/{job_id}/curve?max_points=2").get_json()["epochs"] == [1, 5]
    answer = client.get(f"/v1/jobs/{job_id}/curve", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert [float(row["train_loss"]) for row in rows] == curve["train_loss"]
    assert float(rows[-1]["validation_accuracy"]) == curve["metrics"]["validation_accuracy"][-1]


def test_lists_go_on_by_cursor_and_link(post: Post, client: FlaskClient) -> None:
    """Newest first, without the specification; the Link leads to the next page."""
    ids = [post(name=f"job {n}").get_json()["id"] for n in range(5)]
    first = client.get("/v1/jobs?limit=2")
    page = first.get_json()
    assert [job["id"] for job in page["data"]] == ids[:2:-1]
    assert (page["has_more"], page["next_cursor"]) == (True, ids[3])
    assert "spec" not in page["data"][0]
    following = first.headers["Link"].split(">")[0].removeprefix("<")
    assert [job["id"] for job in client.get(following).get_json()["data"]] == ids[2:0:-1]
    assert client.get("/v1/jobs?status=running,failed").get_json()["data"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000000000", "cursor=../x", "status=x", "bogus=1", "limit=1&limit=2"]
)
def test_a_bad_parameter_is_named(client: FlaskClient, query: str) -> None:
    """The 422 names the parameter that is out of range, malformed, unknown or repeated."""
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["parameter"] == query.split("=", maxsplit=1)[0]


def test_a_repeated_submission_gets_the_same_answer(post: Post, client: FlaskClient) -> None:
    """The Idempotency-Key marks the repeat; the same key with another body is a 422, and a malformed key a 400."""
    key = {"Idempotency-Key": "abc-1"}
    first = post(headers=key)
    again = post(headers=key)
    assert first.get_json() == again.get_json()
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert "Idempotency-Replayed" not in first.headers
    other = post(headers=key, name="other")
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").get_json()["data"]) == 1
    for bad in ("x" * 256, "a b", ""):
        assert post(headers={"Idempotency-Key": bad}).status_code == 400


def test_changes_are_idempotent_and_refused_from_a_final_state(post: Post, run: Run, client: FlaskClient) -> None:
    """A repeated pause is no error; a cancelled job can not be resumed."""
    job_id = post().get_json()["id"]
    for change, status in (("pause", "paused"), ("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert client.post(f"/v1/jobs/{job_id}/{change}").get_json()["status"] == status
    refused = client.post(f"/v1/jobs/{job_id}/resume")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "conflict")
    assert client.get(f"/v1/jobs/{job_id}/evaluation").status_code == 409


def test_a_retry_is_a_new_job_with_members_overridden(post: Post, client: FlaskClient) -> None:
    """The body is a merge patch of the specification; without a body it is the same."""
    job = post(tags=["a"]).get_json()
    again = client.post(f"/v1/jobs/{job['id']}/retry").get_json()
    assert (again["retry_of"], again["spec"]) == (job["id"], job["spec"])
    changed = client.post(f"/v1/jobs/{job['id']}/retry", json={"training": {"epochs": 7}, "tags": None}).get_json()
    assert (changed["spec"]["training"]["epochs"], changed["tags"]) == (7, [])
    assert changed["spec"]["training"]["optimizer"] == job["spec"]["training"]["optimizer"]
    sgd = {"training": {"optimizer": {"type": "sgd", "learning_rate": 0.5}}}
    other = client.post(f"/v1/jobs/{job['id']}/retry", json=sgd).get_json()["spec"]["training"]
    assert other["optimizer"].items() >= {"type": "sgd", "learning_rate": 0.5, "momentum": 0.0}.items()
    assert other["epochs"] == job["spec"]["training"]["epochs"]
    bad = client.post(f"/v1/jobs/{job['id']}/retry", json={"training": {"epochs": 0}})
    assert (bad.status_code, bad.get_json()["errors"][0]["pointer"]) == (422, "/training/epochs")


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"bogus": None}, "/bogus"),
        ({"training": {"bogus": None}}, "/training/bogus"),
        ({"metadata": {"bogus": None}, "columns": {"bogus": None}}, None),
        ({"model": None, "training": {"test": None}}, None),
    ],
)
def test_a_null_in_a_retry_removes_a_member_that_a_job_can_have(
    post: Post, client: FlaskClient, patch: dict[str, Any], pointer: str | None
) -> None:
    """A null for a member that no specification has is refused; for a name of the client's own it does nothing."""
    job = post(metadata={"kept": 1}).get_json()
    answer = client.post(f"/v1/jobs/{job['id']}/retry", json=patch)
    if pointer is None:
        assert (answer.status_code, answer.get_json()["metadata"]) == (202, {"kept": 1})
    else:
        assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_evaluation_shows_where_the_network_errs(succeeded: Callable[..., str], client: FlaskClient) -> None:
    """It has the test part's confusion matrix and metrics, which the job shows too."""
    job_id = succeeded(training={"test": {"fraction": 0.2}})
    found = client.get(f"/v1/jobs/{job_id}/evaluation").get_json()
    assert found["test"]["rows"] == 30
    assert found["test"]["confusion"]["classes"] == ["setosa", "versicolor", "virginica"]
    assert client.get(f"/v1/jobs/{job_id}").get_json()["test"]["metrics"] == found["test"]["metrics"]


def test_a_deleted_job_is_gone(succeeded: Callable[..., str], client: FlaskClient, parts: Parts) -> None:
    """Every address below it answers 404, and its row does not exist."""
    job_id = succeeded()
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    for path in ("", "/curve", "/events", "/weights", "/evaluation"):
        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    with parts.database.reading() as session:
        assert session.get(Job, job_id) is None


def test_ids_that_are_not_there_all_look_the_same(client: FlaskClient) -> None:
    """Unknown, malformed and hostile ids get the same bytes, apart from the request id."""
    bodies = set()
    for job_id in ("job_" + "0" * 32, "job_x", "..%2f..%2fetc", "1;DROP TABLE jobs"):
        answer = client.get(f"/v1/jobs/{job_id}", headers={"X-Request-Id": "same"})
        assert answer.status_code == 404
        bodies.add(answer.data)
    assert len(bodies) == 1


def test_a_media_type_that_is_not_answered_is_a_406(succeeded: Callable[..., str], client: FlaskClient) -> None:
    """The refusal is a problem document; a wildcard is answered."""
    job_id = succeeded()
    for path in ("", "/curve", "/events", "/evaluation"):
        answer = client.get(f"/v1/jobs/{job_id}{path}", headers={"Accept": "image/png"})
        assert (answer.status_code, answer.content_type) == (406, "application/problem+json")
        assert client.get(f"/v1/jobs/{job_id}{path}", headers={"Accept": "text/html, */*;q=0.1"}).status_code == 200


def test_fractions_that_leave_nothing_are_refused_at_submission(post: Post) -> None:
    """Both parts together are the whole table, which a dry run and a submission refuse in the same way."""
    training = {"validation": {"fraction": 0.6}, "test": {"fraction": 0.6}}
    for query in ("?dry_run=true", ""):
        answer = post(query=query, training=training)
        assert answer.status_code == 422
        assert answer.get_json()["errors"][0]["pointer"] == "/training/validation/fraction"


def test_a_broker_that_is_away_still_accepts_jobs(parts: Parts, post: Post, client: FlaskClient) -> None:
    """The 202 comes within a second, and /readyz says degraded."""
    parts.doorbell._redis.connection_pool.disconnect()
    from worker.broker.doorbell import Doorbell
    from worker.settings import Settings

    object.__setattr__(parts, "doorbell", Doorbell(Settings(redis_url="redis://127.0.0.1:9/0")))
    began = time.monotonic()
    answer = post()
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    assert time.monotonic() - began < 1
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")
