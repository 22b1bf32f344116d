"""Aliases: they move, keep their history, and protect what they point at."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from tests.worker.records.test_versions import model_of
from worker.errors import NotFoundError, StateError
from worker.records.aliases import alias_history, list_aliases, move_alias, remove_alias
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.tables import AliasMove, ModelVersion, Weights
from worker.records.versions import Version, delete_model, delete_version


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
    """It is refused whether the number or the model is unknown, and nothing is left in the history."""
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
    """An alias protects its version and its model; after their deletion the jobs' weights are still there."""

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
