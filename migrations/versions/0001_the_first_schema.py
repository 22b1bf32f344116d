"""The first schema."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# this file's own, so that a later change of the code's types can't rewrite history
Id = sa.String(length=40)
Json = sa.JSON(none_as_null=True)
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "workers",
        sa.Column("id", Id, nullable=False),
        sa.Column("hostname", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("heartbeat_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_by", Id, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=True),
        sa.Column("last_used_at", Instant, nullable=True),
        sa.Column("revoked_at", Instant, nullable=True),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "blobs",
        sa.Column("id", Id, nullable=False),
        sa.Column("bytes", Big, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_blobs_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blobs")),
    )
    op.create_table(
        "datasets",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("bytes", Big, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("rows", Big, nullable=False),
        sa.Column("profile", Json, nullable=False),
        sa.Column("storage_key", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_datasets_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_datasets_project_id_sha256")),
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_datasets_project_id_id"), ["project_id", "id"], unique=False)

    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", Id, nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("resource_id", Id, nullable=False),
        sa.Column("answer", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_idempotency_keys_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("features", Json, nullable=False),
        sa.Column("classes", Json, nullable=True),
        sa.Column("parameters", Big, nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("retry_of", Id, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("owner", Id, nullable=True),
        sa.Column("lease_until", Instant, nullable=True),
        sa.Column("heartbeat_at", Instant, nullable=True),
        sa.Column("progress_at", Instant, nullable=True),
        sa.Column("dispatched_at", Instant, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("started_at", Instant, nullable=True),
        sa.Column("finished_at", Instant, nullable=True),
        sa.Column("seq", Big, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("eta_seconds", sa.Double(), nullable=True),
        sa.Column("latest", Json, nullable=True),
        sa.Column("best", Json, nullable=True),
        sa.Column("test", Json, nullable=True),
        sa.Column("evaluation", Json, nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_project_id_id"), ["project_id", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_project_id_status_id"), ["project_id", "status", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_status_lease_until"), ["status", "lease_until"], unique=False)

    op.create_table(
        "login_tokens",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("used_at", Instant, nullable=True),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_login_tokens_project_id_projects")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_login_tokens")),
    )
    op.create_table(
        "models",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_models_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_models_project_id_name")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("fingerprint", Json, nullable=False),
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_checkpoints_blob_id_blobs")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_checkpoints_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_checkpoints_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_checkpoints_job_id"), ["job_id"], unique=False)

    op.create_table(
        "chunks",
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_chunks_blob_id_blobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_chunks_project_id_projects")),
        sa.PrimaryKeyConstraint("blob_id", "position", name=op.f("pk_chunks")),
    )
    op.create_table(
        "epochs",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", Big, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Float(precision=53), nullable=True),
        sa.Column("validation_loss", sa.Float(precision=53), nullable=True),
        sa.Column("learning_rate", sa.Float(precision=53), nullable=False),
        sa.Column("gradient_norm", sa.Float(precision=53), nullable=True),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("seconds", sa.Float(precision=53), nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_epochs_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_epochs_project_id_projects")),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_epochs")),
        sa.UniqueConstraint("job_id", "seq", name=op.f("uq_epochs_job_id_seq")),
    )
    op.create_table(
        "events",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("seq", Big, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_events_project_id_projects")),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_events")),
    )
    op.create_table(
        "job_datasets",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("dataset_id", Id, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_job_datasets_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_datasets_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_job_datasets_project_id_projects")),
        sa.PrimaryKeyConstraint("job_id", "dataset_id", name=op.f("pk_job_datasets")),
    )
    with op.batch_alter_table("job_datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_datasets_dataset_id"), ["dataset_id"], unique=False)

    op.create_table(
        "job_tags",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("tag", sa.String(length=200), nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_tags_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_job_tags_project_id_projects")),
        sa.PrimaryKeyConstraint("job_id", "tag", name=op.f("pk_job_tags")),
    )
    with op.batch_alter_table("job_tags", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_job_tags_project_id_tag_job_id"), ["project_id", "tag", "job_id"], unique=False
        )

    op.create_table(
        "weights",
        sa.Column("id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("network", Json, nullable=False),
        sa.Column("encoders", Json, nullable=False),
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_weights_blob_id_blobs")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_weights_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_weights_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_weights")),
        sa.UniqueConstraint("job_id", "kind", "epoch", name=op.f("uq_weights_job_id_kind_epoch")),
    )
    op.create_table(
        "model_versions",
        sa.Column("model_id", Id, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("weights_id", Id, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_versions_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_model_versions_project_id_projects")),
        sa.ForeignKeyConstraint(["weights_id"], ["weights.id"], name=op.f("fk_model_versions_weights_id_weights")),
        sa.PrimaryKeyConstraint("model_id", "version", name=op.f("pk_model_versions")),
    )
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_versions_weights_id"), ["weights_id"], unique=False)

    op.create_table(
        "aliases",
        sa.Column("model_id", Id, nullable=False),
        sa.Column("alias", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "version"],
            ["model_versions.model_id", "model_versions.version"],
            name=op.f("fk_aliases_model_id_version_model_versions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_aliases_project_id_projects")),
        sa.PrimaryKeyConstraint("model_id", "alias", name=op.f("pk_aliases")),
    )
    op.execute("INSERT INTO projects (id, name, created_at) VALUES ('prj_default', 'default', CURRENT_TIMESTAMP)")


def downgrade() -> None:
    op.drop_table("aliases")
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_versions_weights_id"))

    op.drop_table("model_versions")
    op.drop_table("weights")
    with op.batch_alter_table("job_tags", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_tags_project_id_tag_job_id"))

    op.drop_table("job_tags")
    with op.batch_alter_table("job_datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_datasets_dataset_id"))

    op.drop_table("job_datasets")
    op.drop_table("events")
    op.drop_table("epochs")
    op.drop_table("chunks")
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_checkpoints_job_id"))

    op.drop_table("checkpoints")
    op.drop_table("models")
    op.drop_table("login_tokens")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_status_lease_until"))
        batch_op.drop_index(batch_op.f("ix_jobs_project_id_status_id"))
        batch_op.drop_index(batch_op.f("ix_jobs_project_id_id"))

    op.drop_table("jobs")
    op.drop_table("idempotency_keys")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_project_id_id"))

    op.drop_table("datasets")
    op.drop_table("blobs")
    op.drop_table("api_keys")
    op.drop_table("workers")
    op.drop_table("projects")
