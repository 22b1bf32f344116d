"""The cache of predictors: names in use need no database, and this process's own changes are seen at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from service.context import Parts
from worker.errors import NotFoundError
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.versions import register_version
from worker.records.weights import find_weights_id


@pytest.fixture
def register(parts: Parts, succeeded: Callable[..., str]) -> Callable[[], str]:
    """Train a job, register it as the next version of iris, and return the id of its weights."""

    def register() -> str:
        job_id = succeeded(training={"epochs": 1})
        with parts.database.reading() as session:
            weights_id = find_weights_id(session, job_id)
        parts.database.write(lambda session: register_version(session, DEFAULT_PROJECT, "iris", weights_id))
        parts.predictors.names_moved()
        return weights_id

    return register


def test_a_hot_name_asks_the_database_nothing_and_a_change_is_seen_at_once(
    parts: Parts, register: Callable[[], str]
) -> None:
    """A name in use is answered from memory until this process changes it, and only within its project."""
    first = register()
    served = parts.predictors.of_model(DEFAULT_PROJECT, "iris")
    assert (served.name, served.version, served.weights_id) == ("iris", 1, first)
    statements: list[str] = []
    event.listen(parts.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert parts.predictors.of_model(DEFAULT_PROJECT, "iris") == served
    assert statements == []
    second = register()
    assert parts.predictors.of_model(DEFAULT_PROJECT, "iris").weights_id == second
    assert parts.predictors.of_model(DEFAULT_PROJECT, "iris", version=1).weights_id == first
    with pytest.raises(NotFoundError):
        parts.predictors.of_model("prj_other", "iris")


def test_a_look_from_before_a_change_is_not_kept(
    parts: Parts, register: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that is registered between the lookup and the caching of its result is seen by the next request."""
    register()
    reading, second = parts.database.reading, []

    @contextmanager
    def read_and_register() -> Iterator[Session]:
        with reading() as session:
            yield session
        monkeypatch.undo()
        second.append(register())

    monkeypatch.setattr(parts.database, "reading", read_and_register)
    parts.predictors.of_model(DEFAULT_PROJECT, "iris")
    assert parts.predictors.of_model(DEFAULT_PROJECT, "iris").weights_id == second[0]
