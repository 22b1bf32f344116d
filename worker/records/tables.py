"""The tables. Their migrations stand in `migrations/`; a test holds the two equal."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker.records.clock import Instant, now

# not JSONB: it would reorder a client's members, and nothing here queries inside a document
Json = JSON(none_as_null=True)
Id = String(40)
Name = String(200)
# SQLite's rowid needs INTEGER; everywhere else 64 bits
Big = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, list[str]: Json, datetime: Instant}


class OfProject:
    """A row that belongs to a project, as every row but those of our own machines does."""

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"))


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now())


class ApiKey(Base, OfProject):
    """Of a key only its digest is kept: SHA-256, since the secret is random and long."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    created_by: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(default=now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginToken(Base, OfProject):
    """A link to the dashboard that works once."""

    __tablename__ = "login_tokens"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Leased:
    """A row that one worker at a time may work on: a job, or a prediction of a whole table.

    attempt: the fencing number, raised by each claim. owner, owner_pid: the worker that holds it, and its process.
    crashes: leases lost since it last got further; crash: how the last of these processes ended, if its parent saw it.
    dispatched_at: when the broker was last rung.
    """

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str | None] = mapped_column(Id)
    owner_pid: Mapped[int | None]
    crash: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]


class Job(Base, OfProject, Leased):
    """seq: numbers the job's epochs and events alike. model: the newest version that has its final weights."""

    __tablename__ = "jobs"

    name: Mapped[str] = mapped_column(Name)
    spec: Mapped[dict[str, Any]]
    features: Mapped[list[Any]] = mapped_column(Json)
    classes: Mapped[list[str] | None]
    parameters: Mapped[int] = mapped_column(Big)
    layers: Mapped[list[Any]] = mapped_column(Json, default=list, server_default="[]")
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", Json)
    tags: Mapped[list[str]]
    request_id: Mapped[str | None] = mapped_column(String(64))
    retry_of: Mapped[str | None] = mapped_column(Id)

    progress_at: Mapped[datetime | None]
    seq: Mapped[int] = mapped_column(Big, default=0)
    epoch: Mapped[int] = mapped_column(default=0)
    epochs: Mapped[int]
    eta_seconds: Mapped[float | None]
    latest: Mapped[dict[str, Any] | None]
    best: Mapped[dict[str, Any] | None]
    test: Mapped[dict[str, Any] | None]
    evaluation: Mapped[dict[str, Any] | None]
    hints: Mapped[list[Any] | None] = mapped_column(Json)
    model: Mapped[dict[str, Any] | None]
    certificate: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index(None, "project_id", "id"),
        Index(None, "project_id", "status", "id"),
        Index(None, "status", "lease_until"),
    )


class JobTag(Base, OfProject):
    __tablename__ = "job_tags"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(Name, primary_key=True)

    __table_args__ = (Index(None, "project_id", "tag", "job_id"),)


class Epoch(Base, OfProject):
    """One point of a curve. layers: figures of each layer, in some epochs.

    `seconds` and `attempt` are not among the bits that a resumed run repeats.
    """

    __tablename__ = "epochs"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(Big)
    attempt: Mapped[int]
    train_loss: Mapped[float | None] = mapped_column(Float(53))
    validation_loss: Mapped[float | None] = mapped_column(Float(53))
    learning_rate: Mapped[float] = mapped_column(Float(53))
    gradient_norm: Mapped[float | None] = mapped_column(Float(53))
    metrics: Mapped[dict[str, Any]]
    layers: Mapped[list[Any] | None] = mapped_column(Json)
    seconds: Mapped[float] = mapped_column(Float(53))

    __table_args__ = (UniqueConstraint("job_id", "seq"),)


class Event(Base, OfProject):
    """kind: status, checkpoint, elsewhere, nondeterminism or end. payload: what a watcher is sent.

    elsewhere: a job resumed where NumPy, BLAS or the number of threads differ, so that its bits may. nondeterminism:
    epochs that came out otherwise the second time; what stood first stands.
    """

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(Big, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (Index(None, "created_at"),)


class Blob(Base, OfProject):
    """safetensors bytes in chunks. published: a row refers to it; others are swept."""

    __tablename__ = "blobs"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str] = mapped_column(String(64))
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now())


class Chunk(Base, OfProject):
    __tablename__ = "chunks"

    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Weights(Base, OfProject):
    """kind: final, snapshot or imported. network: the resolved layers; encoders: how a table becomes their input.

    Never changed once published, so a cache by id is safe.
    """

    __tablename__ = "weights"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    network: Mapped[list[Any]] = mapped_column(Json)
    encoders: Mapped[dict[str, Any]]
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"))
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (UniqueConstraint("job_id", "kind", "epoch"), Index(None, "created_at"))


class Checkpoint(Base, OfProject):
    """The state from which a run resumes: the last two of a job, gone at its end."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int]
    fingerprint: Mapped[dict[str, Any]]
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"))
    created_at: Mapped[datetime] = mapped_column(default=now())


class KeptStep(Base, OfProject):
    """A training step of which every tensor is kept. number: of all the run's, from 1; epoch: of which it was part.

    weights_sha256: of the weights that it ended in, their bytes in the order of the weights file.
    """

    __tablename__ = "kept_steps"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Big, primary_key=True)
    epoch: Mapped[int]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"))
    created_at: Mapped[datetime] = mapped_column(default=now())


class Dataset(Base, OfProject):
    """storage_key is relative to the storage URL. profile: worker.data.profiles.TableProfile."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    media_type: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(Big)
    profile: Mapped[dict[str, Any]]
    storage_key: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (UniqueConstraint("project_id", "sha256"), Index(None, "project_id", "id"))


class JobDataset(Base, OfProject):
    """Which jobs read which uploaded table: a table in use is not deleted."""

    __tablename__ = "job_datasets"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True, index=True)


class JobSource(Base, OfProject):
    """Which jobs start from which weights: they stay until such a job is over."""

    __tablename__ = "job_sources"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    weights_id: Mapped[str] = mapped_column(Id, ForeignKey("weights.id", ondelete="CASCADE"), index=True)


class Model(Base, OfProject):
    """last_version: the highest number given so far, so that the number of a deleted version is not given again."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    description: Mapped[str] = mapped_column(Text, default="")
    last_version: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (UniqueConstraint("project_id", "name"),)


class ModelVersion(Base, OfProject):
    __tablename__ = "model_versions"

    model_id: Mapped[str] = mapped_column(Id, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    weights_id: Mapped[str] = mapped_column(Id, ForeignKey("weights.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now())


class Alias(Base, OfProject):
    __tablename__ = "aliases"

    model_id: Mapped[str] = mapped_column(Id, primary_key=True)
    alias: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (
        ForeignKeyConstraint(
            ["model_id", "version"], ["model_versions.model_id", "model_versions.version"], ondelete="CASCADE"
        ),
    )


class AliasMove(Base, OfProject):
    """An alias was set, moved or removed. was, became: versions; None: the alias did not exist before, or after."""

    __tablename__ = "alias_moves"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    model_id: Mapped[str] = mapped_column(Id, ForeignKey("models.id", ondelete="CASCADE"))
    alias: Mapped[str] = mapped_column(Name)
    was: Mapped[int | None]
    became: Mapped[int | None]
    moved_by: Mapped[str] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (Index(None, "model_id", "alias", "id"),)


class Prediction(Base, OfProject, Leased):
    """A whole table to predict. served: name, version and job of the weights; dataset: the specification of the table.

    rows, result_bytes: of the result, once there is one; storage_key: of its bytes, relative to the storage URL. The
    weights are named without a foreign key: what was predicted stays when they go.
    """

    __tablename__ = "predictions"

    weights_id: Mapped[str] = mapped_column(Id, index=True)
    served: Mapped[dict[str, Any]]
    dataset: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    request_id: Mapped[str | None] = mapped_column(String(64))
    rows: Mapped[int | None] = mapped_column(Big)
    result_bytes: Mapped[int | None] = mapped_column(Big)
    storage_key: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "project_id", "id"), Index(None, "status", "lease_until"), Index(None, "created_at"))


class Worker(Base):
    """A Celery worker's parent process, by its own sign of life."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    hostname: Mapped[str] = mapped_column(Name)
    pid: Mapped[int]
    processes: Mapped[int]
    version: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[datetime] = mapped_column(default=now())
    heartbeat_at: Mapped[datetime] = mapped_column(default=now())


class IdempotencyKey(Base, OfProject):
    """A POST that was answered. request_sha256: of the method, path and body; resource_id: of what it made."""

    __tablename__ = "idempotency_keys"

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(Id)
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (Index(None, "created_at"),)
