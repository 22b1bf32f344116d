"""A few rows of a stored table: what they cost in bytes and rows read, and that they are the whole table's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from service.context import Parts
from service.settings import ServiceSettings
from worker.data.storage import Storage
from worker.intake import datasets as module
from worker.records.tables import Dataset

SMALL, LARGE = 2_000, 200_000
COLUMNS = 8
NAMES = [*(f"x{n}" for n in range(COLUMNS)), "zip", "label"]
WEIGHT = {"layer": 0, "from": 1, "to": 2}


@pytest.fixture
def settings(settings: ServiceSettings) -> ServiceSettings:
    """Let 200,000 rows be sent with a job."""
    return settings.model_copy(update={"json_memory_bytes_limit": 2**30})


Ask = Callable[[FlaskClient, str, str, int], Any]


def first_rows(client: FlaskClient, _job_id: str, dataset_id: str, _rows: int) -> Any:
    return client.get(f"/v1/datasets/{dataset_id}/rows?limit=5")


def one_row(client: FlaskClient, job_id: str, _dataset_id: str, rows: int) -> Any:
    return client.post(f"/v1/jobs/{job_id}/chain-rule", json={"weight": WEIGHT, "dataset_row": rows // 2})


def some_rows(client: FlaskClient, job_id: str, _dataset_id: str, rows: int) -> Any:
    asked = [rows - 1, 0, rows // 3]
    return client.post(f"/v1/jobs/{job_id}/chain-rule", json={"weight": WEIGHT, "dataset_rows": asked})


def spread(client: FlaskClient, job_id: str, _dataset_id: str, _rows: int) -> Any:
    return client.get(f"/v1/jobs/{job_id}/histograms")


ROUTES: list[Ask] = [first_rows, one_row, some_rows, spread]


def upload(client: FlaskClient, rows: list[list[Any]]) -> dict[str, Any]:
    """Upload the rows as CSV."""
    text = "\n".join([",".join(NAMES), *(",".join(map(str, row)) for row in rows)]) + "\n"
    answer = client.post("/v1/datasets", data=text.encode(), content_type="text/csv")
    return {"source": "stored", "id": answer.get_json()["id"]}


def inline(_client: FlaskClient, rows: list[list[Any]]) -> dict[str, Any]:
    """Send the rows with the job."""
    return {"source": "inline", "columns": NAMES, "rows": rows}


def make_rows(count: int) -> list[list[Any]]:
    """Make rows whose column `zip` is text, because of the last row only."""
    numbers = np.random.default_rng(0).normal(size=(count, COLUMNS)).round(6).tolist()
    return [[*row, "07" if n == count - 1 else "78"[n % 2], "ab"[n % 2]] for n, row in enumerate(numbers)]


@contextmanager
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Count the bytes that are read from the storage, and the rows that are parsed."""
    counts = {"bytes": 0, "rows": 0}

    def counted(function: Callable[..., Any], what: str, size_of: Callable[[Any], int]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            found = function(*arguments, **options)
            counts[what] += size_of(found)
            return found

        return call

    with monkeypatch.context() as patch:
        for name in ("read", "read_ranges"):
            patch.setattr(Storage, name, counted(getattr(Storage, name), "bytes", len))
        patch.setattr(Storage, "open", lambda *_: pytest.fail("opened"))
        patch.setattr(module, "read_pieces", counted(module.read_pieces, "rows", lambda table: table.num_rows))
        patch.setattr(module, "parse_rows", lambda *_, **__: pytest.fail("parsed in the sandbox"))
        yield counts


@pytest.fixture
def trained(client: FlaskClient, succeeded: Callable[..., str]) -> Callable[..., tuple[str, str]]:
    """Train a job on a stored table; return the ids of both."""

    def trained(store: Callable[..., dict[str, Any]], rows: list[list[Any]]) -> tuple[str, str]:
        training = {"epochs": 1, "batch_size": 1024}
        job_id = succeeded(dataset=store(client, rows), training=training)
        return job_id, client.get(f"/v1/jobs/{job_id}").get_json()["spec"]["dataset"]["id"]

    return trained


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", [upload, inline])
def test_a_few_rows_cost_the_same_whatever_the_table(
    client: FlaskClient,
    trained: Callable[..., tuple[str, str]],
    store: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table of 200,000 rows and one of 2,000: less than three times the bytes and the rows, on every route."""
    costs: dict[str, list[dict[str, int]]] = {route.__name__: [] for route in ROUTES}
    for count in (SMALL, LARGE):
        job_id, dataset_id = trained(store, make_rows(count))
        for route in ROUTES:
            with read(monkeypatch) as counts:
                assert route(client, job_id, dataset_id, count).status_code == 200
            costs[route.__name__].append(counts)
    for name, (small, large) in costs.items():
        for what in ("bytes", "rows"):
            assert 0 < large[what] < 3 * small[what], (name, what, costs)


@pytest.mark.parametrize("how", ["in the sandbox", "as a whole"])
@pytest.mark.parametrize("store", [upload, inline])
def test_rows_are_the_same_however_they_are_read(
    client: FlaskClient,
    parts: Parts,
    trained: Callable[..., tuple[str, str]],
    store: Callable[..., dict[str, Any]],
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A long part is parsed in the sandbox, a table of an older version as a whole: every route answers the same."""
    count = 300
    rows = make_rows(count)
    job_id, dataset_id = trained(store, rows)
    found = [route(client, job_id, dataset_id, count).get_json() for route in ROUTES]
    assert found[0]["rows"] == rows[:5]
    if how == "as a whole":
        parts.database.write(lambda session: session.execute(update(Dataset).values(pieces=None)))
    else:
        monkeypatch.setattr(module, "PART_BYTES", 1)
    monkeypatch.setattr(module, "read_pieces", lambda *_: pytest.fail("parsed in this process"))
    assert [route(client, job_id, dataset_id, count).get_json() for route in ROUTES] == found


def test_the_first_rows_of_a_wide_table_are_read_in_part(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are asked for, only as many bytes are read as an answer may have."""
    monkeypatch.setattr("service.api.datasets.ROWS_BYTES_LIMIT", 20_000)
    table = "a,b\n" + f"{'x' * 3000},1\n" * 100
    dataset = client.post("/v1/datasets", data=table.encode(), content_type="text/csv").get_json()
    with read(monkeypatch) as counts:
        answer = client.get(f"/v1/datasets/{dataset['id']}/rows?limit=100").get_json()
    assert len(answer["rows"]) == 6
    assert counts["bytes"] < 20_000
