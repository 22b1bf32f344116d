"""Databases that a test fills, so that no other can use them."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from migrations.schema import upgrade
from tests.conftest import missing
from worker.records.sessions import Database


@pytest.fixture
def fresh_sqlite(_sqlite_template: Path, tmp_path: Path) -> Callable[[], str]:
    def make() -> str:
        path = tmp_path / f"{uuid.uuid4().hex}.db"
        shutil.copy(_sqlite_template, path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture
def fresh_postgresql(_postgresql_url: str | None) -> Iterator[Callable[[], str]]:
    """Makes databases of this version's schema beside the one that all tests use."""
    if _postgresql_url is None:
        missing("PostgreSQL")
        raise AssertionError
    server = create_engine(_postgresql_url, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        made.append(f"gradmill_test_{uuid.uuid4().hex[:12]}")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {made[-1]}"))
        url = make_url(_postgresql_url).set(database=made[-1]).render_as_string(hide_password=False)
        database = Database(url)
        upgrade(database.engine)
        database.close()
        return url

    yield make
    with server.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()
