"""Models by name: numbers of versions, what a name, a number and an alias mean, and aliases that move."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from worker.errors import NotFoundError
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.models import Version, find_version, register_version
from worker.records.sessions import Database
from worker.records.tables import Job, Project, Weights
from worker.records.weights import newest_weights_id
from worker.running.run import Runner


@pytest.fixture
def trained(database: Database, runner: Runner, submit: Callable[..., Any]) -> Callable[..., str]:
    """Train a job of one epoch; the id of its final weights."""

    def trained(**changes: Any) -> str:
        job_id = submit(training={"epochs": 1}, **changes)["id"]
        assert runner.run_job(job_id) == "succeeded"
        with database.reading() as session:
            return newest_weights_id(session, job_id, "final")

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


def model_of(database: Database, weights_id: str) -> Any:
    """What the job of these weights says of its model."""
    with database.reading() as session:
        return session.scalar(select(Job.model).join(Weights, Weights.job_id == Job.id).where(Weights.id == weights_id))


def test_versions_count_from_one_by_name_and_the_newest_is_meant(
    database: Database,
    trained: Callable[..., str],
    register: Callable[[str, str], Version],
    find: Callable[..., Version],
) -> None:
    first, second = trained(), trained()
    assert [register("iris", first).version, register("iris", second).version] == [1, 2]
    assert register("other", first).version == 1
    assert (find("iris").version, find("iris").weights_id) == (2, second)
    assert find("iris", version=1).weights_id == first
    assert model_of(database, second) == {"name": "iris", "version": 2}


def test_the_same_weights_are_one_version(
    database: Database, trained: Callable[..., str], register: Callable[[str, str], Version]
) -> None:
    weights_id = trained()
    assert register("iris", weights_id) == register("iris", weights_id)
    again = database.write(lambda session: register_version(session, DEFAULT_PROJECT, "iris", weights_id))
    assert again[1] is False
    assert register("iris", trained()).version == 2


def test_two_that_register_at_once_get_two_numbers(database: Database, trained: Callable[..., str]) -> None:
    """Even the first two of a name that nobody has used before."""
    several = [trained() for _ in range(4)]
    barrier, numbers = threading.Barrier(4), []

    def register(weights_id: str) -> None:
        barrier.wait()
        numbers.append(
            database.write(lambda session: register_version(session, DEFAULT_PROJECT, "new", weights_id))[0].version
        )

    threads = [threading.Thread(target=register, args=(weights_id,)) for weights_id in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("iri", {}),
        ("iris", {"version": 2}),
        ("iris", {"version": 2**40}),
        ("iris", {"alias": "production"}),
        ("iris\0", {}),
        ("iris", {"alias": "\0"}),
        ("iris", {"project_id": "prj_other"}),
    ],
)
def test_what_is_not_there_is_not_found(
    trained: Callable[..., str],
    register: Callable[[str, str], Version],
    find: Callable[..., Version],
    name: str,
    asked: dict[str, Any],
) -> None:
    """Alike for what no database could hold, and for another project's."""
    register("iris", trained())
    with pytest.raises(NotFoundError):
        find(name, **asked)


def test_another_projects_weights_are_not_found(database: Database, trained: Callable[..., str]) -> None:
    weights_id, other = trained(), new_id("prj")
    database.write(lambda session: session.execute(insert(Project).values(id=other, name=other)))
    with pytest.raises(NotFoundError):
        database.write(lambda session: register_version(session, other, "iris", weights_id))
