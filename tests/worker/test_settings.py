"""Settings: what they mean, and how a bad one is refused."""

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import create_engine

from service.cli import main
from service.db_commands import db
from service.settings import ServiceSettings
from worker.errors import StartError
from worker.secret_files import SECRETS
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
    ("GRADMILL_PUBLIC_URL", "https://g.example/gradmill", "without a path"),
    ("GRADMILL_PUBLIC_URL", "g.example", "without a path"),
    ("GRADMILL_PROXIES", "-1", "greater than or equal to 0"),
    ("GRADMILL_SESSION_HOURS", "0", "greater than 0"),
    ("GRADMILL_TRUSTED_HOSTS", '["https://g.example"]', "must be host names"),
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
    """`celery -A worker.tasks` and the server of the API read the settings without our words around them."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_can_be_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """As Docker mounts secrets; the newline at the end is not a part of it. An empty variable is none."""
    value = {"api_key": "k" * 40, "storage_url": "/uploads", "redis_url": "redis://:p@r", "database_url": "sqlite:///x"}
    (tmp_path / "secret").write_text(value[name] + "\n")
    monkeypatch.setenv(f"GRADMILL_{name.upper()}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(f"GRADMILL_{name.upper()}", "")
    read = getattr(read_settings(ServiceSettings), name)
    assert (read.get_secret_value() if isinstance(read, SecretStr) else read) == value[name]


def test_a_secret_file_that_does_not_serve_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not there, empty, not text, or with the variable itself: nothing is guessed, and no secret is repeated."""
    path = tmp_path / "secret"
    monkeypatch.setenv("GRADMILL_REDIS_URL_FILE", str(path))
    for content, said in ((None, "no such file"), (b" \n", "empty file"), (b"\xff\xfe", "not text")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StartError, match=f"GRADMILL_REDIS_URL_FILE names .*{said}") as caught:
            read_settings(Settings)
        assert "\n" not in str(caught.value)
    path.write_text("redis://:secret@mq:port/0")
    with pytest.raises(StartError, match="GRADMILL_REDIS_URL can't be read") as caught:
        read_settings(Settings)
    monkeypatch.setenv("GRADMILL_REDIS_URL", "redis://:secret@mq/0")
    with pytest.raises(StartError, match="set GRADMILL_REDIS_URL or GRADMILL_REDIS_URL_FILE, not both") as caught:
        read_settings(Settings)
    assert "secret@" not in str(caught.value)


def test_no_flag_carries_a_secret() -> None:
    """The process list shows flags to everyone on the machine."""
    for command in (main, *main.commands.values(), *db.commands.values()):
        names = {parameter.name for parameter in command.params}
        assert not names & set(SECRETS), command.name
