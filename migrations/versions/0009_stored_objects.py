"""A row for each object of the storage, and whether a repeated POST had made something new."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Id = sa.String(length=40)
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")

UPLOADS = """
    INSERT INTO stored_objects (key, project_id, bytes, sha256, state, created_at)
    SELECT storage_key, project_id, bytes, sha256, 'kept', created_at FROM datasets
"""
RESULTS = """
    INSERT INTO stored_objects (key, project_id, bytes, state, created_at)
    SELECT storage_key, project_id, coalesce(result_bytes, 0), 'kept', coalesce(finished_at, created_at)
    FROM predictions WHERE storage_key IS NOT NULL
"""


def upgrade() -> None:
    op.create_table(
        "stored_objects",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("bytes", Big, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_stored_objects_project_id_projects")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stored_objects")),
    )
    op.create_index(op.f("ix_stored_objects_state_key"), "stored_objects", ["state", "key"])
    op.execute(UPLOADS)
    op.execute(RESULTS)
    op.add_column("idempotency_keys", sa.Column("is_new", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "is_new")
    op.drop_table("stored_objects")
