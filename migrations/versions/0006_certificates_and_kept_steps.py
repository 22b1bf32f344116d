"""Add the certificate of a job's gradients, and training steps whose tensors are all kept."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Id = sa.String(length=40)
Json = sa.JSON(none_as_null=True)
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("certificate", Json, nullable=True))
    op.create_table(
        "kept_steps",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("number", Big, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_kept_steps_blob_id_blobs")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_kept_steps_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_kept_steps_project_id_projects")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_kept_steps")),
    )


def downgrade() -> None:
    op.drop_table("kept_steps")
    op.drop_column("jobs", "certificate")
