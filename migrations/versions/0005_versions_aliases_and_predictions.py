"""Add the last version number of models, the history of aliases, and predictions of whole tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# this file's own, as in the first
Id = sa.String(length=40)
Json = sa.JSON(none_as_null=True)
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Instant = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("model", Json, nullable=True))
    op.add_column("models", sa.Column("last_version", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "alias_moves",
        sa.Column("id", Id, nullable=False),
        sa.Column("model_id", Id, nullable=False),
        sa.Column("alias", sa.String(length=200), nullable=False),
        sa.Column("was", sa.Integer(), nullable=True),
        sa.Column("became", sa.Integer(), nullable=True),
        sa.Column("moved_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_alias_moves_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_alias_moves_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_moves")),
    )
    op.create_index("ix_alias_moves_model_id_alias_id", "alias_moves", ["model_id", "alias", "id"])
    op.create_table(
        "predictions",
        sa.Column("id", Id, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("weights_id", Id, nullable=False),
        sa.Column("served", Json, nullable=False),
        sa.Column("dataset", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("owner", Id, nullable=True),
        sa.Column("owner_pid", sa.Integer(), nullable=True),
        sa.Column("crash", sa.String(length=200), nullable=True),
        sa.Column("lease_until", Instant, nullable=True),
        sa.Column("heartbeat_at", Instant, nullable=True),
        sa.Column("dispatched_at", Instant, nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("started_at", Instant, nullable=True),
        sa.Column("finished_at", Instant, nullable=True),
        sa.Column("rows", Big, nullable=True),
        sa.Column("result_bytes", Big, nullable=True),
        sa.Column("storage_key", sa.Text(), nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_predictions_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    op.create_index("ix_predictions_weights_id", "predictions", ["weights_id"])
    op.create_index("ix_predictions_project_id_id", "predictions", ["project_id", "id"])
    op.create_index("ix_predictions_created_at", "predictions", ["created_at"])
    op.create_index("ix_predictions_status_lease_until", "predictions", ["status", "lease_until"])


def downgrade() -> None:
    op.drop_table("predictions")
    op.drop_table("alias_moves")
    op.drop_column("models", "last_version")
    op.drop_column("jobs", "model")
