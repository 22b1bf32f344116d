"""Record which weights a job starts from."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# this file's own, as in the first
Id = sa.String(length=40)


def upgrade() -> None:
    op.create_table(
        "job_sources",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("weights_id", Id, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_sources_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_job_sources_project_id_projects")),
        sa.ForeignKeyConstraint(
            ["weights_id"], ["weights.id"], name=op.f("fk_job_sources_weights_id_weights"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_sources")),
    )
    op.create_index("ix_job_sources_weights_id", "job_sources", ["weights_id"])


def downgrade() -> None:
    op.drop_table("job_sources")
