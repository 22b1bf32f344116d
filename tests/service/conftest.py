"""The app on SQLite and a real broker, with a runner that runs its jobs in this process."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from service.app import create_app
from service.context import EXTENSION, Parts
from service.settings import ServiceSettings
from tests.conftest import SPEC
from worker.running.run import Runner

KEY = "gm_test_key"

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
    # two yes/no labels
    "tags": (TAGS, {"target": ["sweet", "sour"], "training": {"epochs": 3, "loss": "binary_cross_entropy"}}),
    # a category that goes into an embedding, and a number
    "letters": (LETTERS, {"target": "kind", "network": {"layers": EMBEDDING}}),
}


@contextmanager
def serving(settings: ServiceSettings) -> Iterator[tuple[Flask, FlaskClient, Parts]]:
    """An app, a client that sends the key, and the app's parts, which are closed at the end."""
    app = create_app(settings)
    parts: Parts = app.extensions[EXTENSION]
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    try:
        yield app, client, parts
    finally:
        parts.live.close()
        parts.live.join()
        parts.doorbell.close()
        parts.database.close()


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(
        data_dir=tmp_path, database_url=sqlite_url, redis_url=redis_url, api_key=SecretStr(KEY), heartbeat_seconds=0.2
    )


@pytest.fixture
def app(settings: ServiceSettings) -> Flask:
    return create_app(settings)


@pytest.fixture
def parts(app: Flask) -> Iterator[Parts]:
    parts: Parts = app.extensions[EXTENSION]
    parts.doorbell._redis.flushall()
    yield parts
    parts.live.close()
    parts.live.join()
    parts.doorbell.close()
    parts.database.close()


@pytest.fixture
def client(app: Flask, parts: Parts) -> FlaskClient:
    """Return a client that sends the key."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    return client


@pytest.fixture
def run(parts: Parts) -> Callable[[str], str | None]:
    """Run a job in this process, and return its status."""
    runner = Runner(
        parts.database, parts.datasets, parts.settings, threading.Event(), "wrk_test", parts.doorbell.announce
    )
    return runner.run_job


@pytest.fixture
def post(client: FlaskClient) -> Callable[..., TestResponse]:
    """Post the iris job with some members replaced."""

    def post(headers: dict[str, str] | None = None, query: str = "", **changes: Any) -> TestResponse:
        training = SPEC["training"] | changes.pop("training", {})
        return client.post(f"/v1/jobs{query}", json=SPEC | {"training": training} | changes, headers=headers)

    return post


@pytest.fixture
def succeeded(post: Callable[..., TestResponse], run: Callable[[str], str | None]) -> Callable[..., str]:
    """Post a job, run it, and return its id."""

    def succeeded(**changes: Any) -> str:
        job_id: str = post(**changes).get_json()["id"]
        assert run(job_id) == "succeeded"
        return job_id

    return succeeded


@pytest.fixture
def later(parts: Parts) -> Iterator[Callable[..., None]]:
    """Call something after some seconds, in a thread that ends before the app is closed."""
    timers: list[threading.Timer] = []

    def later(seconds: float, call: Callable[..., object], *arguments: object) -> None:
        timers.append(threading.Timer(seconds, call, arguments))
        timers[-1].start()

    yield later
    for timer in timers:
        timer.join()


@pytest.fixture(scope="session")
def trained_models(_sqlite_template: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train version 1 of each model of MODELS, once, and return the path of the database."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "gradmill.db"
    shutil.copy(_sqlite_template, path)
    settings = ServiceSettings(
        data_dir=folder, database_url=f"sqlite:///{path}", redis_url=redis_url, api_key=SecretStr(KEY)
    )
    with serving(settings) as (_, client, parts):
        known = parts.database, parts.datasets, settings, threading.Event(), "wrk_test", parts.doorbell.announce
        runner = Runner(*known)
        for name, (table, changes) in MODELS.items():
            job = client.post("/v1/jobs", json=SPEC | changes | {"model": name} | _dataset(client, table))
            assert runner.run_job(job.get_json()["id"]) == "succeeded"
    return path


def _dataset(client: FlaskClient, table: str | None) -> dict[str, Any]:
    if table is None:
        return {}
    answer = client.post("/v1/datasets", data=table.encode(), content_type="text/csv")
    return {"dataset": {"source": "stored", "id": answer.get_json()["id"]}}
