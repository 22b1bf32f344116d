"""The settings, frozen and read from the environment once. A bad value is refused with one line that names it."""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fsspec import available_protocols
from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from redis.connection import parse_url
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from worker.errors import StartError
from worker.secret_files import SECRETS, SecretFiles

DATABASES = ("sqlite://", "sqlite+pysqlite://", "postgres://", "postgresql://", "postgresql+psycopg://")
BROKERS = ("redis://", "rediss://", "unix://")
PREFIXES = {"Limits": "GRADMILL_LIMIT_", "Retention": "GRADMILL_KEEP_"}
"The prefix of the environment variables by class of settings; for all others it is GRADMILL_."

S = TypeVar("S", bound=BaseSettings)


@dataclass(frozen=True)
class Lease:
    """Every interval that follows from the length of a lease.

    Their order matters: a worker renews its lease well before it fences itself (stops working on the job), and it
    fences itself well before the lease expires and another worker may claim the job.
    seconds: how long a silent worker keeps its job.
    """

    seconds: float

    @property
    def beat_seconds(self) -> float:
        """How long after the last renewal a worker renews its lease."""
        return self.seconds / 3

    @property
    def fence_seconds(self) -> float:
        """How long after the last renewal a run stops by itself."""
        return self.seconds * 2 / 3

    @property
    def tick_seconds(self) -> float:
        """How often the heartbeat of a running job wakes up."""
        return min(0.5, self.seconds / 10)

    @property
    def rescue_seconds(self) -> float:
        """How often each worker looks for expired leases and undelivered jobs."""
        return self.seconds / 5

    @property
    def sleep_seconds(self) -> float:
        """How long a worker's housekeeping may pause; after a longer pause the machine must have slept."""
        return self.seconds / 2

    @property
    def silence_seconds(self) -> float:
        """How long a training process may show no sign of life. At least 10 s, for one that gets little CPU time."""
        return max(self.seconds, 10.0)


class Limits(BaseSettings):
    """The limits of a job. They are checked by arithmetic at submission, and shown by `GET /v1/system`."""

    model_config = SettingsConfigDict(env_prefix="GRADMILL_LIMIT_", frozen=True)

    parameters: int = 50_000_000
    "Weights and biases of one network, or of all members of an ensemble."
    memory_bytes: int = 4 * 2**30
    "Estimated peak memory of one training run."
    flops: float = 1e16
    "Estimated floating point operations of one training run."
    rows: int = 5_000_000
    columns: int = 10_000
    categories: int = 1_000
    "Distinct values of one categorical column."
    queued_jobs: int = 10_000
    "Jobs of one project that may wait at the same time."


class Retention(BaseSettings):
    """How many days data are kept that nothing needs any more. Unset: for ever."""

    model_config = SettingsConfigDict(env_prefix="GRADMILL_KEEP_", frozen=True)

    idempotency_keys_days: Annotated[float, Field(gt=0)] | None = 1.0
    events_days: Annotated[float, Field(gt=0)] | None = 90.0
    "Events of jobs that have ended, except the last of each job. Curves are kept."
    snapshots_days: Annotated[float, Field(gt=0)] | None = None
    "Snapshots of the weights of jobs that have ended. Final weights, and weights that a model serves, are kept."
    predictions_days: Annotated[float, Field(gt=0)] | None = None
    "Predictions of whole tables that have ended, with their results."


class Settings(BaseSettings):
    """The settings of the worker; the service adds those of HTTP. Environment variables: GRADMILL_<NAME>."""

    # an error's text is also printed by who reads Settings without `read_settings`, and a URL may contain a password
    model_config = SettingsConfigDict(env_prefix="GRADMILL_", frozen=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(default_factory=lambda: user_data_path("gradmill"))
    "The folder in which `gradmill up` keeps its database, broker, uploads and key."
    database_url: str = ""
    "SQLAlchemy URL; empty: SQLite in the data folder. PostgreSQL is written postgresql://... or postgres://..."
    redis_url: str = ""
    "redis://, rediss:// or unix://; empty: `gradmill up` starts a Valkey server of its own."
    allow_open_redis: bool = False
    "Start although the broker is on another machine and asks for no password: a firewall must keep strangers out."
    storage_url: str = ""
    "fsspec URL of the folder or bucket of uploads; empty: a folder in the data folder."
    workers: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=lambda: os.cpu_count() or 1)
    "How many training processes one Celery worker has."
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    "How long a worker may be silent before another may take its job."
    stall_seconds: Annotated[float, Field(ge=1)] = 300.0
    "A training process that makes no step for this long is killed; its job resumes from the last checkpoint."
    job_memory_bytes: Annotated[int, Field(ge=1)] | None = None
    "Bytes that a job may allocate before it fails as `out_of_memory`; unset: the machine's memory / workers."
    log_level: str = "info"
    limits: Limits = Field(default_factory=Limits)
    retention: Retention = Field(default_factory=Retention)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what is given, then the files of secrets, then the environment."""
        return init_settings, SecretFiles(settings_cls), env_settings

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: str) -> str:
        _check_url(url, DATABASES, make_url)
        if url.startswith("sqlite") and make_url(url).host:
            raise ValueError("must have three slashes before a file's path: sqlite:///relative or sqlite:////absolute")
        return url

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        _check_url(url, BROKERS, parse_url)
        return url

    @field_validator("storage_url")
    @classmethod
    def _check_storage_url(cls, url: str) -> str:
        protocol, separator, _ = url.partition("://")
        if separator and protocol.split("::")[-1] not in available_protocols():
            raise ValueError(f"must be a folder or a URL that fsspec knows; it does not know {protocol[:32]}://")
        return url

    @field_validator("log_level")
    @classmethod
    def _check_log_level(cls, level: str) -> str:
        if level.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be debug, info, warning, error or critical")
        return level

    @property
    def database(self) -> str:
        """The SQLAlchemy URL to use."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'gradmill.db'}"
        # hosting services write postgres://; with a bare postgresql:// SQLAlchemy would load a driver that is not ours
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database_url)

    @property
    def storage(self) -> str:
        """The fsspec URL to use."""
        return self.storage_url or str(self.data_dir / "datasets")

    @property
    def lease(self) -> Lease:
        """The intervals that follow from `lease_seconds`."""
        return Lease(self.lease_seconds)


def _check_url(url: str, schemes: tuple[str, ...], parse: Callable[[str], object]) -> None:
    if not url:
        return
    if not url.startswith(schemes):
        raise ValueError(f"must begin with {', '.join(schemes[:-1])} or {schemes[-1]}")
    try:
        parse(url)
    except (ArgumentError, ValueError):
        # the parser's own text may repeat a part of a password
        raise ValueError(
            "can't be read: its port must be a number, and @, : or / in a password is %40, %3A or %2F"
        ) from None


def read_settings(kind: type[S], **given: Any) -> S:
    """Read settings from the environment.

    given: values that take precedence over it.
    Raises StartError with one line for each bad value, which names its variable.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        prefix = PREFIXES.get(error.title, "GRADMILL_")
        lines = []
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0])
            shown = "" if name in SECRETS else f", got {str(fault['input'])[:64]!r}"
            said = fault["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
            lines.append(f"{prefix}{name.upper()} {said}{shown}")
        raise StartError("\n".join(dict.fromkeys(lines))) from error
    except SettingsError as error:
        found = re.search(r'field "(\w+)"', str(error))
        name = found[1].upper() if found else "..."
        raise StartError(f'GRADMILL_{name} must be JSON, such as ["https://example.org"]') from error
