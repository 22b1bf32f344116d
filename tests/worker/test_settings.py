"""Settings: what they mean, and how a bad one is refused."""

import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import create_engine

from service.settings import ServiceSettings
from worker.errors import StartError
from worker.settings import Settings, read_settings

BAD = [
    ("GRADMILL_PORT", "lots", "'lots'"),
    ("GRADMILL_PORT", "70000", "65535"),
    ("GRADMILL_WORKERS", "0", "greater than or equal to 1"),
    ("GRADMILL_LEASE_SECONDS", "soon", "'soon'"),
    ("GRADMILL_LIMIT_ROWS", "many", "'many'"),
    ("GRADMILL_KEEP_EVENTS_DAYS", "-1", "greater than 0"),
    ("GRADMILL_LOG_LEVEL", "loud", "debug, info, warning"),
    ("GRADMILL_DATABASE_URL", "mysql://me:secret@db/x", "must begin with sqlite://"),
    ("GRADMILL_DATABASE_URL", "postgres://me:not@db:secret@db/x", "can't be read"),
    ("GRADMILL_DATABASE_URL", "postgres://me:secret@db:port/x", "can't be read"),
    ("GRADMILL_DATABASE_URL", "sqlite://secret.db", "three slashes"),
    ("GRADMILL_REDIS_URL", "amqp://me:secret@mq", "must begin with redis://"),
    ("GRADMILL_REDIS_URL", "redis://me:secret@mq:port/0", "can't be read"),
    ("GRADMILL_STORAGE_URL", "nowhere://me:secret@bucket", "nowhere://"),
    ("GRADMILL_CORS_ORIGINS", "https://example.org", "must be JSON"),
]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_is_taken(scheme: str) -> None:
    """Hosting services write postgres://, which SQLAlchemy itself refuses."""
    url = Settings(database_url=f"{scheme}://me@db:5432/gradmill").database
    engine = create_engine(url)
    assert (engine.dialect.name, engine.driver, engine.url.database) == ("postgresql", "psycopg", "gradmill")


def test_without_a_database_it_is_sqlite_in_the_data_folder(tmp_path: Path) -> None:
    """A laptop needs no database server."""
    assert Settings(data_dir=tmp_path).database == f"sqlite:///{tmp_path}/gradmill.db"


@pytest.mark.parametrize(("name", "value", "said"), BAD)
def test_a_bad_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """The line names the variable and what would be right, and never repeats a password."""
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as caught:
        read_settings(ServiceSettings)
    line = str(caught.value)
    assert line.startswith(name)
    assert said in line
    assert "\n" not in line
    assert "secret" not in line


def test_each_of_several_bad_settings_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start is enough to learn of all of them."""
    monkeypatch.setenv("GRADMILL_PORT", "lots")
    monkeypatch.setenv("GRADMILL_WORKERS", "none")
    with pytest.raises(StartError) as caught:
        read_settings(ServiceSettings)
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["GRADMILL_WORKERS", "GRADMILL_PORT"]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value, _ in BAD if "secret" in value])
def test_a_refused_url_is_not_in_the_error_of_a_direct_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """`celery -A worker.tasks` and gunicorn read the settings without our words around them."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "secret" not in "".join(traceback.format_exception(caught.value))
