"""Versions: their numbers, what a name and a number mean, and what keeps a job from deletion."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from worker.errors import LeaseLostError, NotFoundError, StateError
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.jobs import delete_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job, ModelVersion, Project, Weights
from worker.records.versions import (
    Version,
    delete_model,
    delete_version,
    first_models,
    newest_numbers,
    register_version,
)
from worker.records.weights import find_weights_id
from worker.running.run import Runner


def model_of(database: Database, weights_id: str) -> Any:
    """Return what the job of these weights says about its model."""
    with database.reading() as session:
        return session.scalar(select(Job.model).join(Weights, Weights.job_id == Job.id).where(Weights.id == weights_id))


def test_versions_count_from_one_by_name_and_the_newest_is_meant(
    database: Database,
    trained: Callable[..., str],
    register: Callable[[str, str], Version],
    find: Callable[..., Version],
) -> None:
    """Each name has numbers of its own; a name alone means its newest version, and the job names that too."""
    first, second = trained(), trained()
    assert [register("iris", first).version, register("iris", second).version] == [1, 2]
    assert register("other", first).version == 1
    assert (find("iris").version, find("iris").weights_id) == (2, second)
    assert find("iris", version=1).weights_id == first
    assert model_of(database, second) == {"name": "iris", "version": 2}


def test_the_same_weights_are_one_version(
    database: Database, trained: Callable[..., str], register: Callable[[str, str], Version]
) -> None:
    """Registered again, they keep their number, and no number is used up."""
    weights_id = trained()
    assert register("iris", weights_id) == register("iris", weights_id)
    again = database.write(lambda session: register_version(session, DEFAULT_PROJECT, "iris", weights_id))
    assert again[1] is False
    assert register("iris", trained()).version == 2


def test_two_that_register_at_once_get_two_numbers(database: Database, trained: Callable[..., str]) -> None:
    """This holds even for the first versions of a new name."""
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
    """The same error is raised for what no database could hold, and for another project's."""
    register("iris", trained())
    with pytest.raises(NotFoundError):
        find(name, **asked)


def test_another_projects_weights_are_not_found(database: Database, trained: Callable[..., str]) -> None:
    """A project can register only its own weights."""
    weights_id, other = trained(), new_id("prj")
    database.write(lambda session: session.execute(insert(Project).values(id=other, name=other)))
    with pytest.raises(NotFoundError):
        database.write(lambda session: register_version(session, other, "iris", weights_id))


def test_a_job_that_names_a_model_becomes_its_next_version_when_it_succeeds(
    database: Database, runner: Runner, submit: Callable[..., Any], find: Callable[..., Version]
) -> None:
    """The version serves its final weights, and its last event says so."""
    for expected in (1, 2):
        job_id = submit(training={"epochs": 1}, model="iris")["id"]
        assert runner.run_job(job_id) == "succeeded"
        assert find("iris")[1:] == (expected, weights_of(database, job_id), job_id)
        with database.reading() as session:
            end = happenings_after(session, job_id, 0, limit=100)[-1]
        assert (end.kind, end.payload["model"]) == ("end", {"name": "iris", "version": expected})


def weights_of(database: Database, job_id: str) -> str:
    with database.reading() as session:
        return find_weights_id(session, job_id, "final")


def test_no_version_without_the_jobs_success(
    database: Database, runner: Runner, submit: Callable[..., Any], find: Callable[..., Version], monkeypatch: Any
) -> None:
    """The lease is lost in the very transaction that publishes the weights: no trace of it is left."""

    def lost(*_: Any, **__: Any) -> None:
        raise LeaseLostError("another has it")

    job_id = submit(training={"epochs": 1}, model="iris")["id"]
    monkeypatch.setattr("worker.running.run.end_attempt", lost)
    assert runner.run_job(job_id) is None
    with pytest.raises(NotFoundError):
        find("iris")


def test_a_job_says_which_of_its_versions_is_left(
    database: Database, trained: Callable[..., str], register: Callable[[str, str], Version]
) -> None:
    """When one of two models that serve its weights is deleted, the job names the other."""
    weights_id = trained()
    register("a", weights_id)
    register("b", weights_id)
    assert model_of(database, weights_id)["name"] in ("a", "b")
    database.write(lambda session: delete_model(session, DEFAULT_PROJECT, "b"))
    assert model_of(database, weights_id) == {"name": "a", "version": 1}


def test_a_job_whose_weights_a_version_serves_is_not_deleted(database: Database, two: tuple[str, str]) -> None:
    """When the version is deleted the job can be deleted too, and its weights can not be registered again."""
    with database.reading() as session:
        job_id = session.scalar(select(Weights.job_id).where(Weights.id == two[0]))
    assert job_id is not None
    with pytest.raises(StateError, match="version"):
        database.write(lambda session: delete_job(session, DEFAULT_PROJECT, job_id))
    database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "iris", 1))
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, job_id))
    with pytest.raises(NotFoundError):
        database.write(lambda session: register_version(session, DEFAULT_PROJECT, "iris", two[0]))


def test_deleting_a_job_and_registering_it_at_once_leaves_one_of_the_two(
    database: Database, trained: Callable[..., str]
) -> None:
    """One of the two is refused, and no version is left whose weights are deleted."""
    weights_id = trained()
    with database.reading() as session:
        job_id = session.get_one(Weights, weights_id).job_id
    assert job_id is not None
    barrier, refused = threading.Barrier(2), []

    def attempt(work: Callable[..., Any], *arguments: str) -> None:
        barrier.wait()
        try:
            database.write(lambda session: work(session, DEFAULT_PROJECT, *arguments))
        except (StateError, NotFoundError) as error:
            refused.append(error)

    threads = [
        threading.Thread(target=attempt, args=(delete_job, job_id)),
        threading.Thread(target=attempt, args=(register_version, "iris", weights_id)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    with database.reading() as session:
        versions = session.scalars(select(ModelVersion.weights_id)).all()
        assert all(session.get(Weights, weights_id) is not None for weights_id in versions)


def test_versions_are_listed_by_name_and_number(
    database: Database, submit: Callable[..., Snapshot], runner: Runner
) -> None:
    """Only this project's versions are listed, without those that were deleted."""
    weights = []
    for seed in range(3):
        job_id = submit(training={"epochs": 1, "seed": seed})["id"]
        assert runner.run_job(job_id) == "succeeded"
        with database.reading() as session:
            weights.append(find_weights_id(session, job_id))
    for name, position in (("b", 0), ("a", 0), ("b", 1), ("b", 2), ("a", 1)):
        database.write(lambda session, n=name, k=position: register_version(session, DEFAULT_PROJECT, n, weights[k]))
    database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "b", 2))
    with database.reading() as session:
        assert first_models(session, DEFAULT_PROJECT, limit=9) == [("a", 2), ("b", 3)]
        assert first_models(session, DEFAULT_PROJECT, limit=1) == [("a", 2)]
        assert first_models(session, "prj_other", limit=9) == []
        assert newest_numbers(session, DEFAULT_PROJECT, "b", limit=9) == [1, 3]
        assert newest_numbers(session, DEFAULT_PROJECT, "b", limit=1) == [3]
        assert newest_numbers(session, DEFAULT_PROJECT, "c", limit=9) == []
        assert newest_numbers(session, DEFAULT_PROJECT, "\0", limit=9) == []
