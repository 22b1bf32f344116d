"""Models by name: numbers of versions, what a name, a number and an alias mean, and aliases that move."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

from worker.errors import LeaseLostError, NotFoundError, StateError
from worker.records.aliases import alias_history, list_aliases, move_alias, remove_alias
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT, new_id
from worker.records.jobs import delete_job
from worker.records.sessions import Database
from worker.records.tables import AliasMove, Job, ModelVersion, Project, Weights
from worker.records.versions import Version, delete_model, delete_version, find_version, register_version
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


def test_a_job_that_names_a_model_becomes_its_next_version_when_it_succeeds(
    database: Database, runner: Runner, submit: Callable[..., Any], find: Callable[..., Version]
) -> None:
    """Its final weights, and its last event says so."""
    for expected in (1, 2):
        job_id = submit(training={"epochs": 1}, model="iris")["id"]
        assert runner.run_job(job_id) == "succeeded"
        assert find("iris")[1:] == (expected, weights_of(database, job_id), job_id)
        with database.reading() as session:
            end = happenings_after(session, job_id, 0, limit=100)[-1]
        assert (end.kind, end.payload["model"]) == ("end", {"name": "iris", "version": expected})


def weights_of(database: Database, job_id: str) -> str:
    with database.reading() as session:
        return newest_weights_id(session, job_id, "final")


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


@pytest.fixture
def two(trained: Callable[..., str], register: Callable[[str, str], Version]) -> tuple[str, str]:
    """The weights of versions 1 and 2 of iris."""
    first, second = trained(), trained()
    register("iris", first)
    register("iris", second)
    return first, second


def test_an_alias_moves_and_moves_back_with_its_history(
    database: Database, two: tuple[str, str], find: Callable[..., Version]
) -> None:
    """A move to where it points already is none; a removed alias keeps its history."""
    for version, by in ((1, "ann"), (2, "bob"), (2, "bob"), (1, "cem")):
        database.write(
            lambda session, version=version, by=by: move_alias(  # type: ignore[misc]
                session, DEFAULT_PROJECT, "iris", "production", version, by=by
            )
        )
        assert find("iris", alias="production").weights_id == two[version - 1]
    database.write(lambda session: remove_alias(session, DEFAULT_PROJECT, "iris", "production", by="dee"))
    with pytest.raises(NotFoundError):
        find("iris", alias="production")
    with database.reading() as session:
        moves, more = alias_history(session, DEFAULT_PROJECT, "iris", "production", limit=3)
        rest, none_left = alias_history(session, DEFAULT_PROJECT, "iris", "production", before=moves[-1].id, limit=3)
        assert list_aliases(session, DEFAULT_PROJECT, "iris", limit=10) == ([], False)
    assert [(move.moved_by, move.was, move.became) for move in moves + rest] == [
        ("dee", 1, None),
        ("cem", 2, 1),
        ("bob", 1, 2),
        ("ann", None, 1),
    ]
    assert (more, none_left) == (True, False)


def test_an_alias_of_a_version_that_is_not_there_is_refused(database: Database, two: tuple[str, str]) -> None:
    for name, version in (("iris", 3), ("other", 1)):
        with pytest.raises(NotFoundError):
            database.write(
                lambda session, name=name, version=version: move_alias(  # type: ignore[misc]
                    session, DEFAULT_PROJECT, name, "production", version, by="ann"
                )
            )
    with database.reading() as session, pytest.raises(NotFoundError):
        alias_history(session, DEFAULT_PROJECT, "iris", "production", limit=3)


def test_what_an_alias_points_at_is_not_deleted_and_a_number_is_not_given_again(
    database: Database, two: tuple[str, str], trained: Callable[..., str], register: Callable[[str, str], Version]
) -> None:
    def write(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return database.write(lambda session: work(session, DEFAULT_PROJECT, "iris", *arguments, **options))

    write(move_alias, "production", 2, by="ann")
    for remove, arguments in ((delete_version, (2,)), (delete_model, ())):
        with pytest.raises(StateError, match="production"):
            write(remove, *arguments)
    write(delete_version, 1)
    assert model_of(database, two[0]) is None
    write(remove_alias, "production", by="ann")
    write(delete_version, 2)
    assert register("iris", trained()).version == 3
    write(delete_model)
    with database.reading() as session:
        assert session.scalars(select(ModelVersion.version)).all() == []
        assert session.scalars(select(AliasMove.id)).all() == []
        assert len(session.scalars(select(Weights.id).where(Weights.kind == "final")).all()) == 3


def test_a_job_says_which_of_its_versions_is_left(
    database: Database, trained: Callable[..., str], register: Callable[[str, str], Version]
) -> None:
    weights_id = trained()
    register("a", weights_id)
    register("b", weights_id)
    assert model_of(database, weights_id)["name"] in ("a", "b")
    database.write(lambda session: delete_model(session, DEFAULT_PROJECT, "b"))
    assert model_of(database, weights_id) == {"name": "a", "version": 1}


def test_a_job_whose_weights_a_version_serves_is_not_deleted(database: Database, two: tuple[str, str]) -> None:
    """Nor when the version comes while the job is being deleted: one of the two is refused."""
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
    """Never a version whose weights are gone."""
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
