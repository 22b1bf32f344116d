"""Trained weights, and versions that serve them."""

from collections.abc import Callable
from typing import Any

import pytest

from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.versions import Version, find_version, register_version
from worker.records.weights import find_weights_id
from worker.running.run import Runner


@pytest.fixture
def trained(database: Database, runner: Runner, submit: Callable[..., Any]) -> Callable[..., str]:
    """Train a job of one epoch; the id of its final weights."""

    def trained(**changes: Any) -> str:
        job_id = submit(training={"epochs": 1}, **changes)["id"]
        assert runner.run_job(job_id) == "succeeded"
        with database.reading() as session:
            return find_weights_id(session, job_id, "final")

    return trained


@pytest.fixture
def register(database: Database) -> Callable[[str, str], Version]:
    return lambda name, weights_id: database.write(
        lambda session: register_version(session, DEFAULT_PROJECT, name, weights_id)
    )[0]


@pytest.fixture
def find(database: Database) -> Callable[..., Version]:
    def find(name: str, **asked: Any) -> Version:
        with database.reading() as session:
            return find_version(session, asked.pop("project_id", DEFAULT_PROJECT), name, **asked)

    return find


@pytest.fixture
def two(trained: Callable[..., str], register: Callable[[str, str], Version]) -> tuple[str, str]:
    """The weights of versions 1 and 2 of iris."""
    first, second = trained(), trained()
    register("iris", first)
    register("iris", second)
    return first, second
