"""One frozen Settings, read from the environment once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


@dataclass(frozen=True)
class Lease:
    """The policy of leases: every interval that follows from how long a silent worker keeps its job.

    The order is what matters. A worker renews well before it fences itself, and it fences itself well before the lease
    runs out and another worker may claim the job.
    """

    seconds: float

    @property
    def beat_seconds(self) -> float:
        """A worker renews its lease this long after the last renewal."""
        return self.seconds / 3

    @property
    def fence_seconds(self) -> float:
        """A run stops by itself this long after the last renewal."""
        return self.seconds * 2 / 3

    @property
    def tick_seconds(self) -> float:
        """The heartbeat of a running job wakes up this often."""
        return min(0.5, self.seconds / 10)

    @property
    def rescue_seconds(self) -> float:
        """Each worker looks for expired leases and undelivered jobs this often."""
        return self.seconds / 5

    @property
    def sleep_seconds(self) -> float:
        """A worker that did not look for this long was asleep with its machine."""
        return self.seconds / 2

    @property
    def silence_seconds(self) -> float:
        """A training process that shows no sign of life for this long is dead; a starved one may be silent for 10 s."""
        return max(self.seconds, 10.0)


class Limits(BaseSettings):
    """What a job may ask for. Checked by arithmetic at submission, shown by `GET /v1/system`."""

    model_config = SettingsConfigDict(env_prefix="GRADMILL_LIMIT_", frozen=True)

    parameters: int = 50_000_000
    "Weights and biases of one network."
    memory_bytes: int = 4 * 2**30
    "Estimated peak memory of one training run."
    flops: float = 1e16
    "Estimated floating point operations of one training run."
    rows: int = 5_000_000
    columns: int = 10_000
    categories: int = 1_000
    "Distinct values of one categorical column."
    queued_jobs: int = 10_000
    "Jobs of one project that wait at the same time."


class Retention(BaseSettings):
    """For how many days things are kept that the record does not need; unset: for ever."""

    model_config = SettingsConfigDict(env_prefix="GRADMILL_KEEP_", frozen=True)

    idempotency_keys_days: Annotated[float, Field(gt=0)] | None = 1.0
    events_days: Annotated[float, Field(gt=0)] | None = 90.0
    "Of finished jobs, but for their last; curves stay."
    snapshots_days: Annotated[float, Field(gt=0)] | None = None
    "Of finished jobs, the weights along the way; final weights and what a model serves stay."
    predictions_days: Annotated[float, Field(gt=0)] | None = None
    "Predictions of whole tables that are over, with their results."


class Settings(BaseSettings):
    """The worker's settings; the service extends them with HTTP's. Environment variables: GRADMILL_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="GRADMILL_", frozen=True, extra="ignore")

    data_dir: Path = Field(default_factory=lambda: user_data_path("gradmill"))
    "Where the one-machine mode keeps its database, broker, uploads and key."
    database_url: str = ""
    "SQLAlchemy URL; empty: SQLite in the data folder. PostgreSQL is written postgresql+psycopg://..."
    redis_url: str = ""
    "redis://, rediss:// or unix://; empty: `gradmill up` starts a Valkey server of its own."
    storage_url: str = ""
    "fsspec URL of the folder or bucket of uploaded tables; empty: a folder in the data folder."
    workers: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=lambda: os.cpu_count() or 1)
    "Training processes of one Celery worker."
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    "How long a job stays its worker's without a sign of life; `Lease` says what follows from it."
    stall_seconds: Annotated[float, Field(ge=1)] = 300.0
    "A training process that makes no step for so long is ended; its job resumes from the last checkpoint."
    job_memory_bytes: Annotated[int, Field(ge=1)] | None = None
    "What a job may allocate before it ends as `out_of_memory`; unset: this machine's memory over the processes."
    log_level: str = "info"
    limits: Limits = Field(default_factory=Limits)
    retention: Retention = Field(default_factory=Retention)

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        url = self.database_url or f"sqlite:///{self.data_dir / 'gradmill.db'}"
        # a bare postgresql:// would ask SQLAlchemy 2.1 for a driver that is not ours
        return url.replace("postgresql://", "postgresql+psycopg://", 1) if url.startswith("postgresql://") else url

    @property
    def storage(self) -> str:
        """The fsspec URL in force."""
        return self.storage_url or str(self.data_dir / "datasets")

    @property
    def lease(self) -> Lease:
        """The policy that follows from `lease_seconds`."""
        return Lease(self.lease_seconds)
