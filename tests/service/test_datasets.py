"""Uploads: stored once, profiled, used by jobs, refused with their place."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.context import Parts
from worker.data.storage import Storage
from worker.errors import MissingBytesError

CSV = "age,city,label\n" + "".join(
    f"{20 + n % 30},{'Bonn' if n % 3 else 'Ulm'},{'yes' if n % 2 else 'no'}\n" for n in range(60)
)


def upload(client: FlaskClient, text: str = CSV) -> TestResponse:
    return client.post("/v1/datasets?name=people", data=text.encode(), content_type="text/csv")


def test_an_upload_is_profiled_and_the_same_bytes_have_the_same_id(client: FlaskClient) -> None:
    """An upload is described by its columns, and uploading its bytes again, in any way, gives the same dataset."""
    first = upload(client)
    dataset = first.get_json()
    assert (first.status_code, first.headers["Location"]) == (201, f"/v1/datasets/{dataset['id']}")
    assert (dataset["name"], dataset["rows"], dataset["bytes"]) == ("people", 60, len(CSV))
    assert [(column["name"], column["type"]) for column in dataset["columns"]] == [
        ("age", "numeric"), ("city", "categorical"), ("label", "categorical"),
    ]  # fmt: skip
    assert dataset["columns"][1]["categories"] == ["Bonn", "Ulm"]
    again = upload(client)
    assert (again.status_code, again.get_json()["id"]) == (200, dataset["id"])
    multipart = client.post("/v1/datasets", data={"file": (io.BytesIO(CSV.encode()), "../../x.csv")})
    assert multipart.get_json()["id"] == dataset["id"]
    assert [row["id"] for row in client.get("/v1/datasets").get_json()["data"]] == [dataset["id"]]
    assert client.get(f"/v1/datasets/{dataset['id']}/rows?limit=1").get_json()["rows"] == [[20, "Ulm", "no"]]


def test_a_job_trains_on_an_upload_and_predicts_its_raw_values(
    client: FlaskClient, succeeded: Callable[..., str]
) -> None:
    """Missing cells are imputed; a category that training never saw draws a warning, or is refused if asked for."""
    dataset_id = upload(client, CSV + ",Ulm,no\n33,,yes\n").get_json()["id"]
    job_id = succeeded(dataset={"source": "stored", "id": dataset_id})
    rows = [{"age": 30, "city": "Bonn"}, {"age": None, "city": None}]
    predicted = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": rows}).get_json()
    assert set(predicted["predictions"]) <= {"yes", "no"}
    asked = {"rows": [{"age": 30, "city": "Bon"}]}
    (warning,) = client.post(f"/v1/jobs/{job_id}/predict", json=asked).get_json()["warnings"]
    assert (warning["row"], warning["column"]) == (0, "city")
    assert "'Bon' is a category that training never saw; the nearest that it saw is 'Bonn'" in warning["detail"]
    refusing = {"city": {"type": "categorical", "unknown": "refuse"}}
    strict_id = succeeded(dataset={"source": "stored", "id": dataset_id}, columns=refusing)
    unknown = client.post(f"/v1/jobs/{strict_id}/predict", json=asked)
    assert unknown.status_code == 422
    (error,) = unknown.get_json()["errors"]
    assert (error["row"], error["column"]) == (0, "city")
    assert "'Bon' is a category that training never saw" in error["detail"]
    client.delete(f"/v1/jobs/{strict_id}")
    assert client.delete(f"/v1/datasets/{dataset_id}").status_code == 409
    client.delete(f"/v1/jobs/{job_id}")
    assert client.delete(f"/v1/datasets/{dataset_id}").status_code == 204
    assert client.get(f"/v1/datasets/{dataset_id}").status_code == 404


@pytest.mark.parametrize(
    ("text", "row", "column"),
    [
        ("a,b\n1,2\n3\n", 1, None),
        ("a,a\n1,2\n", None, "a"),
        ("a,b\n1,inf\n", 0, "b"),
        ("", None, None),
        ("a,b\n", None, None),
    ],
)
def test_a_bad_upload_is_refused_with_its_place_and_leaves_nothing(
    client: FlaskClient, text: str, row: int | None, column: str | None, tmp_path: Path
) -> None:
    """A table that can't be read is refused with its row and column, and no bytes are kept."""
    answer = upload(client, text)
    assert answer.status_code == 422
    error = answer.get_json()["errors"][0]
    assert (error.get("row"), error.get("column")) == (row, column)
    assert not (tmp_path / "datasets").exists()


def test_a_repeated_upload_with_a_key_gets_the_same_answer(client: FlaskClient) -> None:
    """The same Idempotency-Key and body get the same answer; another body with that key is a 422."""

    def send(text: str) -> TestResponse:
        return client.post("/v1/datasets", data=text, content_type="text/csv", headers={"Idempotency-Key": "k"})

    first, again, other = send(CSV), send(CSV), send(CSV + "1,Ulm,no\n")
    assert (first.status_code, again.status_code, again.headers["Idempotency-Replayed"]) == (201, 201, "true")
    assert first.get_json() == again.get_json()
    assert other.status_code == 422


def test_a_repeat_gets_the_status_of_the_first(client: FlaskClient) -> None:
    """If the first request with a key found the dataset, its repeats are a 200 too."""
    upload(client)

    def send() -> TestResponse:
        return client.post("/v1/datasets", data=CSV, content_type="text/csv", headers={"Idempotency-Key": "k"})

    first, again = send(), send()
    assert (first.status_code, again.status_code, again.headers["Idempotency-Replayed"]) == (200, 200, "true")
    assert first.data == again.data


def test_other_types_are_not_taken(client: FlaskClient) -> None:
    """Other media types, charsets, multipart names and dataset names are refused."""
    assert client.post("/v1/datasets", data=b"x", content_type="application/zip").status_code == 415
    assert client.post("/v1/datasets", data=b"x", content_type="text/csv; charset=rot13").status_code == 415
    assert client.post("/v1/datasets", data={"other": (io.BytesIO(b"a\n1\n"), "x")}).status_code == 400
    assert client.post("/v1/datasets?name=a%00b", data=b"a\n1\n", content_type="text/csv").status_code == 422


def test_missing_bytes_are_a_named_condition_that_the_same_upload_mends(client: FlaskClient, parts: Parts) -> None:
    """A row without its object answers 503 by a code of its own; the same upload brings the object back."""
    dataset_id = upload(client).get_json()["id"]
    parts.storage.delete(dataset_id)
    refused = client.get(f"/v1/datasets/{dataset_id}/rows")
    assert (refused.status_code, refused.get_json()["code"]) == (503, "storage_missing")
    assert refused.headers["Retry-After"]
    assert "/" not in refused.get_json()["detail"]
    assert upload(client).status_code == 200
    assert client.get(f"/v1/datasets/{dataset_id}/rows").status_code == 200


def test_storage_keeps_bytes_in_a_folder_or_in_memory(tmp_path: Path) -> None:
    """Every kind of storage reads back what it wrote, and deleting twice is harmless."""
    for url in (str(tmp_path / "a" / "b"), "memory://bucket"):
        storage = Storage(url)
        storage.write("dst_1", b"content")
        assert Storage(url).read("dst_1") == b"content"
        assert storage.read_ranges("dst_1", [(0, 2), (3, 99)]) == b"cotent"
        storage.delete("dst_1")
        storage.delete("dst_1")
        with pytest.raises(MissingBytesError):
            storage.read("dst_1")
        with pytest.raises(MissingBytesError):
            storage.read_ranges("dst_1", [(0, 2)])


def test_a_page_ends_when_it_is_large(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of wide tables has fewer of them than asked for, and the next page has the rest."""
    monkeypatch.setattr("worker.records.paging.PAGE_BYTES", 1500)
    for n in range(5):
        columns = ",".join(f"c{n}_{c}" for c in range(3))
        assert client.post("/v1/datasets", data=f"{columns}\n1,2,3\n", content_type="text/csv").status_code == 201
    seen, cursor = [], ""
    while True:
        page = client.get(f"/v1/datasets?limit=4{cursor}").get_json()
        seen.append(len(page["data"]))
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [2, 2, 1]


def test_long_rows_are_shown_in_part(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first rows are long, the answer has fewer of them than were asked for, but at least one."""
    monkeypatch.setattr("service.api.datasets.ROWS_BYTES_LIMIT", 1000)
    table = "a,b\n" + f"{'x' * 300},1\n" * 10
    dataset = client.post("/v1/datasets", data=table, content_type="text/csv").get_json()
    assert len(client.get(f"/v1/datasets/{dataset['id']}/rows?limit=10").get_json()["rows"]) == 2
