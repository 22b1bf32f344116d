"""Models, versions and aliases over HTTP."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from sqlalchemy import event
from werkzeug.test import TestResponse

from service.context import Parts


@pytest.fixture
def versions(succeeded: Callable[..., str]) -> list[str]:
    """Train versions 1 and 2 of the model iris, and return their jobs."""
    return [succeeded(model="iris", training={"epochs": epochs, "test": {"fraction": 0.1}}) for epochs in (1, 2)]


def problem(response: TestResponse) -> tuple[int, list[str]]:
    """Return the status, and what the errors point at."""
    document = response.get_json()
    return document["status"], [error.get("pointer", error.get("parameter")) for error in document.get("errors", [])]


def test_a_job_that_names_a_model_makes_its_versions(versions: list[str], client: FlaskClient) -> None:
    """Each job that names a model becomes its next version, and the job shows which."""
    model = client.get("/v1/models/iris").get_json()
    assert (model["name"], model["latest_version"], model["description"]) == ("iris", 2, "")
    listed = client.get("/v1/models/iris/versions").get_json()["data"]
    assert [(version["version"], version["job_id"]) for version in listed] == [(2, versions[1]), (1, versions[0])]
    assert client.get(f"/v1/jobs/{versions[1]}").get_json()["model"] == {"name": "iris", "version": 2}
    assert [job["model"]["version"] for job in client.get("/v1/jobs").get_json()["data"]] == [2, 1]


def test_a_version_tells_where_it_came_from_and_how_good_it_is(versions: list[str], client: FlaskClient) -> None:
    """A version shows its job's evaluation, parameters, data, classes and input columns."""
    version = client.get("/v1/models/iris/versions/2").get_json()
    job = client.get(f"/v1/jobs/{versions[1]}").get_json()
    evaluation = client.get(f"/v1/jobs/{versions[1]}/evaluation").get_json()
    for part in ("validation", "test"):
        assert version["metrics"][part] == {name: evaluation[part][name] for name in ("loss", "rows", "metrics")}
    assert (version["epoch"], version["parameters"]) == (2, job["parameters"])
    assert version["data"] == {"source": "builtin", "name": "iris"}
    assert version["classes"] == ["setosa", "versicolor", "virginica"]
    assert list(version["input_schema"]["properties"]) == [feature["name"] for feature in job["features"]]


def test_a_version_names_the_very_bytes_it_was_trained_on(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """A version names the id, name, hash and rows of its uploaded table."""
    table = "x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(30))
    dataset = client.post("/v1/datasets?name=letters", data=table, content_type="text/csv").get_json()
    succeeded(model="letters", dataset={"source": "stored", "id": dataset["id"]})
    data = client.get("/v1/models/letters/versions/1").get_json()["data"]
    assert data == {"source": "stored"} | {name: dataset[name] for name in ("id", "name", "sha256", "rows")}


def test_a_finished_job_is_registered_later_and_its_watchers_see_it(
    client: FlaskClient, succeeded: Callable[..., str]
) -> None:
    """A finished job can become a version later; repeating that changes nothing, and the job's ETag changes."""
    job_id = succeeded()
    before = client.get(f"/v1/jobs/{job_id}")
    assert before.get_json()["model"] is None
    body = {"name": "later", "job_id": job_id}
    made = client.post("/v1/models", json=body)
    assert (made.status_code, made.headers["Location"]) == (201, "/v1/models/later/versions/1")
    assert client.get(made.headers["Location"]).get_json() == made.get_json()
    again = client.post("/v1/models", json=body)
    assert (again.status_code, again.get_json()) == (200, made.get_json())
    after = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": before.headers["ETag"]})
    assert (after.status_code, after.get_json()["model"]) == (200, {"name": "later", "version": 1})


def test_a_registration_with_a_key_is_answered_alike(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """The same Idempotency-Key and body get the same answer; another body with that key is a 422."""
    first, second = succeeded(), succeeded()
    key = {"Idempotency-Key": "once"}
    made = client.post("/v1/models", json={"name": "m", "job_id": first}, headers=key)
    again = client.post("/v1/models", json={"name": "m", "job_id": first}, headers=key)
    assert (again.status_code, again.get_json()) == (201, made.get_json())
    assert again.headers["Idempotency-Replayed"] == "true"
    assert client.post("/v1/models", json={"name": "m", "job_id": second}, headers=key).status_code == 422


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".a", "-a", "a b", "a\0", "é", "a" * 129, "a\n", 7, None])
def test_a_name_that_is_no_slug_is_refused(client: FlaskClient, post: Callable[..., TestResponse], name: Any) -> None:
    """A name of other characters, or too long, is refused when registering and in a job."""
    body = {"name": name, "job_id": "job_" + "0" * 32}
    assert problem(client.post("/v1/models", json=body)) == (422, ["/name"])
    if name is not None:
        assert problem(post(model=name)) == (422, ["/model"])


def test_what_can_not_be_registered_is_refused(client: FlaskClient, post: Callable[..., TestResponse]) -> None:
    """A waiting job, an unknown job and an unknown member are refused, and no model is created."""
    waiting = post().get_json()["id"]
    refused = client.post("/v1/models", json={"name": "m", "job_id": waiting})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "not_ready")
    assert client.post("/v1/models", json={"name": "m", "job_id": "job_" + "0" * 32}).status_code == 404
    extra = client.post("/v1/models", json={"name": "m", "job_id": waiting, "version": 9})
    assert problem(extra) == (422, ["/version"])
    assert client.get("/v1/models/m").status_code == 404


def test_an_alias_is_moved_and_rolled_back_with_its_history(versions: list[str], client: FlaskClient) -> None:
    """An alias can be moved forth and back and removed, and its history keeps every move."""
    path = "/v1/models/iris/aliases/production"
    for version in (1, 2, 1):
        moved = client.put(path, json={"version": version})
        assert (moved.status_code, moved.get_json()["version"]) == (200, version)
    assert client.get(path).get_json() == moved.get_json()
    history = client.get(f"{path}/history").get_json()["data"]
    assert [(move["from"], move["to"], move["by"]) for move in history] == [
        (2, 1, "key"),
        (1, 2, "key"),
        (None, 1, "key"),
    ]
    assert [alias["alias"] for alias in client.get("/v1/models/iris/aliases").get_json()["data"]] == ["production"]
    assert client.get("/v1/models/iris/versions/1").get_json()["aliases"] == ["production"]
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get(f"{path}/history").get_json()["data"][0]["to"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"version": 3}, "/version"),
        ({"version": True}, "/version"),
        ({"version": 2**40}, "/version"),
        ({"version": "1"}, "/version"),
        ({"version": 1, "x": 1}, "/x"),
        ({}, "/version"),
    ],
)
def test_a_move_to_nowhere_is_refused(versions: list[str], client: FlaskClient, body: Any, pointer: str) -> None:
    """A move to a version that does not exist is a 422 with its pointer, and creates no alias."""
    assert problem(client.put("/v1/models/iris/aliases/production", json=body)) == (422, [pointer])
    assert client.get("/v1/models/iris/aliases/production").status_code == 404


def test_an_alias_that_is_no_slug_is_refused(versions: list[str], client: FlaskClient) -> None:
    """An alias of other characters can't be set, and is a 404 to read."""
    for alias in ("%C2%85", "a%20b", "-a", "a" * 129):
        path = f"/v1/models/iris/aliases/{alias}"
        assert client.put(path, json={"version": 1}).status_code == 422
        for answer in (client.get(path), client.delete(path), client.get(f"{path}/history")):
            assert answer.status_code == 404


def test_what_an_alias_points_at_stays(versions: list[str], client: FlaskClient) -> None:
    """A version with an alias can't be deleted, nor its model, nor its job."""
    client.put("/v1/models/iris/aliases/production", json={"version": 2})
    for path in ("/v1/models/iris", "/v1/models/iris/versions/2"):
        assert client.delete(path).status_code == 409
    assert client.delete("/v1/models/iris/versions/1").status_code == 204
    assert client.get("/v1/models/iris/versions/1").status_code == 404
    assert client.get(f"/v1/jobs/{versions[0]}").get_json()["model"] is None
    assert client.delete(f"/v1/jobs/{versions[1]}").status_code == 409
    assert client.delete(f"/v1/jobs/{versions[0]}").status_code == 204
    client.delete("/v1/models/iris/aliases/production")
    assert client.delete("/v1/models/iris").status_code == 204
    assert client.get("/v1/models").get_json()["data"] == []


def test_a_description_is_changed_and_nothing_else(versions: list[str], client: FlaskClient) -> None:
    """PATCH changes the description only, and refuses text that can't be stored and other members."""
    changed = client.patch("/v1/models/iris", json={"description": "Three species.\nBy petals."}).get_json()
    assert changed["description"] == "Three species.\nBy petals."
    assert client.get("/v1/models/iris").get_json() == changed
    for body, pointer in (({"description": "a\0"}, "/description"), ({"name": "x"}, "/name"), ({}, "/description")):
        assert pointer in problem(client.patch("/v1/models/iris", json=body))[1]
    assert client.patch("/v1/models/other", json={"description": ""}).status_code == 404


def test_versions_are_compared(versions: list[str], client: FlaskClient) -> None:
    """Figures come in pairs with b - a, specifications with the members that differ; the job's name is not compared."""
    compared = client.get("/v1/models/iris/compare?a=1&b=2").get_json()
    one, two = (client.get(f"/v1/models/iris/versions/{n}").get_json()["metrics"] for n in (1, 2))
    for part in ("validation", "test"):
        loss = compared["metrics"][part]["loss"]
        assert (loss["a"], loss["b"]) == (one[part]["loss"], two[part]["loss"])
        assert loss["difference"] == pytest.approx(two[part]["loss"] - one[part]["loss"])
        assert set(compared["metrics"][part]) == {"loss", *one[part]["metrics"]}
    assert compared["spec"] == [{"pointer": "/training/epochs", "a": 1, "b": 2}]
    for query, parameters in (("?a=1", ["b"]), ("?a=1&b=x", ["b"]), ("?a=0&b=1", ["a"]), ("?a=1&b=2&c=3", ["c"])):
        assert problem(client.get(f"/v1/models/iris/compare{query}")) == (422, parameters)
    assert client.get("/v1/models/iris/compare?a=1&b=3").status_code == 404


def test_lists_have_pages_and_answers_have_tags(versions: list[str], client: FlaskClient) -> None:
    """Following the links of a list gives the whole list, and an ETag gives a 304."""
    for n in (1, 2):
        for alias in ("a", "b", "a"):
            client.put(f"/v1/models/iris/aliases/{alias}", json={"version": n})
    client.post("/v1/models", json={"name": "other", "job_id": versions[0]})
    for path, count in (
        ("/v1/models", 2),
        ("/v1/models/iris/versions", 2),
        ("/v1/models/iris/aliases", 2),
        ("/v1/models/iris/aliases/a/history", 2),
    ):
        seen = []
        place: str | None = f"{path}?limit=1"
        for _ in range(count):
            assert place is not None
            answer = client.get(place)
            assert len(answer.get_json()["data"]) == 1, path
            seen += answer.get_json()["data"]
            place = answer.headers["Link"].split(">")[0][1:] if answer.get_json()["has_more"] else None
        assert place is None
        assert seen == client.get(path).get_json()["data"]
    for path in (
        "/v1/models",
        "/v1/models/iris",
        "/v1/models/iris/versions/1",
        "/v1/models/iris/aliases/a",
        "/v1/models/iris/compare?a=1&b=2",
    ):
        tag = client.get(path).headers["ETag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304, path
    assert client.get("/v1/models/iris/versions?cursor=x").status_code == 422


@pytest.mark.parametrize("name", ["a%00b", "x" * 300, "%F0%9F%8C%B8", "..%2Fx"])
def test_addresses_of_nothing_are_not_found(client: FlaskClient, name: str) -> None:
    """Text and numbers that no database takes are a 404 in an address."""
    big = 10**30
    for path in (name, f"{name}/versions", f"{name}/versions/1", f"iris/versions/{big}", f"{name}/aliases/x"):
        assert client.get(f"/v1/models/{path}").status_code == 404, path
    assert client.delete(f"/v1/models/iris/versions/{big}").status_code == 404


def test_the_input_schema_accepts_what_predict_accepts(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """For each kind of cell in each column, an independent validator and predict agree."""
    cells = [1.5, 2, -7, None, "", "a", "true", "3", 3, 3.0, True, False, "01", 1, "2.5", 2.5, "zz"]
    cells += [" a", "TRUE", "3.0", " 3 ", "NA", "+2", "1e3", "1_0", "A", ["a"], "3.5.0", "03"]
    rows = [[n / 2, ("a", "true", None)[n % 3], ("3", "01", "2.5")[n % 3], "ab"[n % 2]] for n in range(30)]
    table = {"source": "inline", "columns": ["x", "with", "without", "label"], "rows": rows}
    job_id = succeeded(
        model="m",
        dataset=table,
        columns={name: {"type": "categorical", "unknown": "refuse"} for name in ("with", "without")},
        training={"epochs": 1, "validation": {"fraction": 0.1}},
    )
    schema = client.get("/v1/models/m/versions/1").get_json()["input_schema"]
    Draft202012Validator.check_schema(schema)
    valid = Draft202012Validator(schema)
    good = {"x": 1, "with": "a", "without": "3"}
    both: set[bool] = set()
    for column, cell in itertools.product(good, cells):
        row = good | {column: cell}
        served = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [row]}).status_code == 200
        assert valid.is_valid(row) == served, (column, cell)
        both.add(served)
    assert both == {True, False}
    assert not valid.is_valid({"x": 1, "with": "a"})
    assert valid.is_valid(good | {"more": 1})


def test_a_list_of_versions_is_four_statements(versions: list[str], client: FlaskClient, parts: Parts) -> None:
    """Listing any number of versions reads the model, the numbers, the rows and their aliases: four statements."""
    statements: list[str] = []
    event.listen(parts.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    client.get("/v1/models/iris/versions")
    assert len([statement for statement in statements if statement != "BEGIN"]) == 4


def test_a_number_past_any_database_is_not_found(versions: list[str], client: FlaskClient) -> None:
    """A version number that no database can hold is a 404 in an address and a 422 in a query."""
    for number in (2**31, 2**63, 10**30):
        path = f"/v1/models/iris/versions/{number}"
        assert [client.get(path).status_code, client.delete(path).status_code] == [404, 404]
        assert client.post(f"{path}/predict", json={"rows": []}).status_code == 404
        assert client.get(f"/v1/models/iris/compare?a=1&b={number}").status_code == 422


def test_a_repeat_of_what_was_deleted_makes_another(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """Deleting an imported version also deletes its idempotency key: the same request then makes a new version."""
    content = own_weights(client, succeeded())
    key = {"Idempotency-Key": "import-1"}
    address = "/v1/models/again/versions?format=safetensors"

    def post() -> int:
        answer = client.post(address, data=content, content_type="application/octet-stream", headers=key)
        assert answer.status_code == 201
        return int(answer.get_json()["version"])

    first = post()
    assert post() == first
    assert client.delete(f"/v1/models/again/versions/{first}").status_code == 204
    assert post() == first + 1


def own_weights(client: FlaskClient, job_id: str) -> bytes:
    return client.get(f"/v1/jobs/{job_id}/weights").data


def test_an_unknown_parameter_is_refused_everywhere(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    """A route without parameters refuses one too: to ignore it would be to answer another question."""
    answer = client.get(f"/v1/jobs/{succeeded()}/certificate?checkpoint=999")
    assert (answer.status_code, answer.get_json()["errors"][0]["parameter"]) == (422, "checkpoint")
