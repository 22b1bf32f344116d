"""The tables of the database. Their migrations are in `migrations/`; a test checks that both give the same schema."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship

from worker.records.clock import Instant, now
from worker.records.states import Status

# not JSONB: it would reorder a client's members, and nothing here queries inside a document
Json = JSON(none_as_null=True)
Packed = bytes
Id = String(40)
Name = String(200)
# SQLite's rowid needs INTEGER; everywhere else 64 bits
Big = BigInteger().with_variant(Integer(), "sqlite")


def only(condition: str) -> dict[str, Any]:
    """Return the options of an index that has only some rows: few, even if the table has millions.

    A query must name the condition in the same words, not with bound values: else PostgreSQL does not use the index.
    """
    return dict.fromkeys(("sqlite_where", "postgresql_where"), text(condition))


QUEUED = only("status = 'queued'")
HELD = only("owner IS NOT NULL")
UNFINISHED = only("finished_at IS NULL")


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
    """A row that belongs to a project. Every table has such rows, except `workers` and `projects`."""

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"))


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now())


class ApiKey(Base, OfProject):
    """An API key. Only its SHA-256 digest is stored, which is enough since the secret is random and long."""

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
    """A link to the dashboard that works only once."""

    __tablename__ = "login_tokens"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "expires_at"),)


class UiSession(Base, OfProject):
    """A browser that is logged in to the dashboard. Its cookie carries the token; the row goes when it logs out."""

    __tablename__ = "ui_sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now())
    expires_at: Mapped[datetime]

    __table_args__ = (Index(None, "expires_at"),)


class Leased:
    """A row that one worker at a time may work on: a job, or a prediction of a whole table.

    attempt: the fencing number; each claim increases it.
    crashes: how many leases have expired since the row last made progress.
    owner: the worker that holds the row; None if none does.
    owner_pid: the process of that worker.
    crash: how the last process that crashed ended, if its parent saw it.
    lease_until: when the lease expires.
    heartbeat_at: when the lease was last renewed.
    dispatched_at: when a worker was last rung for the row.
    error: why the row failed: code, message and epoch.
    """

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    status: Mapped[Status] = mapped_column(String(16))
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
    """A training job.

    parameters: how many numbers are trained in one member.
    layers: the shape of each layer.
    retry_of: the job that this one repeats.
    progress_at: when a new epoch was last recorded.
    seq: the last number that was given to one of its epochs or events.
    epoch: the last recorded epoch.
    epochs: how many epochs the job asks for.
    latest, best: a summary of the last epoch, and of the best.
    test: the loss and metrics of the test part.
    model: the newest version that serves its final weights.
    certificate: the check of its gradients, from `insight.certificate`.
    """

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
    remarks: Mapped[list[Any] | None] = mapped_column(Json)
    model: Mapped[dict[str, Any] | None]
    certificate: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index(None, "project_id", "id"),
        Index(None, "project_id", "status", "id"),
        Index(None, "project_id", "name", "status", "id"),
        Index("ix_jobs_queued", "id", **QUEUED),
        Index("ix_jobs_held", "id", **HELD),
    )


class JobCount(Base, OfProject):
    """How many jobs have ended with a status, as far as `JobCountChange` has been added up."""

    __tablename__ = "job_counts"

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), primary_key=True)
    status: Mapped[Status] = mapped_column(String(16), primary_key=True)
    count: Mapped[int] = mapped_column(Big)


class JobCountChange(Base, OfProject):
    """A job that has ended, or was deleted after that, and is not in `JobCount` yet.

    A trigger of the database writes these rows, so that no change of a status can forget them.
    change: 1 or -1.
    """

    __tablename__ = "job_count_changes"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    status: Mapped[Status] = mapped_column(String(16))
    change: Mapped[int]


class JobTag(Base, OfProject):
    __tablename__ = "job_tags"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(Name, primary_key=True)

    __table_args__ = (Index(None, "project_id", "tag", "job_id"),)


class Block:
    """Some consecutive epochs of a curve, as `blocks` divides it. `packing` describes the content.

    first_seq, last_seq: the numbers of its first and last epoch among the job's epochs and events.
    """

    last_epoch: Mapped[int]
    first_seq: Mapped[int] = mapped_column(Big)
    last_seq: Mapped[int] = mapped_column(Big)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class EpochBlock(Base, OfProject, Block):
    """A block that is full, and never changes."""

    __tablename__ = "epoch_blocks"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    first_epoch: Mapped[int] = mapped_column(primary_key=True)

    __table_args__ = (UniqueConstraint("job_id", "first_seq"),)


class LastBlock(Base, OfProject, Block):
    """The last block of a job. It may be full too: it becomes an EpochBlock with the epoch after it.

    Each flush rewrites it. On PostgreSQL the new version takes the place of one that is no longer needed, since the
    only index is that of the job, and the migration leaves room in the page.
    """

    __tablename__ = "last_blocks"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    first_epoch: Mapped[int]


class CurveSummary(Base, OfProject):
    """The extremes of many epochs of a curve, packed like a block. `blocks` describes the levels."""

    __tablename__ = "curve_summaries"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True)
    first_epoch: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class EpochLayers(Base, OfProject):
    """The figures of each layer in one epoch. At most 256 epochs of a job have them."""

    __tablename__ = "epoch_layers"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    layers: Mapped[list[Any]] = mapped_column(Json)


class Event(Base, OfProject):
    """An event of a job. Epochs are watched as events too, but are in a table of their own.

    seq: its number among the job's epochs and events.
    payload: the data that a watcher receives.
    kind: one of `events.Kind`:
        - status: the job's status changed.
        - end: the job has ended; its last event.
        - checkpoint: a snapshot of the weights was published.
        - elsewhere: the job resumed where NumPy, BLAS or the number of threads differ, so its bits may differ too.
        - nondeterminism: epochs had different bits when they were trained again; the first record is kept.
        - storage_missing: the bytes of the dataset were not in the worker's storage.
    """

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(Big, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now())

    # a job's last event is kept as long as the job
    __table_args__ = (Index("ix_events_old", "created_at", **only("kind <> 'end'")),)


class Blob(Base, OfProject):
    """Bytes, most of them safetensors, stored in chunks. published: whether a row refers to it; if not, it is swept."""

    __tablename__ = "blobs"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str] = mapped_column(String(64))
    published: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (
        Index(
            "ix_blobs_unpublished",
            "created_at",
            sqlite_where=text("published = 0"),
            postgresql_where=text("NOT published"),
        ),
    )


class Chunk(Base, OfProject):
    __tablename__ = "chunks"

    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class StoredNetwork(Base, OfProject):
    """What turns stored arrays into a network: the same for all weights of a job.

    job_id: the job that made them; None if they were imported.
    network: the resolved layers.
    encoders: how rows of a table become their input.
    """

    __tablename__ = "networks"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    network: Mapped[list[Any]] = mapped_column(Json)
    encoders: Mapped[dict[str, Any]]


class Weights(Base, OfProject):
    """A network's weights. They never change once published, so a cache by id is safe.

    job_id: the job that made them; None if they were imported.
    kind: final, snapshot or imported.
    served: whether a model's version serves them. A snapshot that none serves is swept once it is old.
    network_id: the `StoredNetwork`. Empty for weights that were stored before these rows, which have their own.
    own_network, own_encoders: empty if there is a `StoredNetwork`.
    """

    __tablename__ = "weights"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    # not a foreign key, since it may be empty
    network_id: Mapped[str] = mapped_column(Id, server_default="", index=True)
    own_network: Mapped[list[Any]] = mapped_column("network", Json, default=list)
    own_encoders: Mapped[dict[str, Any]] = mapped_column("encoders", default=dict)
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"), index=True)
    served: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (
        UniqueConstraint("job_id", "kind", "epoch"),
        Index(
            "ix_weights_snapshots",
            "created_at",
            sqlite_where=text("kind = 'snapshot' AND served = 0"),
            postgresql_where=text("kind = 'snapshot' AND NOT served"),
        ),
    )

    stored: Mapped[StoredNetwork | None] = relationship(
        primaryjoin=lambda: foreign(Weights.network_id) == StoredNetwork.id, lazy="joined", viewonly=True
    )

    @property
    def network(self) -> list[Any]:
        """The resolved layers."""
        return self.own_network if self.stored is None else self.stored.network

    @property
    def encoders(self) -> dict[str, Any]:
        """How rows of a table become the input of the network."""
        return self.own_encoders if self.stored is None else self.stored.encoders


class Checkpoint(Base, OfProject):
    """A state from which a run can resume. The last two of a job are kept until it ends.

    epoch: how many epochs are complete.
    step: how many steps of the next epoch are done.
    fingerprint: what the run's exact results depend on besides the job: see `running.resuming`.
    """

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int]
    fingerprint: Mapped[dict[str, Any]]
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now())


class KeptStep(Base, OfProject):
    """A training step whose tensors are all kept.

    number: the step, counted from 1 over the whole run.
    epoch: the epoch that the step belongs to.
    weights_sha256: the digest of the bytes of the weights after the step, in the order of the weights file.
    """

    __tablename__ = "kept_steps"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Big, primary_key=True)
    epoch: Mapped[int]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now())


class HeldOut(Base, OfProject):
    """What each network of a cross-validation predicts for the rows that it did not train on: an Arrow stream."""

    __tablename__ = "held_out"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    blob_id: Mapped[str] = mapped_column(Id, ForeignKey("blobs.id"), index=True)


class Dataset(Base, OfProject):
    """An uploaded table.

    profile: a `worker.data.profiles.TableProfile`.
    storage_key: where its bytes are, relative to the storage URL.
    pieces: a packed `worker.data.pieces.Pieces`; None if the table can only be read as a whole, as those that were
        stored before there were pieces. It is read by itself: up to a thousandth of the table.
    """

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    media_type: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(Big)
    profile: Mapped[dict[str, Any]]
    storage_key: Mapped[str] = mapped_column(Text, index=True)
    pieces: Mapped[Packed | None] = mapped_column(LargeBinary, deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (UniqueConstraint("project_id", "sha256"), Index(None, "project_id", "id"))


class StoredObject(Base, OfProject):
    """An object of the storage. Its row is written before its bytes; `objects.State` describes its states.

    key: where its bytes are, relative to the storage URL.
    sha256: the digest of the bytes in hex; None for the result of a prediction.
    """

    __tablename__ = "stored_objects"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    bytes: Mapped[int] = mapped_column(Big)
    sha256: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (Index(None, "state", "key"),)


class JobDataset(Base, OfProject):
    """Which job reads which uploaded table. A table that a job reads can't be deleted."""

    __tablename__ = "job_datasets"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True, index=True)


class JobSource(Base, OfProject):
    """Which job starts from which weights. The weights can't be deleted until the job has ended."""

    __tablename__ = "job_sources"

    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    weights_id: Mapped[str] = mapped_column(Id, ForeignKey("weights.id", ondelete="CASCADE"), index=True)


class Model(Base, OfProject):
    """A model: a name for versions.

    last_version: the highest number given so far. The number of a deleted version is not given again.
    """

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    description: Mapped[str] = mapped_column(Text, default="")
    last_version: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (UniqueConstraint("project_id", "name"), Index(None, "project_id", "id"))


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
    """A move of an alias. was, became: its version before and after; None if the alias did not exist then."""

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
    """The prediction of a whole table.

    weights_id: not a foreign key, since a prediction that has ended is kept when its weights are deleted.
    served: the name, version and job of the weights.
    dataset: the specification of the table.
    rows, result_bytes: the size of the result; None until it exists.
    storage_key: where the result's bytes are, relative to the storage URL; None until it exists.
    """

    __tablename__ = "predictions"

    weights_id: Mapped[str] = mapped_column(Id)
    served: Mapped[dict[str, Any]]
    dataset: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    request_id: Mapped[str | None] = mapped_column(String(64))
    rows: Mapped[int | None] = mapped_column(Big)
    result_bytes: Mapped[int | None] = mapped_column(Big)
    storage_key: Mapped[str | None] = mapped_column(Text, index=True)

    __table_args__ = (
        Index(None, "project_id", "id"),
        Index(None, "project_id", "status"),
        Index("ix_predictions_queued", "id", **QUEUED),
        Index("ix_predictions_held", "id", **HELD),
        Index("ix_predictions_unfinished", "weights_id", **UNFINISHED),
        Index(None, "created_at"),
    )


class Worker(Base):
    """A Celery worker's parent process, which renews heartbeat_at while it is alive."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    hostname: Mapped[str] = mapped_column(Name)
    pid: Mapped[int]
    processes: Mapped[int]
    version: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[datetime] = mapped_column(default=now())
    heartbeat_at: Mapped[datetime] = mapped_column(default=now())


class IdempotencyKey(Base, OfProject):
    """The answer to a POST that had an idempotency key.

    request_sha256: the digest of its method, path and body.
    resource_id: the id of what it made.
    is_new: False if the resource existed. None in rows that are older than this column.
    """

    __tablename__ = "idempotency_keys"

    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(Id)
    answer: Mapped[dict[str, Any]]
    is_new: Mapped[bool | None]
    created_at: Mapped[datetime] = mapped_column(default=now())

    __table_args__ = (Index(None, "created_at"), Index(None, "resource_id"))
