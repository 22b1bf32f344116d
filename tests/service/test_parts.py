"""The parts of a job over HTTP: divided by a rule, with tables of their own, and without rows that lack a target."""

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def upload(client: FlaskClient, name: str, lines: list[str]) -> dict[str, Any]:
    answer = client.post(f"/v1/datasets?name={name}", data="\n".join(lines).encode(), content_type="text/csv")
    assert answer.status_code in (200, 201)
    return {"source": "stored", "id": answer.get_json()["id"]}


def rows(count: int, start: int = 0) -> list[str]:
    return [f"{n % 9},{'pq'[n % 2]},{n // 4},{'yn'[n % 3 == 0]}" for n in range(start, start + count)]


HEAD = "size,kind,patient,sick"
SICK = {"target": "sick", "training": {"epochs": 2}}


def test_a_dry_run_and_the_job_agree_on_the_parts(
    client: FlaskClient, post: Callable[..., TestResponse], succeeded: Callable[..., str]
) -> None:
    """An ordered split with rows that lack a target, and a validation part with a table of its own."""
    dataset = upload(client, "all", [HEAD, *rows(60), "1,p,7,", "2,q,8,NA"])
    own = upload(client, "own", [HEAD, *rows(12, 100)])
    training = SICK["training"] | {
        "split": {"type": "ordered", "column": "patient"},
        "validation": {"dataset": own},
        "test": {"fraction": 0.25},
    }
    job = SICK | {"dataset": dataset, "training": training}
    refused = post(query="?dry_run=true", **job)
    assert (refused.status_code, refused.get_json()["errors"][0]["pointer"]) == (422, "/target")
    job |= {"missing_target": "drop"}
    dry = post(query="?dry_run=true", **job).get_json()
    assert dry["rows"] == {"train": 45, "validation": 12, "test": 15}
    assert [feature["name"] for feature in dry["features"]] == ["size", "kind"]
    job_id = succeeded(**job)
    shown = client.get(f"/v1/jobs/{job_id}").get_json()
    assert shown["remarks"] == dry["remarks"] == []
    evaluation = client.get(f"/v1/jobs/{job_id}/evaluation").get_json()
    counted = {part: evaluation[part]["rows"] for part in ("validation", "test")}
    assert counted == {"validation": 12, "test": 15}
    # the specification as it is shown can be posted again, and means the same
    again = client.post("/v1/jobs?dry_run=true", json=shown["spec"]).get_json()
    assert (again["rows"], again["spec"]) == (dry["rows"], shown["spec"])
    # neither table can be deleted while the job is there
    assert [client.delete(f"/v1/datasets/{each['id']}").status_code for each in (dataset, own)] == [409, 409]


def test_a_model_of_a_job_with_several_tables_has_one_version(
    client: FlaskClient, succeeded: Callable[..., str]
) -> None:
    """It shows the table that the job was trained on."""
    dataset, own = upload(client, "all", [HEAD, *rows(60)]), upload(client, "own", [HEAD, *rows(12, 100)])
    training = SICK["training"] | {"validation": {"dataset": own}, "test": {"dataset": dataset}}
    succeeded(**SICK | {"dataset": dataset, "training": training, "model": "m"})
    (version,) = client.get("/v1/models/m/versions").get_json()["data"]
    assert version["data"]["id"] == dataset["id"]


def test_a_fault_of_a_parts_own_table_names_its_place(client: FlaskClient, post: Callable[..., TestResponse]) -> None:
    dataset = upload(client, "all", [HEAD, *rows(60)])
    other = upload(client, "other", ["size,kind,sick", "1,p,maybe", "2,q,y"])
    for given, pointer in (
        ({"source": "stored", "id": f"dst_{'0' * 32}"}, "/training/test/dataset/id"),
        (other, "/training/test/dataset"),
    ):
        training = SICK["training"] | {"test": {"dataset": given}}
        answer = post(**SICK | {"dataset": dataset, "training": training})
        assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_job_has_the_remarks_of_its_dry_run(
    client: FlaskClient, post: Callable[..., TestResponse], succeeded: Callable[..., str]
) -> None:
    """Lists leave them out."""
    dataset = upload(client, "odd", [HEAD, *rows(59), "?,p,3,y"])
    job = SICK | {"dataset": dataset}
    dry = post(query="?dry_run=true", **job).get_json()
    job_id = succeeded(**job)
    assert client.get(f"/v1/jobs/{job_id}").get_json()["remarks"] == dry["remarks"]
    assert [(remark["column"], remark["code"]) for remark in dry["remarks"]] == [("size", "mostly_numbers")]
    assert "remarks" not in client.get("/v1/jobs").get_json()["data"][0]


def test_text_that_is_no_category_is_left_out_with_a_remark(
    client: FlaskClient, post: Callable[..., TestResponse], succeeded: Callable[..., str]
) -> None:
    """A name in each row, and a thousand notes; the specification that is kept lists what is learned from."""
    lines = [f"{n % 7},person {n},note {n // 2},{'yn'[n % 3 == 0]}" for n in range(2400)]
    job = SICK | {"dataset": upload(client, "people", ["size,name,note,sick", *lines])}
    dry = post(query="?dry_run=true", **job).get_json()
    assert [feature["name"] for feature in dry["features"]] == ["size"]
    left_out = [remark["column"] for remark in dry["remarks"] if remark["code"] == "left_out"]
    assert left_out == ["name", "note"]
    shown = client.get(f"/v1/jobs/{succeeded(**job)}").get_json()
    assert (shown["spec"]["features"], shown["remarks"]) == (["size"], dry["remarks"])
    # a listed column is used, or refused
    refused = post(query="?dry_run=true", **job | {"features": ["size", "note"]}).get_json()
    assert refused["errors"][0]["pointer"] == "/columns/note"
