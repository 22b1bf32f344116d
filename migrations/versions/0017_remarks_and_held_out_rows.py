"""A job has the remarks about its columns, and the predictions of a cross-validation for the rows held out."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from worker.records.tables import Id, Json

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("remarks", Json, nullable=True))
    op.create_table(
        "held_out",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_held_out_blob_id_blobs")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_held_out_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_held_out_project_id_projects")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_held_out")),
    )
    op.create_index(op.f("ix_held_out_blob_id"), "held_out", ["blob_id"])


def downgrade() -> None:
    op.drop_table("held_out")
    op.drop_column("jobs", "remarks")
