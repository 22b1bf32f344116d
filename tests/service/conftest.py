"""The app on SQLite and a real broker, with a runner that works its jobs off in this process."""

import threading
from collections.abc import Callable, Iterator
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
    parts.doorbell.close()
    parts.database.close()


@pytest.fixture
def client(app: Flask, parts: Parts) -> FlaskClient:
    """A client with the key."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEY}"
    return client


@pytest.fixture
def run(parts: Parts) -> Callable[[str], str | None]:
    """Run a job here and now."""
    runner = Runner(
        parts.database, parts.datasets, parts.settings, threading.Event(), "wrk_test", parts.doorbell.announce
    )
    return runner.run_job


@pytest.fixture
def post(client: FlaskClient) -> Callable[..., TestResponse]:
    """Post the iris job with members replaced."""

    def post(headers: dict[str, str] | None = None, query: str = "", **changes: Any) -> TestResponse:
        training = SPEC["training"] | changes.pop("training", {})
        return client.post(f"/v1/jobs{query}", json=SPEC | {"training": training} | changes, headers=headers)

    return post


@pytest.fixture
def succeeded(post: Callable[..., TestResponse], run: Callable[[str], str | None]) -> Callable[..., str]:
    """Post a job and run it; its id."""

    def succeeded(**changes: Any) -> str:
        job_id: str = post(**changes).get_json()["id"]
        assert run(job_id) == "succeeded"
        return job_id

    return succeeded


@pytest.fixture
def later(parts: Parts) -> Iterator[Callable[..., None]]:
    """Call something after so many seconds, in another thread that is over before the app is closed."""
    timers: list[threading.Timer] = []

    def later(seconds: float, call: Callable[..., object], *arguments: object) -> None:
        timers.append(threading.Timer(seconds, call, arguments))
        timers[-1].start()

    yield later
    for timer in timers:
        timer.join()
