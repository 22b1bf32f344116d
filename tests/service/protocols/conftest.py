"""Models of each kind, trained once; each test has a database of its own with all of them."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from service.app import create_app
from service.context import EXTENSION, Parts
from service.settings import ServiceSettings
from tests.conftest import SPEC
from tests.service.conftest import KEY
from worker.running.run import Runner

HOUSES = "city,area,price\n" + "".join(
    f"{('oslo', 'rome', '')[n % 3]},{'' if n % 7 == 0 else n},{100 + 3 * n + 20 * (n % 3)}\n" for n in range(60)
)
LETTERS = "colour,size,kind\n" + "".join(f"{('red', 'blue')[n % 2]},{n},{'ab'[n % 2]}\n" for n in range(40))
TAGS = "x,y,sweet,sour\n" + "".join(f"{n},{n * n % 7},{n % 2},{n % 3 // 2}\n" for n in range(40))
EMBEDDING = [{"type": "embedding", "column": "colour", "dimensions": 2}, {"type": "dense", "units": 4}]

MODELS: dict[str, tuple[str | None, dict[str, Any]]] = {
    # four numbers, three classes
    "iris": (None, {"training": {"epochs": 20}}),
    # a category and a number, both sometimes missing; a number, by an ensemble of three
    "houses": (HOUSES, {"target": "price", "training": {"epochs": 3, "ensemble": 3}}),
    # two labels that are each there or not
    "tags": (TAGS, {"target": ["sweet", "sour"], "training": {"epochs": 3, "loss": "binary_cross_entropy"}}),
    # a category that goes into an embedding, and a number
    "letters": (LETTERS, {"target": "kind", "network": {"layers": EMBEDDING}}),
}


@pytest.fixture(scope="session")
def _trained(_sqlite_template: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which every model has its version 1."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "gradmill.db"
    shutil.copy(_sqlite_template, path)
    settings = ServiceSettings(
        data_dir=folder, database_url=f"sqlite:///{path}", redis_url=redis_url, api_key=SecretStr(KEY)
    )
    app = create_app(settings)
    parts: Parts = app.extensions[EXTENSION]
    runner = Runner(parts.database, parts.datasets, settings, threading.Event(), "wrk_test", parts.doorbell.announce)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    for name, (table, changes) in MODELS.items():
        job = client.post("/v1/jobs", json=SPEC | changes | {"model": name} | _dataset(client, table))
        assert runner.run_job(job.get_json()["id"]) == "succeeded"
    parts.live.close()
    parts.doorbell.close()
    parts.database.close()
    return path


def _dataset(client: FlaskClient, table: str | None) -> dict[str, Any]:
    if table is None:
        return {}
    answer = client.post("/v1/datasets", data=table.encode(), content_type="text/csv")
    return {"dataset": {"source": "stored", "id": answer.get_json()["id"]}}


@pytest.fixture
def sqlite_url(_trained: Path, tmp_path: Path) -> str:
    path = tmp_path / "gradmill.db"
    shutil.copy(_trained, path)
    return f"sqlite:///{path}"


@pytest.fixture
def infer(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """The outputs' data by name, asked and told as JSON."""

    def infer(name: str, *inputs: dict[str, Any], **members: Any) -> dict[str, Any]:
        answer = client.post(f"/v2/models/{name}/infer", json={"inputs": list(inputs)} | members)
        assert answer.status_code == 200, answer.get_data()
        return {output["name"]: output["data"] for output in answer.get_json()["outputs"]}

    return infer


def tensor(name: str, data: list[Any], datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    """An input as JSON; a column unless a shape is given."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}
