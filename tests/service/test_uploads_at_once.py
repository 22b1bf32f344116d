"""Requests that arrive at once under one idempotency key, in real threads, on both databases."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from service.context import Parts
from service.settings import ServiceSettings
from tests.conftest import SPEC
from tests.service.conftest import KEY
from worker.records.tables import Dataset, IdempotencyKey, Job, ModelVersion

AT_ONCE = 24
TABLE = "age,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(40))


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> ServiceSettings:
    url = request.getfixturevalue(f"{request.param}_url")
    return ServiceSettings(data_dir=tmp_path, database_url=url, redis_url=redis_url, api_key=SecretStr(KEY))


@pytest.fixture
def at_once(app: Flask) -> Callable[..., list[TestResponse]]:
    """Post the same request from 24 threads at once, under one key, and return the answers."""

    def at_once(path: str, **body: Any) -> list[TestResponse]:
        barrier = threading.Barrier(AT_ONCE)
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "one"}

        def send(_number: int) -> TestResponse:
            barrier.wait()
            return app.test_client().post(path, headers=headers, **body)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(send, range(AT_ONCE)))

    return at_once


def count(parts: Parts, table: Any) -> int:
    with parts.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_uploads_at_once_under_one_key_are_one_dataset(
    at_once: Callable[..., list[TestResponse]], parts: Parts
) -> None:
    """24 equal uploads under one key make one dataset and one object, and get equal answers."""
    answers = at_once("/v1/datasets?name=people", data=TABLE.encode(), content_type="text/csv")
    assert Counter(answer.status_code for answer in answers) == {201: AT_ONCE}
    assert len({answer.data for answer in answers}) == 1
    assert (count(parts, Dataset), count(parts, IdempotencyKey)) == (1, 1)
    assert parts.storage.list_keys() == [answers[0].get_json()["id"]]


def test_jobs_at_once_under_one_key_are_one_job(at_once: Callable[..., list[TestResponse]], parts: Parts) -> None:
    """24 equal jobs with inline rows make one job and one dataset, and get equal answers."""
    rows = {"source": "inline", "columns": ["x", "label"], "rows": [[n, "ab"[n % 2]] for n in range(40)]}
    answers = at_once("/v1/jobs", json=SPEC | {"dataset": rows})
    assert Counter(answer.status_code for answer in answers) == {202: AT_ONCE}
    assert len({answer.data for answer in answers}) == 1
    assert (count(parts, Job), count(parts, Dataset)) == (1, 1)


def test_versions_at_once_under_one_key_are_one_version(
    at_once: Callable[..., list[TestResponse]], parts: Parts, succeeded: Callable[..., str]
) -> None:
    """24 equal registrations make one version, and get equal answers."""
    job_id = succeeded()
    answers = at_once("/v1/models", json={"name": "iris", "job_id": job_id})
    assert Counter(answer.status_code for answer in answers) == {201: AT_ONCE}
    assert len({answer.data for answer in answers}) == 1
    assert count(parts, ModelVersion) == 1
